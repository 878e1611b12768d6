"""A lattice's values at a grid's cells, interpolated between those of its places that have one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.localize.camera import FloatArray

_LEAST_KNOWN = 0.5  # share of a cell's neighbouring places, by their weight, that must be there
_BLOCK = 64

Values = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def interpolated(
    values: Values, present: Mask, to_lattice: FloatArray, shape: tuple[int, ...]
) -> Values:
    """Values at a grid's cells, NaN where less than half of a cell's neighbourhood is there.

    Interpolating over missing places would lose every cell beside one: those that are there are
    weighed. Most of a large lattice has no gap, and needs no weighing.

    Args:
        values: (rows, columns), 0 where there is none.
        present: (rows, columns), where there is one.
        to_lattice: (2, 3) affine map from the grid's columns and rows to the lattice's, scaling
            and moving alone.
        shape: The grid's.
    """
    on_grid = _on_cells(values, to_lattice, shape)
    if _is_within(present.shape, to_lattice, shape) and present.all():
        return on_grid
    as_numbers: Values | None = None
    for rows, columns, is_empty in _with_gaps(present, to_lattice, shape):
        if is_empty:
            on_grid[rows, columns] = np.nan
            continue
        if as_numbers is None:
            as_numbers = present.astype(np.float32)
        moved = to_lattice.copy()
        moved[:, 2] += to_lattice[:, :2] @ [columns.start, rows.start]
        size = rows.stop - rows.start, columns.stop - columns.start
        known = _on_cells(as_numbers, moved, size)
        known[known < _LEAST_KNOWN] = np.nan
        on_grid[rows, columns] /= known
    return on_grid


def _is_within(
    lattice_shape: tuple[int, ...], to_lattice: FloatArray, shape: tuple[int, ...]
) -> bool:
    """Whether every cell lies between places of the lattice."""
    (column_step, _, column), (_, row_step, row) = to_lattice.tolist()
    return bool(
        min(row, column) >= 0.0
        and row + row_step * (shape[0] - 1) <= lattice_shape[0] - 1
        and column + column_step * (shape[1] - 1) <= lattice_shape[1] - 1
    )


def _with_gaps(
    present: Mask, to_lattice: FloatArray, shape: tuple[int, ...]
) -> Iterator[tuple[slice, slice, bool]]:
    """Blocks of cells some of whose neighbours are missing, and whether all of them are."""
    around = np.pad(present, 1)  # what lies beyond the lattice is missing
    row_ends, row_cells = _blocks(present.shape[0], to_lattice[1, 1], to_lattice[1, 2], shape[0])
    column_ends, column_cells = _blocks(
        present.shape[1], to_lattice[0, 0], to_lattice[0, 2], shape[1]
    )
    for (first_row, end_row), rows in zip(pairwise(row_ends), pairwise(row_cells), strict=True):
        if rows[0] == rows[1]:
            continue
        strip = around[max(first_row, 0) : end_row + 1]
        whole, some = np.asarray(strip.all(axis=0)), np.asarray(strip.any(axis=0))
        for (first, end), columns in zip(
            pairwise(column_ends), pairwise(column_cells), strict=True
        ):
            near = slice(max(first, 0), end + 1)
            if columns[0] < columns[1] and not whole[near].all():
                yield slice(*rows), slice(*columns), not some[near].any()


def _blocks(count: int, step: float, first: float, cells: int) -> tuple[list[int], list[int]]:
    """Where blocks along an axis of the lattice begin, and the cells that begin each.

    A block holds the cells between its places and the next one's first; places are counted from
    the one before the lattice. What lies before all and behind all are blocks as well.
    """
    inner = range(1, count, _BLOCK)
    ends = [-1, 0, *inner, count, count + 1, count + 2]
    places = np.floor(first + step * np.arange(cells)) + 1
    begins = np.searchsorted(places, ends).tolist()
    begins[0], begins[-1] = 0, cells
    return ends, begins


def _on_cells(field: Values, to_lattice: FloatArray, shape: tuple[int, ...]) -> Values:
    """A lattice's values interpolated at a grid's cells, 0 beyond the lattice."""
    warped = cv2.warpAffine(
        field,
        to_lattice,
        (shape[1], shape[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0.0,
    )
    return np.asarray(warped, np.float32).reshape(shape)
