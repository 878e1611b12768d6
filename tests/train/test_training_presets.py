"""`--preset paper` is the paper's method, number by number; the other recipes can be trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmnil_train import cli
from dmnil_train.config import TrainConfig
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from dmnil_train.learning_rate import learning_rate_at
from dmnil_train.presets import PRESETS

UNIVERSITY = ("-o", "u.run", "--data.layout", "university1652", "--data.root", "u")
CONVNEXT = ("--weights", "convnext.pth")


@pytest.fixture
def paper(resolved: list[TrainConfig]) -> TrainConfig:
    assert cli.main([*UNIVERSITY, *CONVNEXT, "--preset", "paper"]) == 2
    return resolved[0]


def test_the_papers_epochs_and_batches(paper: TrainConfig) -> None:
    assert (paper.epochs, paper.iterations) == (40, 400)
    batch = paper.batch
    assert (batch.drone_clusters, batch.drone_instances) == (16, 4)
    assert (batch.satellite_clusters, batch.satellite_instances) == (16, 4)
    assert batch.satellite_repeats == 2
    assert (paper.dmnil, paper.supervised, paper.trained_share) == (True, False, 1.0)
    assert (paper.frozen_parts, paper.kept_views, paper.freeze_batch_norm) == (0, 0, False)
    assert (paper.places.satellite_weight, paper.places.cross_view_weight) == (0.0, 0.0)
    assert (paper.evaluate_every, paper.patience, paper.max_minutes) == (1, 0, 0.0)


def test_the_papers_optimiser(paper: TrainConfig) -> None:
    optimiser = paper.optimiser
    assert (optimiser.method, optimiser.momentum, optimiser.weight_decay) == ("sgd", 0.9, 5e-4)
    rates = [learning_rate_at(optimiser, epoch, 40, 0.5) for epoch in (0, 19, 20, 39)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4])


def test_the_papers_pseudo_labels(paper: TrainConfig) -> None:
    labels = paper.pseudo_labels
    assert (labels.k1, labels.k2, labels.min_samples) == (30, 6, 4)
    assert (labels.drone_eps, labels.satellite_eps) == (0.4, 0.3)
    assert (labels.enhancement, labels.enhancement_noise) == ("paper", 0.05)
    assert paper.mirrored_features


def test_the_papers_schedule_and_weights(paper: TrainConfig) -> None:
    objective = paper.objective
    starts = objective.inside_view_start, objective.cross_view_start, objective.shared_start
    assert starts == (1, 10, 20)
    assert objective.temperature == 0.05
    assert (objective.first_epoch_cluster_momentum, objective.cluster_momentum) == (0.2, 0.1)
    assert (objective.instance_momentum, objective.neighbour_ratio) == (0.9, 0.9)
    assert objective.short_long_combined_weight == 0.2
    assert (objective.consistency_weight, objective.consistency_neighbours) == (0.01, 10)
    assert objective.mutual_information_weight == 0.0

    first = objective.stage(0)
    assert (first.intra_view, first.short_long, first.cluster_momentum) == (1.0, 1.0, 0.2)
    assert first.satellite_inside_view == first.drone_inside_view == first.cross_view == 0.0
    second = objective.stage(1)
    assert (second.satellite_inside_view, second.drone_inside_view) == (0.5, 0.5)
    assert (second.cross_view, second.cluster_momentum) == (0.0, 0.1)
    even, odd = objective.stage(10), objective.stage(11)
    assert (even.satellites_learn_across, odd.satellites_learn_across) == (True, False)
    assert (even.cross_view, odd.cross_view) == pytest.approx((0.5 * 0.55, 0.5 * 0.5))
    assert (even.consistency, odd.consistency) == (0.01, 0.0)
    assert not objective.stage(19).shared_labels
    shared = objective.stage(20)
    assert (shared.shared_labels, shared.short_long, shared.intra_view) == (True, 0.0, 2.0)
    assert shared.satellite_inside_view == pytest.approx(0.1 * 0.5)
    assert shared.cross_view == pytest.approx(0.1 * 0.55)


@pytest.mark.parametrize("view", ["drone", "satellite"])
def test_the_papers_augmentation(paper: TrainConfig, view: str) -> None:
    augmentation = getattr(paper, f"{view}_augmentation")
    jitter = ("brightness", "contrast", "saturation", "hue")
    assert [getattr(augmentation, name) for name in jitter] == [0.5] * 4
    # A border of 10 pixels, and a random cut of the old size: a shift by up to 10 of 384.
    assert augmentation.shift * 384 == pytest.approx(10.0)
    assert augmentation.flip
    left_out = ("gamma", "shadow", "blur", "grey", "erase", "rotation_deg", "perspective")
    assert [getattr(augmentation, name) for name in left_out] == [0.0] * len(left_out)
    assert (augmentation.smallest_scale, augmentation.largest_scale) == (1.0, 1.0)


def test_published_convnext_weights_make_the_papers_encoder(paper: TrainConfig) -> None:
    chosen = paper.encoder.applied_to(EncoderConfig())
    assert (chosen.backbone, chosen.depths) == ("convnext", (3, 3, 9, 3))
    assert (chosen.widths, chosen.output_stride) == ((96, 192, 384, 768), 32)
    assert (chosen.input_height, chosen.input_width) == (384, 384)
    assert (chosen.head, chosen.pixel_scale, chosen.descriptor_size) == ("gap", "fixed", None)
    assert Encoder(chosen).descriptor_size == 768


def test_the_other_recipes_differ_from_the_paper_as_they_say(
    resolved: list[TrainConfig],
) -> None:
    for name in PRESETS:
        weights = CONVNEXT if name == "paper" else ()
        assert cli.main([*UNIVERSITY, *weights, f"--preset={name}"]) == 2
    for config, (name, settings) in zip(resolved, PRESETS.items(), strict=True):
        for dotted, value in settings.items():
            found: object = config
            for part in dotted.split("."):
                found = getattr(found, part)
            assert found == value, (name, dotted)


def test_flags_and_files_win_over_the_preset(resolved: list[TrainConfig], tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("epochs: 7\niterations: 8\n")
    given = ["--preset", "cross-view", "--config", str(path), "--iterations", "9"]
    assert cli.main([*UNIVERSITY, *given]) == 2
    assert (resolved[0].epochs, resolved[0].iterations) == (7, 9)
    assert resolved[0].kept_views > 0


def test_without_a_preset_satellite_images_suffice(resolved: list[TrainConfig]) -> None:
    region = ["-o", "r.run", "--data.layout", "region", "--data.satellite", "r.tif"]
    assert cli.main(region) == 2
    assert (resolved[0].dmnil, resolved[0].places.satellite_weight > 0.0) == (False, True)


def test_the_paper_starts_from_weights_that_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*UNIVERSITY, "--preset", "paper"]) == 2
    assert "--weights efficientnet-lite2 needs no file" in capsys.readouterr().err
