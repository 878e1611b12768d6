"""What `dmnil-map verify` finds in a map whose hashes are all right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.describe import verify_map
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.map_lattice import ROWS_FILE
from edge_runtime.contract.region_map import TILES_FILE, MapLevel
from tests.small_map import LEVEL, seal_again, write_small_map


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small = MapLevel(60.0, 20.0, 2, 3, -20.0, 10.0)
    return write_small_map(tmp_path / "m.map", levels=(LEVEL, small))


def swap_two(tiles: np.ndarray) -> None:
    tiles[[4, 5]] = tiles[[5, 4]]


def move_one_by_a_metre(tiles: np.ndarray) -> None:
    tiles["latitude_deg"][9] += 1e-5


def move_one_out(tiles: np.ndarray) -> None:
    tiles["lattice_column"][-1] = 900


def change_level(tiles: np.ndarray) -> None:
    tiles["level"][9] = 1


def name_another_tile(rows: np.ndarray) -> None:
    rows[rows == 3] = 4


def forget_a_tile(rows: np.ndarray) -> None:
    rows[rows == 3] = -1


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (TILES_FILE, swap_two, "does not name its tiles"),
        (TILES_FILE, change_level, "do not stand together"),
        (TILES_FILE, move_one_by_a_metre, "not where its lattice is"),
        (TILES_FILE, move_one_out, "outside its lattice"),
        (ROWS_FILE, name_another_tile, "does not name its tiles"),
        (ROWS_FILE, forget_a_tile, "does not name its tiles"),
    ],
)
def test_tiles_and_lattices_that_contradict_each_other_are_found(
    folder: Path, file: str, damage: Callable[[np.ndarray], None], words: str
) -> None:
    verify_map(folder)
    array = np.load(folder / file)
    damage(array)
    np.save(folder / file, array)
    seal_again(folder)
    with pytest.raises(MapError, match=words):
        verify_map(folder)


def test_a_map_in_another_order_is_found(folder: Path) -> None:
    tiles, rows = np.load(folder / TILES_FILE), np.load(folder / ROWS_FILE)
    swap_two(tiles)
    rows[rows == 4], rows[rows == 5] = -5, 4
    rows[rows == -5] = 5
    np.save(folder / TILES_FILE, tiles)
    np.save(folder / ROWS_FILE, rows)
    seal_again(folder)
    with pytest.raises(MapError, match="not in the map's order"):
        verify_map(folder)
