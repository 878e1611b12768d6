"""Lattices of square tiles over a raster, and the pictures of their tiles, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmnil_maps.area import LocalArea
from dmnil_maps.raster import Imagery, LocalBounds
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import MapLevel

MINIMUM_COVERED_SHARE = 0.95
"""A tile is kept if at least this share of its footprint is covered by imagery."""
BLOCK_PX = 1024
"""Blocks of tiles are warped together up to about this side, which bounds memory."""
_LONE_TILES_PER_BLOCK_SIDE = 16
"""Where tiles are warped one by one, a block is this many of them in either direction."""
_STRIDE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LatticeBlock:
    """A rectangle of a level's lattice positions, which are read and described together."""

    level: int
    first_row: int
    first_column: int
    rows: int
    columns: int


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


def lattice_blocks(
    levels: Sequence[MapLevel], width: int, height: int, area: LocalArea | None = None
) -> list[LatticeBlock]:
    """All blocks of tiles of width x height pixels, by level, row and column.

    Args:
        area: Blocks that do not touch it are left out.
    """
    blocks = []
    for number, level in enumerate(levels):
        block_rows, block_columns = _block_shape(level, width, height)
        row, column = (
            axis.ravel()
            for axis in np.meshgrid(
                np.arange(0, level.rows, block_rows),
                np.arange(0, level.columns, block_columns),
                indexing="ij",
            )
        )
        rows = np.minimum(block_rows, level.rows - row)
        columns = np.minimum(block_columns, level.columns - column)
        if area is not None:
            half_m = level.footprint_m / 2
            west, north = np.moveaxis(level.centre(row, column), -1, 0)
            east, south = np.moveaxis(level.centre(row + rows - 1, column + columns - 1), -1, 0)
            touched = area.touches(west - half_m, south - half_m, east + half_m, north + half_m)
            row, column, rows, columns = (
                values[touched] for values in (row, column, rows, columns)
            )
        places = np.stack([row, column, rows, columns], axis=-1).tolist()
        blocks += [LatticeBlock(number, *place) for place in places]
    return blocks


def chosen_positions(
    level: MapLevel, block: LatticeBlock, area: LocalArea | None
) -> npt.NDArray[np.bool_]:
    """Which of a block's positions (rows, columns) have a footprint that touches the area."""
    if area is None:
        return np.ones((block.rows, block.columns), np.bool_)
    rows = block.first_row + np.arange(block.rows)[:, None]
    columns = block.first_column + np.arange(block.columns)
    centres = level.centre(rows, columns)
    half_m = level.footprint_m / 2
    return area.touches(
        *np.moveaxis(centres - half_m, -1, 0), *np.moveaxis(centres + half_m, -1, 0)
    )


def tile_windows(
    imagery: Imagery, level: MapLevel, width: int, height: int, around: tuple[int, int] = (0, 0)
) -> Iterator[TileWindow]:
    """Every lattice position's tile at width x height pixels.

    Args:
        around: Columns left and right, and rows above and below, that windows show more.
    """
    for block in lattice_blocks([level], width, height):
        yield from block_windows(imagery, level, block, width, height, around=around)


def block_windows(
    imagery: Imagery,
    level: MapLevel,
    block: LatticeBlock,
    width: int,
    height: int,
    chosen: npt.NDArray[np.bool_] | None = None,
    around: tuple[int, int] = (0, 0),
) -> Iterator[TileWindow]:
    """A block's tiles at width x height pixels, each exactly in its place, row by row.

    Where the stride is a whole number of pixels, the block is warped once and cut; elsewhere
    every tile is warped by itself, since a cut would be off by part of a pixel.

    Args:
        chosen: (rows, columns) positions to read, and no ground beyond; all of them when None.
        around: Columns left and right, and rows above and below, that windows show more.
    """
    if chosen is None:
        chosen = np.ones((block.rows, block.columns), np.bool_)
    steps = _whole_steps(level, width, height)
    if steps is not None:
        yield from _cut_windows(imagery, level, block, (width, height), chosen, around, steps)
        return
    for row, column in np.argwhere(chosen).tolist():
        alone = LatticeBlock(block.level, block.first_row + row, block.first_column + column, 1, 1)
        yield from _cut_windows(
            imagery, level, alone, (width, height), np.ones((1, 1), np.bool_), around, (0, 0)
        )


def _cut_windows(
    imagery: Imagery,
    level: MapLevel,
    block: LatticeBlock,
    size: tuple[int, int],
    chosen: npt.NDArray[np.bool_],
    around: tuple[int, int],
    steps: tuple[int, int],
) -> Iterator[TileWindow]:
    """The chosen windows of a block, from one warp of the rectangle around them."""
    places = np.argwhere(chosen)
    if not len(places):
        return
    (top, start), (bottom, end) = places.min(axis=0), places.max(axis=0)
    (width, height), (left, above), (column_step, row_step) = size, around, steps
    metres_per_pixel = (level.footprint_m / width, level.footprint_m / height)
    window_width, window_height = width + 2 * left, height + 2 * above
    least_covered = MINIMUM_COVERED_SHARE * width * height
    east, north = level.centre(block.first_row + top, block.first_column + start)
    picture = imagery.read(
        west_m=float(east) - level.footprint_m / 2 - left * metres_per_pixel[0],
        north_m=float(north) + level.footprint_m / 2 + above * metres_per_pixel[1],
        metres_per_pixel=metres_per_pixel,
        width=int(end - start) * column_step + window_width,
        height=int(bottom - top) * row_step + window_height,
    )
    for row, column in places.tolist():
        y, x = (row - int(top)) * row_step, (column - int(start)) * column_step
        window = slice(y, y + window_height), slice(x, x + window_width)
        covered = picture.covered[window]
        tile = covered[above : above + height, left : left + width]
        yield TileWindow(
            place=(block.first_row + row, block.first_column + column),
            rgb=picture.rgb[window],
            covered=covered,
            kept=bool(np.count_nonzero(tile) >= least_covered),
        )


def _whole_steps(level: MapLevel, width: int, height: int) -> tuple[int, int] | None:
    """Pixels from tile to tile along columns and rows, None unless they are whole."""
    exact = tuple(level.stride_m / level.footprint_m * side for side in (width, height))
    whole = (round(exact[0]), round(exact[1]))
    off = max(abs(exact[0] - whole[0]), abs(exact[1] - whole[1]))
    return whole if off < _STRIDE_TOLERANCE and min(whole) > 0 else None


def _block_shape(level: MapLevel, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of a block of tiles."""
    steps = _whole_steps(level, width, height)
    if steps is None:
        return _LONE_TILES_PER_BLOCK_SIDE, _LONE_TILES_PER_BLOCK_SIDE
    column_step, row_step = steps
    return 1 + max(0, BLOCK_PX - height) // row_step, 1 + max(0, BLOCK_PX - width) // column_step
