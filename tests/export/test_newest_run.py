"""The weights that are exported where none are named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dmnil_export.newest_run import bundle_name_of, checkpoint_in, newest_checkpoint
from edge_runtime.contract.errors import SourceError


def saved(run: Path, name: str, at_s: float) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    path = run / name
    path.write_bytes(b"weights")
    os.utime(path, (at_s, at_s))
    return path


def test_the_run_that_saved_last_wins_and_its_best_checkpoint_is_taken(tmp_path: Path) -> None:
    saved(tmp_path / "old.run", "best.safetensors", 200)
    saved(tmp_path / "old.run", "last.safetensors", 300)
    best = saved(tmp_path / "deep" / "down" / "new.run", "best.safetensors", 100)
    saved(tmp_path / "deep" / "down" / "new.run", "last.safetensors", 400)
    assert newest_checkpoint(tmp_path) == best


def test_a_run_that_was_never_evaluated_has_a_last_checkpoint_only(tmp_path: Path) -> None:
    last = saved(tmp_path / "a.run", "last.safetensors", 100)
    (tmp_path / "just-begun.run").mkdir()
    assert newest_checkpoint(tmp_path) == last


def test_where_no_run_is_found_the_line_says_what_to_name_instead(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no run .*efficientnet-lite2"):
        newest_checkpoint(tmp_path)
    (tmp_path / "just-begun.run").mkdir()
    with pytest.raises(SourceError, match=r"no checkpoint yet \(just-begun\.run"):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ("runs/region.run/best.safetensors", "region.encoder"),
        ("efficientnet-lite2", "efficientnet-lite2.encoder"),
        ("downloads/convnext_tiny_22k_1k_384.pth", "convnext_tiny_22k_1k_384.encoder"),
    ],
)
def test_a_bundle_is_named_after_its_run_or_else_its_weights(weights: str, name: str) -> None:
    assert bundle_name_of(weights) == name


def test_a_run_that_is_named_by_its_folder_gives_its_best(tmp_path: Path) -> None:
    run = tmp_path / "a.run"
    run.mkdir()
    (run / "last.safetensors").touch()
    assert checkpoint_in(run) == run / "last.safetensors"
    (run / "best.safetensors").touch()
    assert checkpoint_in(run) == run / "best.safetensors"
    assert bundle_name_of(str(checkpoint_in(run))) == "a.encoder"
