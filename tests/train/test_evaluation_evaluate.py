from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from jsonargparse import ArgumentParser

from dmnil_train import cli
from dmnil_train.data.changed_pool import ChangedPool
from dmnil_train.data.pool import PreparedPool, RetrievalTask
from dmnil_train.encoder import load_encoder, save_checkpoint
from dmnil_train.evaluation.evaluate import (
    EmbeddingOptions,
    PoolEmbedder,
    TaskScores,
    evaluate_with,
    score_table,
)
from dmnil_train.evaluation.run import EvaluateConfig, run_evaluation
from edge_runtime.contract.errors import ConfigError, OutputError, SourceError
from tests.tiny_encoder import write_tiny_encoder
from tests.train.tiny_training import write_tiny_start

SIDE_PX = 64


def places_pool(places: Sequence[int], noise: float = 0.0, in_common: float = 0.0) -> PreparedPool:
    """One picture a place: colours on a 4 x 4 grid, the same wherever the place comes up.

    `in_common` blends in the same other picture everywhere.
    """
    pictures = []
    for number, place in enumerate(places):
        cells = np.random.default_rng(place).uniform(40, 200, (4, 4, 3)) * (1 - in_common)
        cells += np.random.default_rng(9999).uniform(40, 200, (4, 4, 3)) * in_common
        picture = np.kron(cells, np.ones((SIDE_PX // 4, SIDE_PX // 4, 1)))
        picture += np.random.default_rng([place, number]).normal(0, noise, picture.shape)
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    names = tuple(f"{number}.jpg" for number in range(len(places)))
    return PreparedPool(np.stack(pictures), names, np.array(places, np.int64))


def task_of(name: str, queries: PreparedPool, gallery: PreparedPool) -> RetrievalTask:
    return RetrievalTask(name, queries, gallery, queries.places, gallery.places)


@dataclass
class CountingEncoder:
    """Colours on a 4 x 4 grid; counts what it encodes."""

    height: int = SIDE_PX
    width: int = SIDE_PX
    sha256: str | None = None
    images: int = 0

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.images += len(images)
        grid = images.reshape(len(images), 4, 16, 4, 16, 3).mean(axis=(2, 4))
        vectors = grid.reshape(len(images), -1)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def scores_of(
    encoder: CountingEncoder,
    tasks: Sequence[RetrievalTask],
    options: EmbeddingOptions | None = None,
) -> list[TaskScores]:
    return evaluate_with(PoolEmbedder(encoder, options or EmbeddingOptions()), tasks)


@dataclass(frozen=True)
class BrokenPool(ChangedPool):
    """Another pool's pictures, one of which cannot be read."""

    broken: int

    def changed(self, picture: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        if index == self.broken:
            raise SourceError(f"{index}.jpg cannot be decoded")
        return picture


@pytest.fixture
def both_ways() -> list[RetrievalTask]:
    drone, satellite = places_pool([0, 0, 1, 2, 3], noise=8.0), places_pool(range(6))
    return [
        task_of("drone->satellite", drone, satellite),
        task_of("satellite->drone", satellite, drone),
    ]


def test_both_directions_embed_each_pool_once(both_ways: list[RetrievalTask]) -> None:
    encoder = CountingEncoder()
    there, back = scores_of(encoder, both_ways)
    assert encoder.images == 5 + 6
    assert there.retrieval.recall_at_1 == 1.0
    assert back.retrieval.recall_at_1 == pytest.approx(4 / 6)
    assert back.retrieval.queries_without_match == 2
    assert (there.sdm, there.unreadable_queries, there.unreadable_gallery) == (None, 0, 0)


def test_a_relevance_matrix_stands_in_for_places(both_ways: list[RetrievalTask]) -> None:
    unknown = np.full(5, -1, np.int64), np.full(6, -1, np.int64)
    relevant = np.equal(both_ways[0].query_places[:, None], both_ways[0].gallery_places)
    task = replace(
        both_ways[0], query_places=unknown[0], gallery_places=unknown[1], relevant=relevant
    )
    assert scores_of(CountingEncoder(), [task]) == scores_of(CountingEncoder(), both_ways[:1])
    wrong = replace(task, relevant=~relevant)
    assert scores_of(CountingEncoder(), [wrong])[0].retrieval.recall_at_1 == 0.0


def test_known_positions_give_sdm(both_ways: list[RetrievalTask]) -> None:
    positions = np.stack([np.full(6, 8.0), 50.0 + 2e-4 * np.arange(6)], axis=1)
    task = replace(
        both_ways[0],
        query_positions_deg=positions[[1, 1, 2, 3, 4]],  # each one step off its place
        gallery_positions_deg=positions,
    )
    sdm = scores_of(CountingEncoder(), [task])[0].sdm
    assert sdm is not None
    assert sdm[1] == pytest.approx(math.exp(-1.0), rel=1e-4)
    assert set(sdm) == {1, 3, 5}


@pytest.mark.parametrize("by_matrix", [False, True])
def test_unreadable_images_take_no_part_in_the_ranking(by_matrix: bool) -> None:
    drone, satellite = places_pool(range(20)), places_pool(range(20))
    task = task_of("drone->satellite", drone, satellite)
    positions = np.stack([np.arange(20.0), np.zeros(20)], axis=1)
    task = replace(
        task,
        queries=BrokenPool(drone, 4),
        gallery=BrokenPool(satellite, 7),
        relevant=np.eye(20, dtype=np.bool_) if by_matrix else None,
        query_positions_deg=positions,
        gallery_positions_deg=positions,
    )
    (scores,) = scores_of(CountingEncoder(), [task])
    assert (scores.unreadable_queries, scores.unreadable_gallery) == (1, 1)
    assert (scores.retrieval.queries, scores.retrieval.gallery) == (19, 19)
    assert scores.retrieval.recall_at_1 == pytest.approx(18 / 19)
    assert scores.retrieval.queries_without_match == 1
    assert scores.sdm is not None
    assert scores.sdm[1] == pytest.approx(18 / 19)
    assert "left out as unreadable: 1 queries, 1 gallery images" in score_table([scores])


def test_removing_means_forgives_what_one_view_has_in_common() -> None:
    hazy = places_pool(range(30), in_common=0.9)
    task = task_of("drone->satellite", hazy, places_pool(range(30)))
    plain = scores_of(CountingEncoder(), [task])[0].retrieval.recall_at_1
    options = EmbeddingOptions(remove_means=True)
    centred = scores_of(CountingEncoder(), [task], options)[0].retrieval.recall_at_1
    assert plain < 0.7
    assert centred == 1.0


def test_a_gallery_of_unknown_places_is_refused(both_ways: list[RetrievalTask]) -> None:
    task = replace(both_ways[0], gallery_places=np.full(6, -1, np.int64))
    with pytest.raises(SourceError, match="drone->satellite: the place of no gallery image"):
        scores_of(CountingEncoder(), [task])


def test_the_table_has_one_aligned_row_a_task(both_ways: list[RetrievalTask]) -> None:
    lines = score_table(scores_of(CountingEncoder(), both_ways)).splitlines()
    assert lines[0].split() == ["R@1", "R@5", "R@10", "R@1%", "AP", "queries", "gallery"]
    assert lines[1].split()[:2] == ["drone->satellite", "100.00"]
    assert lines[1].split()[-2:] == ["5", "6"]
    assert lines[2].split()[:2] == ["satellite->drone", "66.67"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[3] == (
        "satellite->drone: 2 queries have no match in the gallery and count as missed"
    )


def test_the_command_scores_a_bundle_and_writes_the_same_json_each_time(
    tmp_path: Path, both_ways: list[RetrievalTask]
) -> None:
    sizes = []

    def open_tasks(height: int, width: int) -> list[RetrievalTask]:
        sizes.append((height, width))
        return both_ways

    bundle = write_tiny_encoder(tmp_path / "tiny.encoder", SIDE_PX)
    config = EvaluateConfig(
        bundle, robustness=True, robustness_queries=3, json=tmp_path / "new" / "scores.json"
    )
    report = run_evaluation(config, open_tasks)
    assert config.json is not None
    text = config.json.read_text()
    run_evaluation(config, open_tasks)
    assert config.json.read_text() == text
    assert sizes == [(SIDE_PX, SIDE_PX)] * 2
    document = json.loads(text)
    assert document["schema_version"] == 1
    assert document["encoder"] == "tiny.encoder"
    assert document["encoder_sha256"] == report.encoder_sha256
    assert document["tasks"][0]["retrieval"]["recall_at_1"] == 1.0
    # Corrupted are the drone's pictures, never the satellite's.
    assert [scores["task"] for scores in document["robustness"]] == ["drone->satellite"]
    assert document["robustness"][0]["queries"] == 3
    table = report.table()
    assert table.startswith(f"tiny.encoder ({document['encoder_sha256'][:12]}), 64x64, fp32\n")
    assert "motion-blur" in table
    assert [path.name for path in config.json.parent.iterdir()] == ["scores.json"]


def test_the_report_says_when_means_were_removed(
    tmp_path: Path, both_ways: list[RetrievalTask]
) -> None:
    bundle = write_tiny_encoder(tmp_path / "tiny.encoder", SIDE_PX)
    config = EvaluateConfig(bundle, remove_means=True, mirror=True)
    report = run_evaluation(config, lambda height, width: both_ways)
    first_line = report.table().splitlines()[0]
    assert first_line.endswith("fp32, mean of image and mirror image, each pool's mean removed")
    assert report.as_json()["remove_means"] is True


def test_nothing_to_evaluate_is_an_error(tmp_path: Path) -> None:
    bundle = write_tiny_encoder(tmp_path / "tiny.encoder", SIDE_PX)
    with pytest.raises(SourceError, match="nothing to evaluate"):
        run_evaluation(EvaluateConfig(bundle), lambda height, width: [])


def test_a_diverged_encoder_is_named_on_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_start(tmp_path)
    checkpoint = tmp_path / "start.safetensors"
    encoder = load_encoder(checkpoint)
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(float("nan"))
    save_checkpoint(encoder, checkpoint)
    data = ["--data.layout", "university1652", "--data.root", str(tmp_path / "u")]
    assert cli.main(["evaluate", str(checkpoint), "--device", "cpu", *data]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"dmnil-train evaluate: error: {checkpoint}: the encoder returned ")
    assert "not finite" in line


def test_a_json_that_cannot_be_written_is_found_out_before_anything_is_encoded(
    tmp_path: Path,
) -> None:
    config = EvaluateConfig(tmp_path / "missing.encoder", json=tmp_path)
    with pytest.raises(OutputError, match="is a folder"):
        run_evaluation(config, lambda height, width: [])
    (tmp_path / "file").touch()
    below = replace(config, json=tmp_path / "file" / "scores.json")
    with pytest.raises(OutputError, match="cannot be written"):
        run_evaluation(below, lambda height, width: [])


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch_size", 0), ("precision", "fp8"), ("readers", -1), ("robustness_queries", -1)],
)
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        replace(EvaluateConfig(Path("a.encoder")), **{field: value})  # type: ignore[arg-type]


def test_every_setting_can_be_given_on_the_command_line() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(EvaluateConfig)
    parsed = parser.parse_args(["--encoder=a.encoder", "--json=b.json", "--robustness=true"])
    built = EvaluateConfig(**parsed.as_dict())
    assert (str(built.encoder), str(built.json), built.robustness) == ("a.encoder", "b.json", True)
