"""What a user can get wrong ends in one line that says what to do, and loses nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dmnil_train import cli, labelling
from dmnil_train.encoder.checkpoint import load_encoder
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.pseudo_labels import PseudoLabels
from tests.train.tiny_training import (
    SIDE,
    TINY_CONVNEXT,
    arguments_of,
    history_of,
    last_weights,
    one_thread,
    tiny_settings,
    train_tiny,
    write_tiny_encoder_weights,
    write_tiny_start,
)
from tests.train.training_children import train_on_small_disk

Settings = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset, weights and a whole run, `done.run`; nothing in it changes."""
    folder = write_tiny_start(tmp_path_factory.mktemp("bad"))
    train_tiny(tiny_settings(folder), output=folder / "done.run", epochs=2)
    return folder


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    return {**tiny_settings(folder), "output": tmp_path / "a.run", "epochs": 2}


def message_of(
    capsys: pytest.CaptureFixture[str],
    settings: Settings,
    *further: str,
    left_out: tuple[str, ...] = (),
) -> str:
    """The one line with which the command ends."""
    kept = {name: value for name, value in settings.items() if name not in left_out}
    capsys.readouterr()
    with one_thread():
        status = cli.main(["--preset", "paper", *arguments_of(kept), *further])
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    lines = [line for line in captured.err.splitlines() if not line.startswith("epoch ")]
    assert len(lines) == 1
    assert lines[0].startswith("dmnil-train: error: ")
    return lines[0].removeprefix("dmnil-train: error: ")


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# The command line


