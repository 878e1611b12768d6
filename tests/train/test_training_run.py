"""What a run does from its first line to its last, and what it leaves behind."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dmnil_train import cli, loop, run_folder
from dmnil_train.encoder.checkpoint import load_checkpoint, load_encoder
from dmnil_train.inputs import FreshInputs
from dmnil_train.reporting.scalars import ScalarLog
from edge_runtime.contract.errors import OutputError
from tests.train.tiny_training import (
    STILL,
    arguments_of,
    config_of,
    history_of,
    kept_views_settings,
    last_weights,
    one_thread,
    tiny_settings,
    train_tiny,
    write_tiny_start,
)
from tests.train.training_children import with_scores

Settings = dict[str, Any]
STEP_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_start(tmp_path_factory.mktemp("run"))


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    return {**tiny_settings(folder), "output": tmp_path / "a.run", "epochs": 3}


@pytest.fixture
def kept_views(folder: Path, tmp_path: Path) -> Settings:
    return {**kept_views_settings(folder), "output": tmp_path / "a.run", "epochs": 3}


def same(first: Path, second: Path) -> bool:
    weights, others = last_weights(first), last_weights(second)
    return all(torch.equal(value, others[name]) for name, value in weights.items())


def changed_names(run: Path, start: str) -> set[str]:
    """Weights that training changed."""
    before = load_checkpoint(Path(start)).weights
    return {name for name, value in last_weights(run).items() if not value.equal(before[name])}


# Learning


@pytest.mark.parametrize("labels", ["true", "pseudo"])
def test_what_can_be_told_apart_is_learnt(settings: Settings, labels: str) -> None:
    easy = {
        f"{view}_augmentation.{name}": value
        for view in ("drone", "satellite")
        for name, value in STILL.items()
    }
    supervised = labels == "true"
    run = train_tiny({**settings, **easy}, supervised=supervised, iterations=10, epochs=4)
    rows = history_of(run)
    assert rows[0]["recall_at_1"] < 0.8
    assert max(row["recall_at_1"] for row in rows) > 0.9
    if supervised:
        assert rows[-1]["loss"] < 0.5 * rows[1]["loss"]


def test_the_seed_alone_decides_what_is_drawn(settings: Settings, tmp_path: Path) -> None:
    first, again, other = (
        train_tiny(settings, output=tmp_path / f"{number}.run", seed=seed, epochs=1)
        for number, seed in enumerate((3, 3, 4))
    )
    assert same(first, again)
    assert history_of(first) == history_of(again)
    assert not same(first, other)


def test_what_else_draws_random_numbers_does_not_matter(settings: Settings, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = train_tiny(settings, output=tmp_path / "1.run", epochs=1)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert same(first, train_tiny(settings, output=tmp_path / "2.run", epochs=1))


def test_frozen_parts_keep_their_weights(settings: Settings) -> None:
    run = train_tiny(settings, frozen_parts=2, epochs=1)
    changed = changed_names(run, settings["weights"])
    frozen = tuple(f"backbone.{kind}.{part}." for kind in ("reductions", "stages") for part in "01")
    assert changed
    assert not [name for name in changed if name.startswith(frozen)]
    assert all(any(f".{part}." in name for name in changed) for part in "23")


@pytest.mark.parametrize("freeze", [True, False])
def test_frozen_batch_normalisations_keep_their_statistics(
    settings: Settings, freeze: bool
) -> None:
    from_shipped = {
        **settings,
        "weights": "efficientnet-lite2",
        "encoder.input_size": 32,
        "encoder.head": "gap",
        "freeze_batch_norm": freeze,
    }
    before = {
        name: value
        for name, value in loop.encoder_with(
            loop.read_weights("efficientnet-lite2"),
            config_of(from_shipped).encoder.applied_to(
                loop.read_weights("efficientnet-lite2").config
            ),
        )
        .state_dict()
        .items()
        if "running" in name
    }
    run = train_tiny(from_shipped, epochs=1, iterations=1)
    after = last_weights(run)
    kept = [after[name].equal(value) for name, value in before.items()]
    assert kept
    assert all(kept) if freeze else not any(kept)


def first_loss(run: Path) -> float:
    return float(history_of(run)[1]["loss"])


def test_channels_last_gives_the_same_losses(settings: Settings, tmp_path: Path) -> None:
    plain = train_tiny(settings, channels_last=False, output=tmp_path / "plain.run", epochs=1)
    assert first_loss(train_tiny(settings, epochs=1)) == pytest.approx(first_loss(plain), rel=1e-4)


def test_bfloat16_rounds_and_gives_much_the_same_losses(settings: Settings, tmp_path: Path) -> None:
    plain = first_loss(train_tiny(settings, output=tmp_path / "plain.run", epochs=1))
    rounded = first_loss(train_tiny(settings, precision="bf16", epochs=1))
    assert rounded == pytest.approx(plain, rel=0.05)
    assert rounded != pytest.approx(plain, rel=1e-5)


def test_compile_compiles_the_trained_half(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    train_tiny(settings, compile=True, epochs=1, iterations=1)
    assert [type(module).__name__ for module in compiled] == ["TrainedHalf"]


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, list[int], list[int]]]:
    """Of each epoch, whether both views share labels, the satellite's labels, the drone's."""
    found: list[tuple[bool, list[int], list[int]]] = []
    real = loop.build_memories

    def build_memories(objective: Any, stage: Any, *pools: Any) -> Any:
        satellite, drone = (pool.labels.tolist() for pool in pools)
        found.append((stage.shared_labels, satellite, drone))
        return real(objective, stage, *pools)

    monkeypatch.setattr(loop, "build_memories", build_memories)
    return found


def test_mutual_neighbours_alone_may_share_labels(
    settings: Settings, remembered: list[tuple[bool, list[int], list[int]]]
) -> None:
    run = train_tiny({**settings, "pseudo_labels.enhancement": "mutual"})
    assert [shared for shared, _, _ in remembered] == [False, False, True]
    own, (_, satellite, drone) = remembered[0][1], remembered[2]
    assert own == list(range(8))
    assert -1 in satellite  # whom too few drone images choose
    assert {*satellite} - {-1} <= {*drone}
    assert len({*satellite}) > 1
    for row, (_, *views) in zip(history_of(run)[1:], remembered, strict=True):
        for view, labels in zip(("satellite", "drone"), views, strict=True):
            assert row[f"{view}_clusters"] == len({*labels} - {-1})
            assert row[f"{view}_outlier_share"] == labels.count(-1) / len(labels)


def test_views_keep_their_own_labels_where_none_are_to_be_shared(
    settings: Settings, remembered: list[tuple[bool, list[int], list[int]]]
) -> None:
    train_tiny({**settings, "pseudo_labels.enhancement": "none"})
    assert [shared for shared, _, _ in remembered] == [False, False, False]
    assert [satellite for _, satellite, _ in remembered] == [list(range(8))] * 3


def test_no_two_steps_vary_pictures_alike(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    real = FreshInputs.augmented

    def augmented(inputs: FreshInputs, indexes: Any, seed: int) -> torch.Tensor:
        seeds.append(seed)
        return real(inputs, indexes, seed)

    monkeypatch.setattr(FreshInputs, "augmented", augmented)
    train_tiny(settings)
    assert len(set(seeds)) == len(seeds) == 3 * settings["iterations"] * 2


def test_the_shared_stage_begins_from_the_best(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[torch.Tensor] = []
    real = loop.pool_features

    def pool_features(half: torch.nn.Module, *others: Any) -> torch.Tensor:
        starts.append(torch.cat([weights.detach().flatten() for weights in half.parameters()]))
        return real(half, *others)

    monkeypatch.setattr(loop, "pool_features", pool_features)
    monkeypatch.setattr(loop, "_evaluated", with_scores([0.5, 0.9, 0.6, 0.7, 0.8]))
    train_tiny({**settings, "objective.shared_start": 2}, epochs=4)
    first, second, third, fourth = starts[::2]  # both views' features, every epoch
    assert not first.equal(second)
    assert third.equal(second)
    assert not fourth.equal(third)


def test_satellite_images_alone_can_be_trained_on(
    kept_views: Settings, folder: Path, tmp_path: Path
) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    for path in (folder / "u/train/satellite").rglob("*.png"):
        shutil.copy(path, tiles)
    region = {name: value for name, value in kept_views.items() if name != "data.root"}
    region |= {"data.layout": "region", "data.satellite": tiles, "places.cross_view_weight": 0.0}
    with one_thread():
        summary = loop.train(config_of(region))
    assert (summary.epochs, summary.best, summary.page) == (3, None, None)
    rows = history_of(region["output"])
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["tiles"] == rows[-1]["loss"] > 0.0
    load_encoder(summary.last)
    before = last_weights(region["output"])
    after = last_weights(train_tiny(region, resume=True))
    assert all(after[name].equal(value) for name, value in before.items())


# When it ends and what it keeps


def test_the_best_is_kept_beside_the_last(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_evaluated", with_scores([0.1, 0.2, 0.9, 0.3]))
    with one_thread():
        summary = loop.train(config_of(settings))
    assert (summary.best_epoch, summary.best_scores["R@1"], summary.epochs) == (2, 0.9, 3)
    best, last = (
        load_checkpoint(settings["output"] / f"{n}.safetensors") for n in ("best", "last")
    )
    assert (best.provenance["epochs"], last.provenance["epochs"]) == (2, 3)
    assert best.provenance["figures"]["recall_at_1"] == 0.9
    assert best.provenance["method"].startswith("DMNIL")
    assert any(not best.weights[name].equal(last.weights[name]) for name in best.weights)


def test_patience_ends_a_run_that_no_longer_improves(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_evaluated", with_scores([0.5, 0.6, 0.6, 0.5, 0.9]))
    with one_thread():
        summary = loop.train(config_of({**settings, "epochs": 4, "patience": 2}))
    assert (summary.epochs, summary.best_epoch) == (3, 1)
    assert summary.reason == "2 evaluations brought nothing better"


def test_evaluation_may_come_every_few_epochs_and_comes_at_the_end(settings: Settings) -> None:
    rows = history_of(train_tiny(settings, evaluate_every=2))
    assert ["recall_at_1" in row for row in rows] == [True, False, True, True]


def test_a_run_ends_before_an_epoch_that_would_last_too_long(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_tiny(settings, output=tmp_path / "whole.run")
    now_s = 0.0
    real = loop.learning_rate_at

    def taking_a_minute(*arguments: Any) -> float:
        nonlocal now_s
        now_s += STEP_S
        return real(*arguments)

    monkeypatch.setattr(loop, "learning_rate_at", taking_a_minute)
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: now_s))
    # Three minutes an epoch: the third would end after nine.
    with one_thread():
        summary = loop.train(config_of({**settings, "max_minutes": 8.0}))
    assert (summary.epochs, summary.duration_s) == (2, 6 * STEP_S)
    assert summary.reason == "another epoch would not fit into 8 minutes"
    run = train_tiny(settings, max_minutes=0.0, resume=True)
    assert same(run, whole)
    assert history_of(run) == history_of(whole)


def test_a_run_without_time_for_an_epoch_still_leaves_a_checkpoint(settings: Settings) -> None:
    with one_thread():
        summary = loop.train(config_of({**settings, "max_minutes": 1e-9}))
    assert summary.epochs == 0
    load_encoder(summary.last)


# Files


def test_a_run_leaves_all_that_the_readme_promises(kept_views: Settings) -> None:
    run = train_tiny(kept_views)
    assert sorted(path.name for path in run.iterdir()) == [
        "best.safetensors",
        "config.yaml",
        "history.json",
        "last.safetensors",
        "retrieval.html",
        "state.safetensors",
        "tensorboard",
    ]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    page = (run / "retrieval.html").read_text()
    assert "a.run, epoch 3 of 3" in page


def test_the_settings_of_a_run_reproduce_it(settings: Settings, tmp_path: Path) -> None:
    first = train_tiny(settings, epochs=1)
    assert not {"output", "resume"} & yaml.safe_load((first / "config.yaml").read_text()).keys()
    again = tmp_path / "again.run"
    with one_thread():
        assert cli.main(["--config", str(first / "config.yaml"), "-o", str(again)]) == 0
    assert same(first, again)
    assert history_of(first) == history_of(again)
    assert (first / "config.yaml").read_bytes() == (again / "config.yaml").read_bytes()


def test_the_command_ends_with_what_to_do_next(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with one_thread():
        assert cli.main(["--preset", "paper", *arguments_of({**settings, "epochs": 1})]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].startswith("next")
    assert "dmnil-export" in captured.out
    assert captured.err.startswith("epoch 0/1  R@1")


def test_pictures_that_cannot_be_written_do_not_end_a_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OutputError("retrieval.html cannot be written: no room")

    monkeypatch.setattr(run_folder, "write_retrieval_page", refuse)
    run = train_tiny(settings)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "retrieval.html cannot be written: no room: training goes on, without its page of "
        "retrievals"
    ]
    assert len(history_of(run)) == 4


def test_curves_that_cannot_be_written_do_not_end_a_run(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings["output"].mkdir()
    (settings["output"] / "tensorboard").write_text("in the way")
    assert len(history_of(train_tiny(settings))) == 4
    assert [record.name for record in caplog.records if record.levelname == "WARNING"] == [
        ScalarLog.__module__
    ]


def test_a_share_of_the_way_is_saved_and_the_whole_way_gone_on_with(
    settings: Settings, tmp_path: Path
) -> None:
    whole = train_tiny(settings, output=tmp_path / "whole.run", epochs=1)
    blended = train_tiny(settings, trained_share=0.25, epochs=1)
    start = load_checkpoint(Path(settings["weights"])).weights
    trained = last_weights(whole)
    for name, value in last_weights(blended).items():
        expected = torch.lerp(start[name], trained[name], 0.25)
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-7)


def test_a_checkpoint_tells_how_it_was_trained_but_not_where(settings: Settings) -> None:
    run = train_tiny({**settings, "epochs": 1})
    provenance = load_checkpoint(run / "last.safetensors").provenance
    assert provenance["settings"]["data"]["root"] == "u"
    assert "duration_s" not in provenance["figures"]
    assert str(settings["data.root"].parent) not in json.dumps(provenance)
