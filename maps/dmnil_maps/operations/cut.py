"""A part of a region map for one mission: the same tiles, fewer of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_maps.area import GeodeticArea, LocalArea, locate
from dmnil_maps.map_bounds import local_bounds_of
from dmnil_maps.map_picture import carry_picture
from dmnil_maps.map_terrain import carry_terrain
from dmnil_maps.operations.parts import cropped_levels, placed_from, provenance_after, write_parts
from dmnil_maps.preview.mosaic import write_mosaic
from dmnil_maps.raster import LocalBounds
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import MAP_KIND, MapLevel, RegionMap, load_region_map


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
    local = locate(area, region_map.frame, lattice_bounds(region_map.levels))
    return cut_region_map(region_map, output, area.name, local)


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
        carry_picture(staging, [region_map], chosen)
        terrain = carry_terrain(staging, [region_map], chosen)
        write_parts(
            staging,
            region_map,
            levels,
            region_map.descriptor_mean[kept],
            [placed_from(region_map, rows, chosen)],
            preview,
            {**terrain, **provenance_after([region_map], "cut", {"area": area_name})},
        )
    left_out = [
        level.footprint_m for number, level in enumerate(region_map.levels) if number not in kept
    ]
    return CutReport(output, len(rows), len(tiles), tuple(left_out))


def _rows_touching(region_map: RegionMap, area: LocalArea) -> npt.NDArray[np.intp]:
    """Rows of the tiles whose footprints touch an area; places come from the lattices."""
    bounds = area.bounds
    found = []
    for number, level in enumerate(region_map.levels):
        rows = region_map.rows_of_level(number)
        tiles, half_m = region_map.tiles[rows], level.footprint_m / 2
        centres = level.centre(tiles["lattice_row"], tiles["lattice_column"])
        # Comparing numbers first, since shapes of a million tiles are costly.
        near = (centres + half_m >= (bounds.west_m, bounds.south_m)).all(axis=1)
        near &= (centres - half_m <= (bounds.east_m, bounds.north_m)).all(axis=1)
        chosen = np.flatnonzero(near)
        centres = centres[chosen]
        touched = area.touches(*(centres - half_m).T, *(centres + half_m).T)
        found.append(rows.start + chosen[touched])
    return np.concatenate(found)


def lattice_bounds(levels: Sequence[MapLevel]) -> LocalBounds:
    """The box around the footprints of all lattice positions, with a tile or without."""
    corners = []
    for level in levels:
        first, last = level.centre([0, level.rows - 1], [0, level.columns - 1])
        half_m = level.footprint_m / 2
        corners.append((first[0] - half_m, last[1] - half_m, last[0] + half_m, first[1] + half_m))
    west, south, east, north = np.array(corners).T
    return LocalBounds(float(west.min()), float(south.min()), float(east.max()), float(north.max()))
