from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import map_order, open_lattice, write_lattice
from edge_runtime.contract.region_map import MapLevel
from edge_runtime.contract.region_map_writer import tiles_on_lattice

FRAME = LocalFrame(47.0, 8.0)


def in_order(level: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    order = map_order(level, row, column)
    return np.stack([level[order], row[order], column[order]], axis=1)


def square(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = np.divmod(np.arange(side * side), side)
    return np.zeros_like(rows), rows, columns


def test_the_curve_over_four_by_four_is_hilberts() -> None:
    places = in_order(*square(4))[:, 1:].tolist()
    assert places == [
        [0, 0], [0, 1], [1, 1], [1, 0], [2, 0], [3, 0], [3, 1], [2, 1],
        [2, 2], [3, 2], [3, 3], [2, 3], [1, 3], [1, 2], [0, 2], [0, 3],
    ]  # fmt: skip


@pytest.mark.parametrize("side", [2, 8, 64, 256])
def test_neighbours_in_the_order_are_neighbours_on_the_ground(side: int) -> None:
    places = in_order(*square(side))[:, 1:]
    assert (np.abs(np.diff(places, axis=0)).sum(axis=1) == 1).all()


def test_levels_stand_one_after_the_other() -> None:
    level = np.array([1, 0, 1, 0])
    ordered = in_order(level, np.array([0, 9, 5, 0]), np.array([0, 9, 5, 0]))
    assert ordered.tolist() == [[0, 0, 0], [0, 9, 9], [1, 0, 0], [1, 5, 5]]


def test_a_window_lies_in_few_pieces() -> None:
    level, rows, columns = square(256)
    place = np.empty((256, 256), int)
    order = map_order(level, rows, columns)
    place[rows[order], columns[order]] = np.arange(len(order))
    random = np.random.default_rng(1)
    pieces = []
    for _ in range(50):
        row, column = random.integers(0, 256 - 33, 2)
        window = np.sort(place[row : row + 33, column : column + 33], axis=None)
        pieces.append(1 + np.count_nonzero(np.diff(window) > 1))
    # By row there would be 33; a Hilbert curve has as many as a quarter of the edge, 33 as well,
    # but long ones: half of the tiles lie in a handful.
    assert np.mean(pieces) < 40


@given(
    st.integers(1, 80), st.integers(1, 80), st.integers(0, 2**32 - 1), st.floats(0.05, 1.0),
    st.tuples(*[st.integers(0, 90)] * 4),
)  # fmt: skip
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    rows: int,
    columns: int,
    seed: int,
    share: float,
    window: tuple[int, int, int, int],
) -> None:
    folder = tmp_path_factory.mktemp("lattice")
    levels = (MapLevel(60.0, 15.0, 5, 40, 0.0, 0.0), MapLevel(120.0, 30.0, rows, columns, 0.0, 0.0))
    chosen = np.random.default_rng(seed).random((rows, columns)) < share
    chosen[-1, -1] = True
    places = np.concatenate(
        [np.stack(np.nonzero(np.ones((5, 40), bool))), np.stack(np.nonzero(chosen))], axis=1
    )
    numbers = np.repeat([0, 1], [200, np.count_nonzero(chosen)])
    order = map_order(numbers, *places)
    tiles = tiles_on_lattice(FRAME, levels, numbers[order], *places[:, order])
    write_lattice(folder, levels, tiles)
    lattice = open_lattice(folder, levels, len(tiles))
    whole = lattice.rows_at(1, slice(None), slice(None))
    assert whole.shape == (rows, columns)
    np.testing.assert_array_equal(whole >= 0, chosen)
    np.testing.assert_array_equal(np.sort(whole[chosen]), 200 + np.arange(chosen.sum()))
    np.testing.assert_array_equal(tiles["lattice_row"][whole[chosen]], np.nonzero(chosen)[0])
    part = slice(window[0], window[1]), slice(window[2], window[3])
    np.testing.assert_array_equal(lattice.rows_at(1, *part), whole[part])


def test_tiles_outside_their_lattice_or_on_each_other_are_not_written(tmp_path: Path) -> None:
    level = MapLevel(120.0, 30.0, 4, 4, 0.0, 0.0)
    for places, words in (([3, 4], "outside the lattice"), ([3, 3], "at the same place")):
        tiles = tiles_on_lattice(
            FRAME, (level,), np.zeros(2, int), np.array(places), np.zeros(2, int)
        )
        with pytest.raises(MapError, match=words):
            write_lattice(tmp_path, (level,), tiles)
