"""The map tiles that look like a view, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.monitor.details import FixDetails


@dataclass(frozen=True)
class TileMatch:
    """A map tile that looks like the view; its centre in the map's frame."""

    east_m: float
    north_m: float
    footprint_m: float
    similarity: float


def tile_matches(region_map: RegionMap, details: FixDetails) -> tuple[TileMatch, ...]:
    """The tiles that a localiser named by their rows in the map, best first."""
    return tuple(
        _tile_match(region_map, row, similarity)
        for row, similarity in details.matched_tiles
        if 0 <= row < len(region_map.tiles)
    )


def _tile_match(region_map: RegionMap, row: int, similarity: float) -> TileMatch:
    tile = region_map.tiles[row]
    level = region_map.levels[int(tile["level"])]
    east, north = level.centre(tile["lattice_row"], tile["lattice_column"])
    return TileMatch(float(east), float(north), level.footprint_m, similarity)
