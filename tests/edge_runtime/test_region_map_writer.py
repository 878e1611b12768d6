"""What the one writer of region maps refuses, and what it leaves out."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.contract import coarse_index
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import TILE_DTYPE, PreviewPicture, load_region_map
from edge_runtime.contract.region_map_writer import (
    MapContents,
    tiles_on_lattice,
    write_region_map,
)
from tests.small_map import FRAME, LEVEL, write_small_map


def contents_of(tiles: np.ndarray) -> MapContents:
    return MapContents(
        encoder_sha256="0" * 64,
        frame=FRAME,
        levels=(LEVEL,),
        tiles=tiles,
        descriptor_mean=np.zeros((1, 9), np.float32),
        projection=np.eye(9, 5, dtype=np.float32),
        preview=PreviewPicture(0.0, 0.0, 1.0),
    )


def three_tiles() -> np.ndarray:
    places = np.array([[0, 0, 0], [4, 2, 9], [1, 7, 3]])
    return tiles_on_lattice(FRAME, (LEVEL,), *places[:, map_order(*places)])


def test_tiles_out_of_order_are_refused(tmp_path: Path) -> None:
    descriptors = [np.eye(3, 5, dtype=np.float32)]
    write_region_map(tmp_path, contents_of(three_tiles()), descriptors, {})
    with pytest.raises(MapError, match="not in the map's order"):
        write_region_map(tmp_path, contents_of(three_tiles()[::-1]), descriptors, {})


def test_a_map_without_tiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="without any tile"):
        write_region_map(tmp_path, contents_of(np.empty(0, TILE_DTYPE)), [], {})


def test_a_storage_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="choose one of float16, int8, pq"):
        write_region_map(tmp_path, contents_of(three_tiles()), [], {}, storage="zip")


@pytest.mark.parametrize("storage", ["float16", "int8", "pq"])
def test_a_map_says_how_its_descriptors_are_stored(tmp_path: Path, storage: str) -> None:
    region_map = load_region_map(write_small_map(tmp_path / "m.map", storage=storage))
    assert region_map.manifest["storage"] == storage
    region_map.verify()


def test_large_levels_get_an_index_of_their_own_accord(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not (write_small_map(tmp_path / "small.map") / "coarse_0.faiss").exists()
    monkeypatch.setattr(coarse_index, "LARGE_LEVEL_TILES", 700)
    folder = write_small_map(tmp_path / "large.map")
    assert "coarse_0.faiss" in load_region_map(folder).manifest["files"]
    again = write_small_map(tmp_path / "again.map")
    assert (again / "coarse_0.faiss").read_bytes() == (folder / "coarse_0.faiss").read_bytes()
    without = write_small_map(tmp_path / "without.map", coarse_index=False)
    assert not (without / "coarse_0.faiss").exists()


def test_without_faiss_a_large_map_is_written_without_index_and_a_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(coarse_index, "LARGE_LEVEL_TILES", 700)
    with caplog.at_level(logging.WARNING):
        folder = write_small_map(tmp_path / "m.map")
    assert not (folder / "coarse_0.faiss").exists()
    (record,) = caplog.records
    assert r"dmnil-edge[search]" in record.getMessage()
    for wanted in ({"coarse_index": True}, {"storage": "pq"}):
        with pytest.raises(MapError, match=r"needs faiss: pip install 'dmnil-edge\[search\]'"):
            write_small_map(tmp_path / "w.map", **wanted)
    assert not (tmp_path / "w.map").exists()
