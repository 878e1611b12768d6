from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dmnil_train.reporting.summary import RunSummary, closing_lines, next_command


def test_a_run_ends_with_its_best_checkpoint_and_the_next_command() -> None:
    run = RunSummary(
        best=Path("runs/town.run/best.safetensors"),
        last=Path("runs/town.run/last.safetensors"),
        epochs=20,
        duration_s=4321,
        best_epoch=14,
        best_scores={"R@1": 0.9123, "R@5": 0.981},
        page=Path("runs/town.run/retrieval.html"),
    )
    assert closing_lines(run).splitlines() == [
        "trained  20 epochs in 1 h 12 min",
        "best     runs/town.run/best.safetensors  (epoch 14  R@1 0.912  R@5 0.981)",
        "last     runs/town.run/last.safetensors",
        "look at  runs/town.run/retrieval.html",
        "next     dmnil-export runs/town.run/best.safetensors -o town.encoder",
    ]


def test_without_scores_the_last_checkpoint_is_the_one_to_export() -> None:
    run = RunSummary(None, Path("a.run/last.safetensors"), 1, 30.0, reason="out of time")
    assert closing_lines(run).splitlines() == [
        "trained  1 epoch in 30 s; ended early: out of time",
        "last     a.run/last.safetensors",
        "next     dmnil-export a.run/last.safetensors -o a.encoder",
    ]


def test_a_run_that_made_nothing_better_says_so() -> None:
    run = RunSummary(Path("a/best.safetensors"), Path("a/last.safetensors"), 3, 9.0, best_epoch=0)
    assert "as it was before training, which made it no better" in closing_lines(run)


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called() -> None:
    checkpoint = Path("my runs/old town.run/best.safetensors")
    assert shlex.split(next_command(checkpoint)) == [
        "dmnil-export",
        str(checkpoint),
        "-o",
        "old town.encoder",
    ]


def test_the_next_command_knows_a_run_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "town.run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert next_command(Path("best.safetensors")).endswith("-o town.encoder")
