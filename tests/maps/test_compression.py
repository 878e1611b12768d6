"""The recall that compressed descriptors cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.compression import compression_loss
from edge_runtime.contract.descriptor_store import DescriptorStore, open_descriptors
from edge_runtime.contract.descriptor_writer import write_descriptors

COUNT, SIZE = 3000, 128


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    values = np.random.default_rng(3).standard_normal((COUNT, SIZE)).astype(np.float32)
    values *= np.geomspace(4.0, 1.0, SIZE, dtype=np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def stored(folder: Path, descriptors: np.ndarray, storage: str) -> DescriptorStore:
    write_descriptors(folder, [descriptors], len(descriptors), SIZE, storage)
    return open_descriptors(folder, storage, len(descriptors), SIZE)


def test_the_smaller_the_storage_the_more_it_costs(tmp_path: Path, exact: np.ndarray) -> None:
    losses = {}
    for storage in ("float16", "int8", "pq"):
        (tmp_path / storage).mkdir()
        losses[storage] = compression_loss(exact, stored(tmp_path / storage, exact, storage))
    assert [loss.bytes_per_tile for loss in losses.values()] == [256, 132, 32]
    at_10 = [loss.recall_at_10 for loss in losses.values()]
    assert at_10[0] > 0.995
    assert at_10[1] > 0.96
    assert 0.2 < at_10[2] < 0.9
    assert losses["int8"].recall_at_1 > 0.97
    assert losses["int8"] == compression_loss(exact, stored(tmp_path, exact, "int8"))
    assert str(losses["int8"]).startswith("132 bytes a tile in place of 256; of the exact search's")


def test_descriptors_of_other_tiles_keep_nothing(tmp_path: Path, exact: np.ndarray) -> None:
    loss = compression_loss(exact, stored(tmp_path, exact[::-1], "float16"))
    assert loss.recall_at_1 < 0.02
    assert loss.recall_at_10 < 0.02


def test_a_map_of_a_few_tiles_is_measured_whole(tmp_path: Path, exact: np.ndarray) -> None:
    loss = compression_loss(exact[:6], stored(tmp_path, exact[:6], "float16"))
    assert (loss.views, loss.tiles) == (6, 6)
    assert loss.recall_at_10 == 1.0
