"""A part of a region map for one mission: the same tiles, fewer of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_maps.area import GeodeticArea, LocalArea, locate
from dmnil_maps.map_bounds import local_bounds_of
from dmnil_maps.map_parts import cropped_levels, placed_from, provenance_after, write_parts
from dmnil_maps.preview_mosaic import write_mosaic
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import MAP_KIND, RegionMap, load_region_map


@dataclass(frozen=True)
class CutReport:
    """What a cut kept."""

    output: Path
    tiles: int
    tiles_before: int
    levels_left_out: tuple[float, ...]
    """Footprints in metres of levels that have no tile in the area."""


def cut_map(source: Path, output: Path, area: GeodeticArea) -> CutReport:
    """Write the map of those tiles whose footprints touch an area.

    Frame, axes, means and the tiles themselves stay as they are, lattices are cropped.

    Raises:
        MapError: If the map cannot be used, or has no tile in the area.
        OutputError: If the new map cannot be written.
    """
    region_map = load_region_map(source)
    bounds = local_bounds_of(region_map.frame, np.asarray(region_map.tiles))
    return cut_region_map(region_map, output, area.name, locate(area, region_map.frame, bounds))


def cut_region_map(
    region_map: RegionMap, output: Path, area_name: str, area: LocalArea
) -> CutReport:
    """`cut_map` of a map that is open, by an area in its frame."""
    tiles = region_map.tiles
    rows = _rows_touching(region_map, area)
    if not rows.size:
        raise MapError(
            f"no tile of {region_map.folder} touches {area_name}, though it lies within the map"
        )
    levels, kept, chosen = cropped_levels(region_map.levels, np.asarray(tiles[rows]))
    with staged_directory(output, MAP_KIND) as staging:
        preview = write_mosaic(staging, [region_map], local_bounds_of(region_map.frame, chosen))
        write_parts(
            staging,
            region_map,
            levels,
            region_map.descriptor_mean[kept],
            [placed_from(region_map, rows, chosen)],
            preview,
            provenance_after([region_map], "cut", {"area": area_name}),
        )
    left_out = [
        level.footprint_m for number, level in enumerate(region_map.levels) if number not in kept
    ]
    return CutReport(output, len(rows), len(tiles), tuple(left_out))


def _rows_touching(region_map: RegionMap, area: LocalArea) -> npt.NDArray[np.intp]:
    tiles = np.asarray(region_map.tiles)
    centres = region_map.frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
    half_side = tiles["footprint_m"].astype(np.float64)[:, None] / 2
    west_south, east_north = centres - half_side, centres + half_side
    return np.flatnonzero(area.touches(*west_south.T, *east_north.T))