def test_the_bare_command_says_in_three_lines_how_to_begin(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 3
    assert "--help" in captured.err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"preset": "papre"}, "--preset papre: choose paper, satellite-only, cross-view"),
        ({"data.rooot": "x"}, "unrecognized arguments: --data.rooot=x"),
        ({"epochs": "many"}, '"epochs": Expected a'),
        ({"epochs": 0}, "epochs, iterations, evaluate_every, feature_batch must be 1 or more"),
        (
            {"objective.shared_start": "null", "epochs": 0},  # null is a value of the one alone
            "epochs, iterations, evaluate_every, feature_batch must be 1 or more",
        ),
        ({"objective.temperature": "null"}, "objective.temperature"),
        ({"device": "gpu"}, "device is 'gpu': choose cpu, cuda, cuda:N or auto"),
        ({"dmnil": False}, "nothing to train: switch dmnil on, or give places.satellite_weight"),
        ({"dmnil": False, "supervised": True}, "supervised gives true places to nothing"),
        ({"pseudo_labels.k2": 9}, "pseudo_labels.k2 must be at most k1, is 9 where k1 is 4"),
        ({"kept_views": 2}, "kept_views needs frozen_parts"),
        ({"kept_views": 2, "frozen_parts": 1}, "set mirrored_features to false"),
        ({"trained_share": 0.5, "objective.shared_start": 0}, "objective.shared_start to null"),
        ({"frozen_parts": 4}, "frozen_parts is 4: this backbone has 4 parts"),
        ({"encoder.head": "grid", "encoder.grid_size": 3}, "grid head needs 96 pixels a side"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_named(
    settings: Settings, capsys: pytest.CaptureFixture[str], changed: Settings, said: str
) -> None:
    assert said in message_of(capsys, {**settings, **changed})
    assert not settings["output"].exists()


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("epoch: 2\n", "Option 'epoch' is not accepted"),
        ("batch:\n  drone_cluster: 3\n", "Group 'batch' does not accept option 'drone_cluster'"),
        ("batch: [3\n", "Problems parsing config"),
        ("preset: cross-view\n", "preset belongs on the command line"),
    ],
)
def test_a_mistake_in_the_settings_file_is_named(
    settings: Settings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    said: str,
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(file)
    assert said in message_of(capsys, settings, "--config", str(path))


def test_a_missing_option_is_named(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert "required: output" in message_of(capsys, settings, left_out=("output",))
    assert "required: data.layout" in message_of(capsys, settings, left_out=("data.layout",))


def test_a_gpu_that_is_not_there_is_not_waited_for(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "use --device cpu" in message_of(capsys, {**settings, "device": "cuda"})


@pytest.mark.parametrize(
    ("changed", "needy"),
    [
        ({}, "dmnil"),
        ({"dmnil": False, "places.cross_view_weight": 1.0}, "places.cross_view_weight"),
    ],
    ids=str,
)
def test_what_needs_drone_images_says_so_where_there_are_none(
    settings: Settings, capsys: pytest.CaptureFixture[str], changed: Settings, needy: str
) -> None:
    region = {**settings, "data.layout": "region", "data.satellite": "tiles", **changed}
    said = message_of(capsys, region, left_out=("data.root",))
    assert said.startswith(f"{needy} needs drone images: name them in data.drone")
    assert "--preset satellite-only" in said


def test_a_region_has_no_true_places_to_train_on(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    region = {
        **settings,
        "data.layout": "region",
        "data.satellite": "tiles",
        "data.drone": "flight",
        "data.view": "raw",
        "supervised": True,
    }
    said = message_of(capsys, region, left_out=("data.root",))
    assert said == "supervised needs true places, and a region's images carry none"


# Data and weights


def test_a_missing_folder_of_data_is_named(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    said = message_of(capsys, {**settings, "data.root": nowhere})
    assert said.startswith(f"{nowhere}: no such folder")


@pytest.mark.parametrize("part", ["train/satellite", "train/drone", "test/query_drone"])
def test_an_empty_pool_is_named(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    root = tmp_path / "u"
    shutil.copytree(settings["data.root"], root)
    shutil.rmtree(root / part)
    (root / part / "0001").mkdir(parents=True)
    said = message_of(capsys, {**settings, "data.root": root})
    assert said.startswith(f"{root / part} holds no pictures in <place>; expected train/")
    assert not settings["output"].exists()


def test_weights_that_cannot_be_used_are_named(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing.safetensors"
    assert str(missing) in message_of(capsys, {**settings, "weights": missing})
    other = tmp_path / "other.safetensors"
    save_file({"words.weight": torch.zeros(2, 2)}, other)
    said = message_of(capsys, {**settings, "weights": other})
    assert said.startswith("no known network has such weights")
    assert said.endswith(f"these begin with words.weight (in {other})")
    save_file({"stem.0.weight": torch.zeros(2), "stem.7.weight": torch.zeros(2)}, other)
    said = message_of(capsys, {**settings, "weights": other})
    assert said.endswith(f"look like timm but hold unexpected names: stem.7.weight (in {other})")


# Labels


def test_a_first_epoch_without_clusters_says_what_to_change(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = {**settings, "pseudo_labels.drone_eps": 0.01, "pseudo_labels.min_samples": 30}
    said = message_of(capsys, strict)
    assert said.startswith("none of 32 drone images clusters: raise pseudo_labels.drone_eps above")
    assert "lower pseudo_labels.min_samples" in said
    # Nothing was trained, so the corrected command may be given as it is.
    train_tiny(settings)


def test_satellite_images_that_do_not_cluster_say_what_to_change(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    several = {**settings, "data.single_satellite_images": False, "pseudo_labels.min_samples": 4}
    said = message_of(capsys, {**several, "pseudo_labels.satellite_eps": 0.01})
    assert "none of 8 satellite images clusters: raise pseudo_labels.satellite_eps" in said


@pytest.mark.parametrize("single", [True, False])
def test_a_later_epoch_without_clusters_goes_on_with_those_before(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    single: bool,
) -> None:
    calls = 0
    views = 1 if single else 2

    def cluster(features: Any, *_: Any) -> PseudoLabels:
        nonlocal calls
        calls += 1
        if calls > views:
            return PseudoLabels(np.full(len(features), -1), 0)
        return PseudoLabels(np.arange(len(features)) // 4, len(features) // 4)

    monkeypatch.setattr(labelling, "cluster", cluster)
    run = train_tiny({**settings, "data.single_satellite_images": single})
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == views
    assert all("going on with the labels of an earlier epoch" in warning for warning in warnings)
    assert [row.get("drone_clusters") for row in history_of(run)] == [None, 8.0, 8.0]


def test_fewer_clusters_than_a_batch_takes_are_all_taken(settings: Settings) -> None:
    wide = {"batch.drone_clusters": 100, "batch.satellite_clusters": 100}
    assert history_of(train_tiny({**settings, **wide}))[-1]["epoch"] == 2


# Running


@pytest.mark.parametrize("iterations", [1, 3])
def test_a_loss_that_is_no_longer_finite_stops_and_keeps_what_was_good(
    settings: Settings, capsys: pytest.CaptureFixture[str], iterations: int
) -> None:
    wild = {**settings, "iterations": iterations, "optimiser.learning_rate": 1e30}
    said = message_of(capsys, wild)
    where = "after the last step of epoch 1" if iterations == 1 else "in epoch 1, step 2"
    assert said.startswith(f"the loss is no longer finite {where}")
    assert "lower optimiser.learning_rate" in said
    start = load_file(settings["weights"])
    for name in ("best", "last"):
        kept = load_file(settings["output"] / f"{name}.safetensors")
        assert all(np.array_equal(kept[key], value) for key, value in start.items())


def test_a_full_disk_stops_with_the_state_before_intact(
    folder: Path, settings: Settings, tmp_path: Path
) -> None:
    # Momentum doubles the state after the first epoch: that one no longer fits, all smaller do.
    run, errors = settings["output"], tmp_path / "errors.txt"
    weights_bytes = Path(settings["weights"]).stat().st_size
    arguments = ["--preset=paper", *arguments_of(settings)]
    assert train_on_small_disk(arguments, round(1.7 * weights_bytes), errors) == 2
    last = errors.read_text().splitlines()[-1]
    assert last.startswith(f"dmnil-train: error: cannot write {run / 'state.safetensors'}: ")
    assert last.endswith("make room and go on with --resume")
    assert not list(run.glob(".*"))
    load_encoder(run / "best.safetensors")
    load_encoder(run / "last.safetensors")

    train_tiny(settings, resume=True)
    assert history_of(run) == history_of(folder / "done.run")
    expected = last_weights(folder / "done.run")
    assert all(np.array_equal(value, expected[name]) for name, value in last_weights(run).items())


def test_ctrl_c_says_how_to_go_on(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dmnil_train.loop.train", interrupted)
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments_of(settings))
    assert stopped.value.code == 130
    assert "--resume goes on" in capsys.readouterr().err


# Output and resuming


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_holds_something_else_is_left_alone(
    settings: Settings, capsys: pytest.CaptureFixture[str], resume: bool
) -> None:
    run = settings["output"]
    run.mkdir()
    (run / "holiday.jpg").write_bytes(b"sun")
    said = message_of(capsys, settings, *(["--resume"] if resume else []))
    if resume:
        assert said == f"{run} holds no state.safetensors to go on from: leave --resume out"
    else:
        assert said == f"{run} holds something else (holiday.jpg): name another output"
    assert everything_in(run) == {"holiday.jpg": b"sun"}


def test_a_file_in_place_of_the_folder_is_left_alone(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings["output"].write_bytes(b"mine")
    assert "is a file: name another output" in message_of(capsys, settings)
    assert settings["output"].read_bytes() == b"mine"


def test_a_finished_run_is_not_written_over(
    folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "done.run"
    before = everything_in(run)
    said = message_of(capsys, {**settings, "output": run})
    assert said == f"{run} holds a run: go on with it by --resume, or name another output"
    assert everything_in(run) == before


def test_checkpoints_without_their_state_are_not_written_over(
    folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "done.run", settings["output"])
    (settings["output"] / "state.safetensors").unlink()
    assert "holds something else (best.safetensors)" in message_of(capsys, settings)


def test_resuming_where_nothing_is_makes_no_folder(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "to go on from: leave --resume out" in message_of(capsys, settings, "--resume")
    assert not settings["output"].exists()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"optimiser.learning_rate": 0.5}, "optimiser.learning_rate"),
        ({"encoder.head": "grid", "encoder.grid_size": 1}, "encoder.grid_size, encoder.head"),
        ({"seed": 1, "epochs": 9}, "epochs, seed"),
    ],
    ids=str,
)
def test_resuming_with_other_settings_names_them_and_changes_nothing(
    folder: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    changed: Settings,
    named: str,
) -> None:
    run = folder / "done.run"
    before = everything_in(run)
    said = message_of(capsys, {**settings, "output": run, **changed}, "--resume")
    assert said == (
        f"{run} was trained with other settings ({named}): give the same, or another output"
    )
    assert everything_in(run) == before


def test_a_damaged_state_says_where_the_weights_are(
    folder: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run = settings["output"]
    shutil.copytree(folder / "done.run", run)
    state = run / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    before = everything_in(run)
    said = message_of(capsys, settings, "--resume")
    assert said.startswith(f"{state} is damaged (")
    assert said.endswith("start there from its last.safetensors by --weights")
    assert "holds a run" in message_of(capsys, settings)
    assert everything_in(run) == before


def test_a_state_of_another_network_is_refused(
    folder: Path, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shutil.copy(settings["weights"], tmp_path / "start.safetensors")
    train_tiny({**settings, "weights": str(weights)}, epochs=1)
    before = everything_in(settings["output"])
    wider = EncoderConfig(
        depths=TINY_CONVNEXT.depths, widths=(8, 8, 16, 24), input_height=SIDE, input_width=SIDE
    )
    write_tiny_encoder_weights(weights, wider)
    said = message_of(capsys, {**settings, "weights": weights, "epochs": 1}, "--resume")
    assert "does not fit this encoder: give the weights that the run started from" in said
    assert everything_in(settings["output"]) == before
