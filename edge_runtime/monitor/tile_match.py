"""The map tiles that look like a view, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.monitor.details import FixDetails, ScoredGround

MATCHES = 5


@dataclass(frozen=True)
class TileMatch:
    """A map tile that looks like the view; its centre in the map's frame."""

    east_m: float
    north_m: float
    footprint_m: float
    similarity: float


def tile_matches(region_map: RegionMap, details: FixDetails) -> tuple[TileMatch, ...]:
    """The tiles that a localiser named by rows of the map or by their ground, best first."""
    places = [
        (int(tile["level"]), int(tile["lattice_row"]), int(tile["lattice_column"]), similarity)
        for row, similarity in details.matched_tiles
        if 0 <= row < len(region_map.tiles)
        for tile in [region_map.tiles[row]]
    ] or [_nearest(region_map, ground) for ground in details.matched_ground]
    matches: dict[tuple[int, int, int], TileMatch] = {}
    for number, row, column, similarity in places:
        level = region_map.levels[number]
        east, north = level.centre(row, column)
        match = TileMatch(float(east), float(north), level.footprint_m, similarity)
        matches.setdefault((number, row, column), match)
        if len(matches) == MATCHES:
            break
    return tuple(matches.values())


def _nearest(region_map: RegionMap, ground: ScoredGround) -> tuple[int, int, int, float]:
    """The place on its level's lattice that is nearest to some ground."""
    level = region_map.levels[ground.level]
    row = round((level.first_north_m - ground.north_m) / level.stride_m)
    column = round((ground.east_m - level.first_east_m) / level.stride_m)
    row, column = min(max(row, 0), level.rows - 1), min(max(column, 0), level.columns - 1)
    return ground.level, row, column, ground.similarity
