from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.localize.lattice_interpolation import interpolated


def by_hand(
    values: np.ndarray, present: np.ndarray, first: tuple[float, float], step: float, shape: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the weighted values, and of the weights, of the places that there are."""
    weighed, known = np.zeros(shape), np.zeros(shape)
    for cell in np.ndindex(*shape):
        row, column = first[0] + step * cell[0], first[1] + step * cell[1]
        for place in np.ndindex(*values.shape):
            near = max(0.0, 1.0 - abs(row - place[0])) * max(0.0, 1.0 - abs(column - place[1]))
            if near and present[place]:
                weighed[cell] += near * values[place]
                known[cell] += near
    return weighed, known


@pytest.mark.parametrize("seed", range(36))
def test_cells_have_what_their_neighbours_that_are_there_weigh(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns = random.integers(1, 9, 2)
    present = random.random((rows, columns)) < (1.0, 0.9, 0.5)[seed % 3]
    values = np.where(present, random.normal(size=present.shape), 0.0).astype(np.float32)
    # Steps of a quarter: exact, however finely places are told apart.
    first = tuple(random.integers(-12, 8, 2) / 4)
    step, shape = float(random.choice([0.25, 0.5, 1.0])), (11, 14)
    to_lattice = np.array([[step, 0.0, first[1]], [0.0, step, first[0]]])
    found = interpolated(values, present, to_lattice, shape)
    weighed, known = by_hand(values, present, first, step, shape)
    np.testing.assert_array_equal(np.isnan(found), known < 0.5)
    is_known = known >= 0.5
    np.testing.assert_allclose(
        found[is_known], weighed[is_known] / known[is_known], atol=1e-5, rtol=1e-5
    )


def test_a_gap_changes_the_cells_around_it_alone() -> None:
    values = np.random.default_rng(1).normal(size=(200, 150)).astype(np.float32)
    to_lattice = np.array([[0.5, 0.0, 3.25], [0.0, 0.5, 7.75]])
    present = np.ones(values.shape, bool)
    found = interpolated(values, present, to_lattice, (300, 250))
    assert np.isfinite(found).all()
    present[120, 70] = False
    holed = interpolated(np.where(present, values, np.float32(0)), present, to_lattice, (300, 250))
    near = np.s_[220:230, 129:139]
    assert np.isnan(holed[near]).any()
    changed = np.ones(holed.shape, bool)
    changed[near] = False
    np.testing.assert_array_equal(holed[changed], found[changed])
