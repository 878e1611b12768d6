"""Lattices of square tiles over a raster, and the pictures of their tiles, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmnil_maps.raster import Imagery, LocalBounds
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import MapLevel

MINIMUM_COVERED_SHARE = 0.95
"""A tile is kept if at least this share of its footprint is covered by imagery."""
BLOCK_PX = 1024
"""Blocks of tiles are warped together up to about this side, which bounds memory."""
_STRIDE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class TileBatch:
    """Pictures (N, H, W, 3) of tiles, their lattice rows and columns (N, 2), tiles looked at."""

    pictures: npt.NDArray[np.uint8]
    lattice: npt.NDArray[np.int64]
    examined: int


@dataclass(frozen=True)
class TileWindow:
    """What the raster shows of one lattice position, and a margin around it.

    Args:
        place: Lattice row and column.
        rgb: (H, W, 3).
        covered: (H, W) where the raster has data.
        kept: Enough of the tile itself is covered for a map to hold it.
    """

    place: tuple[int, int]
    rgb: npt.NDArray[np.uint8]
    covered: npt.NDArray[np.bool_]
    kept: bool


def lattice_over(bounds: LocalBounds, footprint_m: float, stride_m: float) -> MapLevel:
    """The lattice whose tiles fit into the bounds, centred in them.

    Raises:
        MapError: If not even one footprint fits.
    """
    smaller = min(bounds.width_m, bounds.height_m)
    if smaller < footprint_m * (1.0 - _STRIDE_TOLERANCE):
        raise MapError(
            f"the raster is {bounds.width_m:.0f} m by {bounds.height_m:.0f} m, smaller than one "
            f"footprint of {footprint_m:g} m: choose a smaller footprint or a larger raster"
        )
    columns, rows = (
        int((extent - footprint_m) / stride_m + _STRIDE_TOLERANCE) + 1
        for extent in (bounds.width_m, bounds.height_m)
    )
    return MapLevel(
        footprint_m=footprint_m,
        stride_m=stride_m,
        rows=rows,
        columns=columns,
        first_east_m=(bounds.west_m + bounds.east_m - (columns - 1) * stride_m) / 2,
        first_north_m=(bounds.south_m + bounds.north_m + (rows - 1) * stride_m) / 2,
    )


def tile_batches(
    imagery: Imagery, level: MapLevel, width: int, height: int, batch_size: int
) -> Iterator[TileBatch]:
    """Pictures of a level's covered tiles at width x height pixels, each exactly in its place.

    Where the stride is a whole number of pixels, a block of tiles is warped once and cut;
    elsewhere every tile is warped by itself, since a cut would be off by part of a pixel.
    """
    pictures: list[npt.NDArray[np.uint8]] = []
    places: list[tuple[int, int]] = []
    examined = 0
    for window in tile_windows(imagery, level, width, height):
        examined += 1
        if window.kept:
            pictures.append(window.rgb)
            places.append(window.place)
        if len(pictures) == batch_size:
            yield TileBatch(np.stack(pictures), np.array(places), examined)
            pictures, places, examined = [], [], 0
    if pictures:
        yield TileBatch(np.stack(pictures), np.array(places), examined)


def tile_windows(
    imagery: Imagery, level: MapLevel, width: int, height: int, around: tuple[int, int] = (0, 0)
) -> Iterator[TileWindow]:
    """Every lattice position's tile at width x height pixels.

    Args:
        around: Columns left and right, and rows above and below, that windows show more.
    """
    left, above = around
    metres_per_pixel = (level.footprint_m / width, level.footprint_m / height)
    step_x, step_y = (level.stride_m / metres for metres in metres_per_pixel)
    column_step, row_step = round(step_x), round(step_y)
    whole = max(abs(step_x - column_step), abs(step_y - row_step)) < _STRIDE_TOLERANCE
    block_columns = 1 + max(0, BLOCK_PX - width) // column_step if whole else 1
    block_rows = 1 + max(0, BLOCK_PX - height) // row_step if whole else 1
    window_width, window_height = width + 2 * left, height + 2 * above
    least_covered = MINIMUM_COVERED_SHARE * width * height
    for first_row in range(0, level.rows, block_rows):
        rows = min(block_rows, level.rows - first_row)
        for first_column in range(0, level.columns, block_columns):
            columns = min(block_columns, level.columns - first_column)
            east, north = level.centre(first_row, first_column)
            block = imagery.read(
                west_m=float(east) - level.footprint_m / 2 - left * metres_per_pixel[0],
                north_m=float(north) + level.footprint_m / 2 + above * metres_per_pixel[1],
                metres_per_pixel=metres_per_pixel,
                width=(columns - 1) * column_step + window_width,
                height=(rows - 1) * row_step + window_height,
            )
            for row, column in np.ndindex(rows, columns):
                top, start = row * row_step, column * column_step
                window = slice(top, top + window_height), slice(start, start + window_width)
                covered = block.covered[window]
                tile = covered[above : above + height, left : left + width]
                yield TileWindow(
                    place=(first_row + row, first_column + column),
                    rgb=block.rgb[window],
                    covered=covered,
                    kept=bool(np.count_nonzero(tile) >= least_covered),
                )
