"""A run that is killed goes on as if it had not been, bit for bit."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from dmnil_train import loop
from dmnil_train.encoder.checkpoint import load_checkpoint
from tests.train.tiny_training import (
    history_of,
    kept_views_settings,
    tiny_settings,
    train_tiny,
    write_tiny_start,
)
from tests.train.training_children import Moment, train_until, with_scores

# The best is reached in epoch 1, taken up again by the shared stage, and outdone in its first.
SCORES = [0.5, 0.9, 0.6, 0.95, 0.7]
EPOCHS_BEFORE = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_start(tmp_path_factory.mktemp("resume"))


@pytest.fixture(autouse=True)
def _known_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_evaluated", with_scores(SCORES))


def killed(settings: dict[str, Any], moment: Moment) -> None:
    assert train_until({**settings, "scores": SCORES}, moment) == -signal.SIGKILL


def left_behind(run: Path) -> dict[str, Any]:
    """All that a run leaves, apart from durations."""
    found: dict[str, Any] = {
        "history": history_of(run),
        "config": (run / "config.yaml").read_text(),
    }
    for name in ("best", "last", "state"):
        for key, value in load_file(run / f"{name}.safetensors").items():
            found[f"{name} {key}"] = value.numpy().tobytes()
    for name in ("best", "last"):
        found[f"epochs of {name}"] = load_checkpoint(run / f"{name}.safetensors").provenance[
            "epochs"
        ]
    found["files"] = sorted(path.name for path in run.iterdir())
    return found


class Recipe:
    """A recipe, what an uninterrupted run of it leaves, and one killed in its third epoch."""

    def __init__(self, settings: dict[str, Any], folder: Path, name: str) -> None:
        self.settings = settings
        self.folder = folder
        self.begun = folder / f"{name} begun.run"
        whole = folder / f"{name} whole.run"
        train_tiny(settings, output=whole)
        self.expected = left_behind(whole)
        steps = EPOCHS_BEFORE * settings["iterations"] + 2
        killed({**settings, "output": self.begun}, Moment("step", steps))

    def resumed_after(self, moment: Moment) -> dict[str, Any]:
        """Go on with the begun run, be killed, go on to the end."""
        run = self.folder / "again.run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.begun, run)
        settings = {**self.settings, "output": run, "resume": True}
        killed(settings, moment)
        train_tiny(settings)
        return left_behind(run)


@pytest.fixture(scope="module")
def paper(folder: Path) -> Recipe:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_evaluated", with_scores(SCORES))
        return Recipe(tiny_settings(folder), folder, "paper")


@pytest.fixture(scope="module")
def kept_views(folder: Path) -> Recipe:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_evaluated", with_scores(SCORES))
        return Recipe(kept_views_settings(folder), folder, "kept")


def test_the_run_takes_up_its_best_in_the_shared_stage_and_outdoes_it(paper: Recipe) -> None:
    assert [row.get("is_best", False) for row in paper.expected["history"]] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert paper.expected["epochs of best"] == 3
    assert paper.expected["epochs of last"] == 4


@pytest.mark.parametrize(
    "moment",
    [
        Moment("step", 2),
        Moment("write"),
        Moment("state.safetensors", after=True),
        Moment("best.safetensors", after=True),
        Moment("history.json", 2),
    ],
    ids=str,
)
def test_the_papers_recipe_killed_at_any_moment_ends_as_if_it_had_not_been(
    paper: Recipe, moment: Moment
) -> None:
    assert paper.resumed_after(moment) == paper.expected


@pytest.mark.parametrize("moment", [Moment("step", 2), Moment("history.json", 2)], ids=str)
def test_kept_views_killed_within_or_between_epochs_end_as_if_they_had_not_been(
    kept_views: Recipe, moment: Moment
) -> None:
    assert kept_views.resumed_after(moment) == kept_views.expected


def test_a_run_killed_in_its_first_epoch_can_be_resumed_or_begun_anew(
    paper: Recipe, folder: Path
) -> None:
    settings = {**paper.settings, "output": folder / "first.run"}
    killed(settings, Moment("step", 2))
    anew = folder / "anew.run"
    shutil.copytree(folder / "first.run", anew)
    assert left_behind(train_tiny(settings, resume=True)) == paper.expected
    assert left_behind(train_tiny(settings, output=anew)) == paper.expected


def test_a_run_killed_before_its_first_state_is_begun_anew(paper: Recipe, folder: Path) -> None:
    settings = {**paper.settings, "output": folder / "early.run"}
    killed(settings, Moment("write"))
    assert not (settings["output"] / "state.safetensors").exists()
    assert left_behind(train_tiny(settings)) == paper.expected


def test_a_finished_run_that_is_resumed_stays_as_it_is(paper: Recipe, folder: Path) -> None:
    run = train_tiny(paper.settings, output=folder / "paper whole.run", resume=True)
    assert left_behind(run) == paper.expected
