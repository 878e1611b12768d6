"""A lattice's values at a grid's cells, interpolated between those of its places that have one."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.localize.camera import FloatArray

_LEAST_KNOWN = 0.5  # share of a cell's neighbouring places, by their weight, that must be there
_WHOLLY_KNOWN = 1.0 - 1e-6

Values = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def interpolated(
    values: Values, present: Mask, to_lattice: FloatArray, shape: tuple[int, ...]
) -> Values:
    """Values at a grid's cells, NaN where less than half of a cell's neighbourhood is there.

    Interpolating over missing places would lose every cell beside one: those that are there are
    weighed. Inside a lattice without a gap there is nothing to weigh.

    Args:
        values: (rows, columns), 0 where there is none.
        present: (rows, columns), where there is one.
        to_lattice: (2, 3) affine map from the grid's columns and rows to the lattice's, scaling
            and moving alone.
        shape: The grid's.
    """
    on_grid = _on_cells(values, to_lattice, shape)
    if not present.all():
        _weigh(on_grid, _on_cells(present.astype(np.float32), to_lattice, shape))
    elif not _is_within(present.shape, to_lattice, shape):
        _weigh_the_edges(on_grid, present.shape, to_lattice)
    return on_grid


def _weigh(on_grid: Values, known: Values) -> None:
    known[known < _LEAST_KNOWN] = np.nan
    on_grid /= known


def _weigh_the_edges(
    on_grid: Values, lattice_shape: tuple[int, ...], to_lattice: FloatArray
) -> None:
    """Weigh the cells around a lattice without a gap: what is known there, its axes tell."""
    across, down = to_lattice.copy(), to_lattice.copy()
    across[1], down[0] = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
    rows, columns = lattice_shape
    of_rows = _on_cells(np.ones((rows, 1), np.float32), down, (on_grid.shape[0], 1))
    of_columns = _on_cells(np.ones((1, columns), np.float32), across, (1, on_grid.shape[1]))
    top, bottom = _whole(of_rows)
    left, right = _whole(of_columns)
    for strip in (
        np.s_[:top, :],
        np.s_[bottom:, :],
        np.s_[top:bottom, :left],
        np.s_[top:bottom, right:],
    ):
        _weigh(on_grid[strip], of_rows[strip[0]] * of_columns[:, strip[1]])


def _whole(known: Values) -> tuple[int, int]:
    """Where the wholly known cells of a row or column begin and end."""
    whole = np.flatnonzero(known >= _WHOLLY_KNOWN)
    return (int(whole[0]), int(whole[-1]) + 1) if len(whole) else (0, 0)


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
