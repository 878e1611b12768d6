"""The elevations that travel in a map: cut from a terrain model, or carried from other maps."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from dmnil_maps.map_bounds import local_bounds_of
from dmnil_maps.raster import LocalBounds
from dmnil_maps.sources.formats import READING_OPTIONS
from dmnil_maps.sources.reading_errors import READING_ERRORS, one_line
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.contract.terrain_grid import TERRAIN_FILE, TerrainGrid, write_terrain

logger = logging.getLogger(__name__)

REACH_M = 500.0
"""How far the grid goes beyond the map's tiles: to where a drone that looks at them may be."""
FINEST_M = 10.0
_MOST_POINTS = 64 << 20
_ALIGNED = 1e-6


def write_terrain_of(
    staging: Path,
    source: Path,
    frame: LocalFrame,
    tiles: npt.NDArray[np.void],
    spacing_m: float | None = None,
) -> dict[str, Any]:
    """Write the elevations around a map's tiles; returns the manifest's field.

    Args:
        source: A raster of elevations in metres: GeoTIFF, VRT or anything else that GDAL reads.
        spacing_m: Of the grid's points; the model's own, but 10 m at least, when None.
    Raises:
        MapError: If the model cannot be read, has no georeference, or nothing of the region.
    """
    bounds = _grown(local_bounds_of(frame, tiles))
    with rasterio.Env(**READING_OPTIONS):
        try:
            with rasterio.open(source) as dataset:
                if dataset.crs is None:
                    raise MapError(f"{source} has no coordinate reference system")
                with WarpedVRT(
                    dataset, crs=frame.proj_string, resampling=Resampling.bilinear
                ) as own:
                    finest_m = abs(float(own.transform.a))
                if spacing_m is None:
                    spacing_m = max(FINEST_M, float(f"{finest_m:.3g}"))
                elevation = _warped(dataset, frame, bounds, spacing_m)
        except READING_ERRORS as error:
            raise MapError(f"{source} cannot be read as terrain: {one_line(error)}") from error
    try:
        return write_terrain(staging, elevation, bounds.west_m, bounds.north_m, spacing_m)
    except MapError as error:
        raise MapError(f"{source}: {error}") from error


def _warped(
    dataset: Any, frame: LocalFrame, bounds: LocalBounds, spacing_m: float
) -> npt.NDArray[np.float64]:
    columns, rows = _points(bounds, spacing_m)
    # Points of the grid are the middles of the warp's pixels.
    corner = rasterio.Affine(
        spacing_m,
        0.0,
        bounds.west_m - spacing_m / 2,
        0.0,
        -spacing_m,
        bounds.north_m + spacing_m / 2,
    )
    with WarpedVRT(
        dataset,
        crs=frame.proj_string,
        transform=corner,
        width=columns,
        height=rows,
        resampling=Resampling.bilinear,
        dtype="float32",
        nodata=np.nan,
    ) as warped:
        elevation = warped.read(1).astype(np.float64)
    return np.asarray(elevation, np.float64)


def carry_terrain(
    staging: Path, sources: Sequence[RegionMap], tiles: npt.NDArray[np.void]
) -> dict[str, Any]:
    """Write the elevations of a map that is made of others'; returns the manifest's field.

    Without a grid in the first source there is none; where others have elevations on the same
    points, they fill in what it lacks, and one line says where they have not.

    Args:
        tiles: All of the new map's, in any order.
    """
    first = sources[0].terrain
    if first is None:
        if any(TERRAIN_FILE in source.manifest["files"] for source in sources):
            logger.warning("the new map has no %s: the first of its sources has none", TERRAIN_FILE)
        return {}
    bounds = _grown(local_bounds_of(sources[0].frame, tiles))
    spacing_m = first.geometry.spacing_m
    west_m = first.geometry.west_m + spacing_m * np.floor(
        (bounds.west_m - first.geometry.west_m) / spacing_m + _ALIGNED
    )
    north_m = first.geometry.north_m - spacing_m * np.floor(
        (first.geometry.north_m - bounds.north_m) / spacing_m + _ALIGNED
    )
    bounds = LocalBounds(float(west_m), bounds.south_m, bounds.east_m, float(north_m))
    columns, rows = _points(bounds, spacing_m)
    elevation = np.full((rows, columns), np.nan)
    for source in sources:
        grid = source.terrain
        if grid is None or not _is_aligned(first, grid):
            logger.warning("%s has no elevations on the first map's points", source.folder)
            continue
        east = bounds.west_m + spacing_m * np.arange(columns)
        north = bounds.north_m - spacing_m * np.arange(rows)
        found = grid.elevation_m(
            np.stack(np.meshgrid(_onto(east, grid, 0), _onto(north, grid, 1)), -1)
        )
        elevation = np.where(np.isfinite(elevation), elevation, found)
    if not np.isfinite(elevation).any():
        return {}
    return write_terrain(staging, elevation, bounds.west_m, bounds.north_m, spacing_m)


def _onto(
    places_m: npt.NDArray[np.floating[Any]], grid: TerrainGrid, axis: int
) -> npt.NDArray[np.float64]:
    """Places along an axis, exactly on the grid's points that they are a rounding away from."""
    geometry = grid.geometry
    origin, step = (
        (geometry.west_m, geometry.spacing_m)
        if axis == 0
        else (geometry.north_m, -geometry.spacing_m)
    )
    return np.asarray(origin + step * np.rint((places_m - origin) / step), np.float64)


def _is_aligned(first: TerrainGrid, other: TerrainGrid) -> bool:
    a, b = first.geometry, other.geometry
    exact = np.array([b.west_m - a.west_m, b.north_m - a.north_m]) / a.spacing_m
    return a.spacing_m == b.spacing_m and bool((np.abs(exact - np.rint(exact)) < 1e-3).all())


def _grown(bounds: LocalBounds) -> LocalBounds:
    return LocalBounds(
        bounds.west_m - REACH_M,
        bounds.south_m - REACH_M,
        bounds.east_m + REACH_M,
        bounds.north_m + REACH_M,
    )


def _points(bounds: LocalBounds, spacing_m: float) -> tuple[int, int]:
    """Columns and rows of a grid that reaches over some bounds."""
    columns, rows = (
        int(np.ceil(extent / spacing_m - _ALIGNED)) + 1
        for extent in (bounds.width_m, bounds.height_m)
    )
    if columns * rows > _MOST_POINTS:
        raise MapError(
            f"a terrain grid of {columns} x {rows} points is too large for a map: choose a larger "
            "--terrain-resolution-m"
        )
    return max(columns, 2), max(rows, 2)
