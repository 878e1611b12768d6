from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmnil_train.reporting.durations import spoken_duration
from dmnil_train.reporting.history import append_epoch, epoch_line, read_history
from edge_runtime.contract.errors import ArtefactError, OutputError


def test_rows_come_back_as_they_were_appended(tmp_path: Path) -> None:
    path = tmp_path / "town.run" / "history.json"
    rows = [
        {"epoch": 1, "loss": 1.25, "is_best": True, "stage": "single view"},
        {"epoch": 2, "loss": 0.5, "recall_at_1": None},
    ]
    for row in rows:
        append_epoch(path, row)
    assert read_history(path) == rows
    assert json.loads(path.read_text())["schema_version"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["history.json"]


def test_a_resumed_run_replaces_the_epochs_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    for epoch in (1, 2, 3):
        append_epoch(path, {"epoch": epoch, "loss": 1.0})
    append_epoch(path, {"epoch": 2, "loss": 9.0})
    assert read_history(path) == [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 9.0}]


def test_a_run_that_has_not_begun_has_no_rows(tmp_path: Path) -> None:
    assert read_history(tmp_path / "history.json") == []


def test_what_is_not_finite_is_kept_as_null(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    append_epoch(path, {"epoch": 1, "loss": math.nan, "ratio": math.inf})
    assert read_history(path) == [{"epoch": 1, "loss": None, "ratio": None}]


@pytest.mark.parametrize(
    "content", ["", '{"epochs": []', "[]", '{"schema_version": 1, "epochs": [{"loss": 1}]}']
)
def test_a_damaged_history_is_an_error_and_stays_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "history.json"
    path.write_text(content)
    with pytest.raises(ArtefactError, match=r"history\.json is no history of a run"):
        append_epoch(path, {"epoch": 1})
    assert path.read_text() == content


def test_a_history_of_another_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    path.write_text('{"schema_version": 2, "epochs": []}')
    with pytest.raises(ArtefactError, match="schema version 2, this release reads 1"):
        read_history(path)


def test_a_history_that_cannot_be_written_is_an_error_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    append_epoch(path, {"epoch": 1})
    (tmp_path / f".history.json.{os.getpid()}.part").mkdir()
    with pytest.raises(OutputError, match=r"history\.json cannot be written: Is a directory"):
        append_epoch(path, {"epoch": 2})
    assert read_history(path) == [{"epoch": 1}]


def test_an_epoch_reads_as_one_line() -> None:
    row = {
        "epoch": 3,
        "epochs": 20,
        "loss": 1.2344,
        "drone_clusters": 812,
        "drone_outlier_share": 0.138,
        "learning_rate": 5e-4,
        "recall_at_1": 0.9123,
        "recall_at_5": 0.981,
        "duration_s": 41.2,
    }
    assert epoch_line(row) == (
        "epoch  3/20  loss 1.234  drone 812 clusters, 14 % outliers  lr 5.0e-04  "
        "R@1 0.912  R@5 0.981  41 s"
    )


def test_an_epoch_line_leaves_out_what_is_unknown() -> None:
    row = {"epoch": 0, "recall_at_1": 0.5, "recall_at_5": None, "satellite_clusters": 9}
    assert epoch_line(row) == "epoch 0  satellite 9 clusters  R@1 0.500"


def test_an_epoch_line_shows_a_loss_that_is_lost() -> None:
    assert epoch_line({"epoch": 1, "loss": math.nan, "is_best": False}) == "epoch 1  loss nan"


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (0.04, "0.0 s"),
        (0.94, "0.9 s"),
        (0.96, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (11240, "3 h 07 min"),
    ],
)
def test_durations_read_as_they_are_said(duration_s: float, text: str) -> None:
    assert spoken_duration(duration_s) == text


@given(st.floats(0.0, 1e6))
def test_no_duration_has_sixty_of_anything(duration_s: float) -> None:
    assert "60" not in spoken_duration(duration_s).split(" h ")[-1]
