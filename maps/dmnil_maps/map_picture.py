"""The satellite picture that travels in a map: built from imagery, or carried from other maps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_maps.map_bounds import local_bounds_of
from dmnil_maps.raster import Imagery, LocalBounds
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_imagery import IMAGERY_FILE, TILE_PX, ImageryGrid, MapImagery
from edge_runtime.contract.map_imagery_writer import (
    EncodedTile,
    encode_tile,
    write_map_imagery,
)
from edge_runtime.contract.region_map import RegionMap

logger = logging.getLogger(__name__)

_TILES_PER_READ = 4
_SAME_SCALE = 1e-9
_ALIGNED_PX = 1e-3
_EDGE_PX = 1e-6

BoolArray = npt.NDArray[np.bool_]


def write_picture(
    staging: Path,
    imagery: Imagery,
    tiles: npt.NDArray[np.void],
    metres_per_pixel: float,
    attribution: str,
) -> None:
    """Write what imagery shows of the ground of a map's tiles.

    Raises:
        MapError: If the imagery cannot be read.
        OutputError: If the picture cannot be written.
    """
    bounds = local_bounds_of(imagery.frame, tiles)
    grid = _grid_over(bounds, bounds.west_m, bounds.north_m, metres_per_pixel)
    wanted = _shown_by(tiles, imagery.frame, grid)
    write_map_imagery(
        staging / IMAGERY_FILE, imagery.frame, grid, _read(imagery, grid, wanted), attribution
    )


def carry_picture(
    staging: Path,
    sources: Sequence[RegionMap],
    tiles: npt.NDArray[np.void],
    newer: Imagery | None = None,
) -> bool:
    """Write the picture of a map that is made of others'; returns whether there is one.

    Stored tiles are copied as they are; of two maps' tiles of one place the better covered one
    is, the first map's where they are alike. Without a picture in every source, or where they
    have different pixels, there is none, and one line says so.

    Args:
        tiles: All of the new map's, in any order.
        newer: Imagery in the maps' frame that goes on top of all.
    Raises:
        MapError: If a source's picture or the imagery cannot be read.
        OutputError: If the picture cannot be written.
    """
    pictures = [source.imagery for source in sources if source.imagery is not None]
    if len(pictures) < len(sources):
        listed = [source for source in sources if IMAGERY_FILE in source.manifest["files"]]
        if listed:
            logger.warning(
                "the new map has no %s: not every map that it is made of has one here", IMAGERY_FILE
            )
        return False
    first = pictures[0].grid
    if not all(_is_aligned(first, picture.grid) for picture in pictures[1:]):
        logger.warning(
            "the new map has no %s: those of its sources are not parts of one build", IMAGERY_FILE
        )
        return False
    frame = sources[0].frame
    bounds = local_bounds_of(frame, tiles)
    grid = _grid_over(bounds, first.west_m, first.north_m, first.metres_per_pixel)
    wanted = _shown_by(tiles, frame, grid)
    imagery = sources[0].manifest.get("imagery")
    attribution = str(imagery.get("attribution", "")) if isinstance(imagery, dict) else ""
    carried = _carried(pictures, grid, wanted, newer)
    write_map_imagery(staging / IMAGERY_FILE, frame, grid, carried, attribution)
    return True


def _grid_over(
    bounds: LocalBounds, west_m: float, north_m: float, metres_per_pixel: float
) -> ImageryGrid:
    """The tiles that hold some bounds, whole tiles away from a corner."""
    tile_m = TILE_PX * metres_per_pixel
    edge = _EDGE_PX / TILE_PX
    left = int(np.floor((bounds.west_m - west_m) / tile_m + edge))
    top = int(np.floor((north_m - bounds.north_m) / tile_m + edge))
    west_m, north_m = west_m + left * tile_m, north_m - top * tile_m
    return ImageryGrid(
        west_m,
        north_m,
        metres_per_pixel,
        rows=max(1, int(np.ceil((north_m - bounds.south_m) / tile_m - edge))),
        columns=max(1, int(np.ceil((bounds.east_m - west_m) / tile_m - edge))),
    )


def _shown_by(tiles: npt.NDArray[np.void], frame: LocalFrame, grid: ImageryGrid) -> BoolArray:
    """Which of the picture's tiles (rows, columns) lie under a map's tiles."""
    centres = frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
    half_m = tiles["footprint_m"].astype(np.float64) / 2
    edge = _EDGE_PX / TILE_PX
    west, east = ((centres[:, 0] + s * half_m - grid.west_m) / grid.tile_m for s in (-1, 1))
    north, south = ((grid.north_m - centres[:, 1] - s * half_m) / grid.tile_m for s in (1, -1))
    top, left = (np.floor(edges + edge).astype(np.intp) for edges in (north, west))
    bottom, right = (np.ceil(edges - edge).astype(np.intp) for edges in (south, east))
    # Corners of rectangles, whose running sums count the rectangles over each place.
    counts = np.zeros((grid.rows + 1, grid.columns + 1), np.int32)
    top, bottom = (np.clip(rows, 0, grid.rows) for rows in (top, bottom))
    left, right = (np.clip(columns, 0, grid.columns) for columns in (left, right))
    for rows, columns, sign in (
        (top, left, 1),
        (top, right, -1),
        (bottom, left, -1),
        (bottom, right, 1),
    ):
        np.add.at(counts, (rows, columns), sign)
    return np.asarray(counts.cumsum(0).cumsum(1)[:-1, :-1] > 0)


def _read(imagery: Imagery, grid: ImageryGrid, wanted: BoolArray) -> Iterator[EncodedTile]:
    """The wanted tiles of imagery, several to a warp."""
    for top in range(0, grid.rows, _TILES_PER_READ):
        for left in range(0, grid.columns, _TILES_PER_READ):
            chosen = np.argwhere(wanted[top : top + _TILES_PER_READ, left : left + _TILES_PER_READ])
            if not len(chosen):
                continue
            first, last = chosen.min(axis=0), chosen.max(axis=0)
            rows, columns = (last - first + 1) * TILE_PX
            corner = np.array([top, left]) + first
            picture = imagery.read(
                west_m=grid.west_m + corner[1] * grid.tile_m,
                north_m=grid.north_m - corner[0] * grid.tile_m,
                metres_per_pixel=(grid.metres_per_pixel, grid.metres_per_pixel),
                width=int(columns),
                height=int(rows),
            )
            for row, column in (chosen - first).tolist():
                window = (
                    slice(row * TILE_PX, (row + 1) * TILE_PX),
                    slice(column * TILE_PX, (column + 1) * TILE_PX),
                )
                encoded = encode_tile(picture.rgb[window], picture.covered[window])
                if encoded is not None:
                    yield int(corner[0]) + row, int(corner[1]) + column, *encoded


def _carried(
    pictures: Sequence[MapImagery], grid: ImageryGrid, wanted: BoolArray, newer: Imagery | None
) -> Iterator[EncodedTile]:
    for row, column in np.argwhere(wanted).tolist():
        places = [
            (picture, *(np.array([row, column]) + _steps(picture.grid, grid)).tolist())
            for picture in pictures
        ]
        held = [
            (picture, r, c)
            for picture, r, c in places
            if 0 <= r < picture.grid.rows
            and 0 <= c < picture.grid.columns
            and picture.has_tile(r, c)
        ]
        if newer is not None and _touches(grid, row, column, newer.bounds):
            encoded = _overlaid(held, grid, row, column, newer)
        else:
            encoded = _best(held)
        if encoded is not None:
            yield row, column, *encoded


_Held = tuple[MapImagery, int, int]


def _best(held: Sequence[_Held]) -> tuple[bytes, bytes] | None:
    """The stored tile that shows the most."""
    if not held:
        return None
    chosen = held[0]
    if len(held) > 1:
        chosen = max(held, key=lambda place: int(_decoded(place)[1].sum()))
    picture, row, column = chosen
    return picture.encoded(row, column)


def _overlaid(
    held: Sequence[_Held], grid: ImageryGrid, row: int, column: int, newer: Imagery
) -> tuple[bytes, bytes] | None:
    """Newer imagery over what is stored of a tile."""
    shown = newer.read(
        grid.west_m + column * grid.tile_m,
        grid.north_m - row * grid.tile_m,
        (grid.metres_per_pixel, grid.metres_per_pixel),
        TILE_PX,
        TILE_PX,
    )
    if not shown.covered.any():
        return _best(held)
    if not held or shown.covered.all():
        return encode_tile(shown.rgb, shown.covered)
    rgb, covered = _decoded(held[0])
    rgb = np.where(shown.covered[..., None], shown.rgb, rgb)
    return encode_tile(rgb, shown.covered | covered)


def _decoded(place: _Held) -> tuple[npt.NDArray[np.uint8], BoolArray]:
    picture, row, column = place
    found = picture.decoded(row, column)
    if found is None:
        raise MapError(f"{picture.path} has no tile {row}, {column}")
    return found


def _is_aligned(first: ImageryGrid, other: ImageryGrid) -> bool:
    if abs(other.metres_per_pixel / first.metres_per_pixel - 1.0) > _SAME_SCALE:
        return False
    exact = np.array([other.west_m - first.west_m, first.north_m - other.north_m]) / first.tile_m
    return bool((np.abs(exact - np.rint(exact)) < _ALIGNED_PX / TILE_PX).all())


def _steps(source: ImageryGrid, grid: ImageryGrid) -> npt.NDArray[np.int64]:
    """Rows and columns to add to a place on one grid for the same on an aligned other."""
    exact = np.array([source.north_m - grid.north_m, grid.west_m - source.west_m]) / grid.tile_m
    return np.rint(exact).astype(np.int64)


def _touches(grid: ImageryGrid, row: int, column: int, bounds: LocalBounds) -> bool:
    west_m = grid.west_m + column * grid.tile_m
    north_m = grid.north_m - row * grid.tile_m
    return (
        west_m < bounds.east_m
        and west_m + grid.tile_m > bounds.west_m
        and north_m > bounds.south_m
        and north_m - grid.tile_m < bounds.north_m
    )
