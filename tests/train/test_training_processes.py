"""Several processes train what one does with the joint batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dmnil_train import loop
from dmnil_train.processes import Processes
from edge_runtime.contract.errors import ConfigError
from tests.train.tiny_training import (
    STILL,
    config_of,
    history_of,
    kept_views_settings,
    last_weights,
    tiny_settings,
    train_tiny,
    write_tiny_start,
)
from tests.train.training_children import equalise_running_means, train_together


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 satellite and 27 drone images, which two processes cannot share evenly."""
    return write_tiny_start(tmp_path_factory.mktemp("processes"), places=9, views=3)


def still(settings: dict[str, Any]) -> dict[str, Any]:
    """Each process draws its own augmentation, so that only without any two runs are alike."""
    views = ("drone_augmentation", "satellite_augmentation")
    return {
        **settings,
        **{f"{view}.{name}": value for view in views for name, value in STILL.items()},
        "epochs": 3,
        "evaluate_every": 2,
    }


@pytest.mark.parametrize("recipe", ["paper and places", "kept views"])
def test_two_processes_train_what_one_does_with_the_joint_batch(folder: Path, recipe: str) -> None:
    if recipe == "kept views":
        settings = still(kept_views_settings(folder))
    else:
        # Some images of a batch match no tile, so the processes' means count different numbers.
        places = {"places.satellite_weight": 0.5, "places.cross_view_weight": 1.0}
        settings = {
            **still(tiny_settings(folder)),
            **places,
            "places.nearest_tiles": 1,
            "places.nearest_images": 1,
        }
    alone, together = folder / f"{recipe} alone.run", folder / f"{recipe} together.run"
    train_tiny(settings, output=alone)
    assert train_together({**settings, "output": together}, 2) == [0, 0]

    rows, expected_rows = history_of(together), history_of(alone)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    for row, expected in zip(rows, expected_rows, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=2e-4, abs=1e-6), name
    assert 0.0 < expected_rows[-1]["matched_share"] < 1.0

    start = load_file(folder / "start.safetensors")
    found, wanted = last_weights(together), last_weights(alone)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-6)
    assert any(not torch.equal(wanted[name], start[name]) for name in start)

    first, second = (
        torch.load(together / f"memories-{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    assert len(first) >= 3
    for memory, other in zip(first, second, strict=True):
        assert memory.keys() == other.keys()
        assert all(torch.equal(memory[name], other[name]) for name in memory)


def test_running_means_end_as_the_first_process_has_them(tmp_path: Path) -> None:
    assert equalise_running_means(tmp_path, 2) == [0, 0]
    first, second = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1))
    assert first.tolist() == second.tolist() == pytest.approx([0.1, 0.1])


def test_a_batch_takes_as_many_clusters_as_can_be_dealt_out_evenly() -> None:
    processes = Processes(0, 3, torch.device("cpu"))
    batches = loop._batches(np.arange(8), 1, np.random.default_rng(0), 4, 2, processes)
    assert batches.shape == (1, 6)


def test_a_batch_that_cannot_be_dealt_out_evenly_is_refused() -> None:
    processes = Processes(0, 3, torch.device("cpu"))
    with pytest.raises(ConfigError, match="2 x 2 images cannot be dealt to 3 processes"):
        loop._batches(np.arange(8), 1, np.random.default_rng(0), 2, 2, processes)


def test_each_process_takes_its_own_part_of_a_batch() -> None:
    parts = [Processes(rank, 2, torch.device("cpu")).share_of([1, 2, 3, 4]) for rank in (0, 1)]
    assert parts == [[1, 2], [3, 4]]


def test_one_process_alone_is_its_own_mean() -> None:
    alone = Processes(0, 1, torch.device("cpu"))
    assert alone.mean(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert alone.weight_of_mean(torch.tensor(3)).item() == 1.0
    assert alone.weight_of_mean(torch.tensor(0)).item() == 0.0


def test_world_size_without_torchrun_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="start them by torchrun, or unset WORLD_SIZE"):
        loop.train(config_of(tiny_settings(folder)))
