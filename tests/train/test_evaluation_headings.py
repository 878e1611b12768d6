"""Evaluation over headings: pictures from above are turned, the most similar turn counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dmnil_train import cli
from dmnil_train.data.pool import PreparedPool, RetrievalTask, Side
from dmnil_train.data.turned_pool import TurnedPool
from dmnil_train.evaluation.evaluate import EmbeddingOptions, PoolEmbedder, evaluate_with
from dmnil_train.evaluation.retrieval_metrics import retrieval_metrics, sdm_at_k
from dmnil_train.evaluation.robustness import robustness
from dmnil_train.evaluation.run import EvaluateConfig, run_evaluation
from dmnil_train.evaluation.similarity import cosines
from dmnil_train.reporting.retrieval_examples import sample_retrieval
from edge_runtime.contract.errors import ConfigError
from tests.tiny_encoder import write_tiny_encoder
from tests.train.tiny_training import (
    arguments_of,
    config_of,
    history_of,
    tiny_settings,
    train_tiny,
    write_tiny_start,
)

SIDE_PX = 32
MARGIN = 1.5  # wide enough that no turn shows what lies beyond


def ground_of(place: int) -> npt.NDArray[np.uint8]:
    """A picture with a margin: colours on a grid, no two places alike, nor any two headings."""
    side = round(SIDE_PX * MARGIN)
    cells = np.random.default_rng(place).uniform(20, 235, (6, 6, 3))
    return np.asarray(np.kron(cells, np.ones((side // 6, side // 6, 1))), np.uint8)


def satellite_pool(places: Sequence[int]) -> PreparedPool:
    pictures = np.stack([ground_of(place) for place in places])
    names = tuple(f"{place}.jpg" for place in places)
    return PreparedPool(pictures, names, np.array(places, np.int64), margin=MARGIN)


def drone_pool(places: Sequence[int], quarter_turns: int) -> PreparedPool:
    """What a camera sees that looks straight down with the aircraft headed elsewhere."""
    north_up = satellite_pool(places)
    seen = [np.rot90(north_up.read(index), quarter_turns) for index in range(len(places))]
    return PreparedPool(np.stack(seen), north_up.names, north_up.places)


def task_of(queries: PreparedPool, gallery: PreparedPool, side: Side | None) -> RetrievalTask:
    name = "satellite->drone" if side == "queries" else "drone->satellite"
    return RetrievalTask(name, queries, gallery, queries.places, gallery.places, turnable_side=side)


@dataclass
class GridEncoder:
    """Colours on a 4 x 4 grid, about their mean; counts what it encodes."""

    height: int = SIDE_PX
    width: int = SIDE_PX
    sha256: str | None = None
    images: int = 0

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.images += len(images)
        grid = images.reshape(len(images), 4, 8, 4, 8, 3).mean(axis=(2, 4))
        vectors = grid.reshape(len(images), -1) - 127.5
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def recall_at_1(task: RetrievalTask, headings: int, encoder: GridEncoder | None = None) -> float:
    embedder = PoolEmbedder(encoder or GridEncoder(), EmbeddingOptions(headings=headings))
    return evaluate_with(embedder, [task])[0].retrieval.recall_at_1


PLACES = range(24)
AT_90_DEG = drone_pool(PLACES, quarter_turns=1)
FROM_ABOVE = satellite_pool(PLACES)
BOTH_WAYS = [
    pytest.param(task_of(AT_90_DEG, FROM_ABOVE, "gallery"), id="drone->satellite"),
    pytest.param(task_of(FROM_ABOVE, AT_90_DEG, "queries"), id="satellite->drone"),
]


@pytest.mark.parametrize("task", BOTH_WAYS)
def test_views_in_another_heading_are_found_once_headings_are_searched(task: RetrievalTask) -> None:
    assert recall_at_1(task, headings=1) < 0.3
    assert recall_at_1(task, headings=2) < 0.3  # 0 and 180 degrees
    assert recall_at_1(task, headings=4) == 1.0


@pytest.mark.parametrize("task", BOTH_WAYS)
def test_only_pictures_from_above_are_turned(task: RetrievalTask) -> None:
    encoder = GridEncoder()
    recall_at_1(task, 4, encoder)
    assert encoder.images == len(PLACES) + 4 * len(PLACES)


def test_both_directions_turn_a_shared_pool_once() -> None:
    encoder = GridEncoder()
    tasks = [
        task_of(AT_90_DEG, FROM_ABOVE, "gallery"),
        task_of(FROM_ABOVE, AT_90_DEG, "queries"),
    ]
    evaluate_with(PoolEmbedder(encoder, EmbeddingOptions(headings=4)), tasks)
    assert encoder.images == len(PLACES) + 4 * len(PLACES)


def test_a_mean_is_one_for_all_headings() -> None:
    options = EmbeddingOptions(remove_means=True, headings=4)
    task = task_of(AT_90_DEG, FROM_ABOVE, "gallery")
    (scores,) = evaluate_with(PoolEmbedder(GridEncoder(), options), [task])
    assert scores.retrieval.recall_at_1 == 1.0


def test_corrupted_views_are_searched_in_all_headings_too() -> None:
    embedder = PoolEmbedder(GridEncoder(), EmbeddingOptions(headings=4))
    task = task_of(AT_90_DEG, FROM_ABOVE, "gallery")
    scores = robustness(embedder, task, corruptions=("jpeg",))
    assert scores.clean == 1.0
    assert scores.recall_at_1["jpeg"][0] > 0.9


def test_a_task_without_pictures_from_above_is_refused() -> None:
    task = replace(task_of(AT_90_DEG, FROM_ABOVE, None), name="street->satellite")
    with pytest.raises(ConfigError, match="leave it at 1 for street->satellite"):
        recall_at_1(task, headings=2)
    assert recall_at_1(task, headings=1) < 0.3


def test_a_picture_turns_its_surroundings_into_view() -> None:
    turned = TurnedPool(FROM_ABOVE, 90.0, SIDE_PX, SIDE_PX)
    assert (len(turned), turned.names) == (len(FROM_ABOVE), FROM_ABOVE.names)
    difference = turned.read(3).astype(int) - np.rot90(FROM_ABOVE.read(3))
    assert np.abs(difference).max() <= 1


def test_a_picture_of_another_size_is_brought_to_the_encoders() -> None:
    assert TurnedPool(FROM_ABOVE, 45.0, 20, 28).read(0).shape == (20, 28, 3)


# Rankings of several views an image


def unit(angles_deg: Sequence[float]) -> npt.NDArray[np.float32]:
    angles = np.deg2rad(angles_deg)
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)


def test_the_most_similar_of_several_views_counts() -> None:
    one = unit([0.0, 90.0])
    several = np.stack([unit([60.0, 120.0]), unit([30.0, 180.0]), unit([80.0, 150.0])])
    expected = np.cos(np.deg2rad([[60.0, 30.0, 80.0], [30.0, 60.0, 10.0]]))
    np.testing.assert_allclose(cosines(one, several), expected, atol=1e-6)
    np.testing.assert_allclose(cosines(several, one), expected.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(cosines(several, several)), 1.0, atol=1e-6)


@pytest.mark.parametrize("turned", ["queries", "gallery"])
def test_scores_are_those_of_the_best_pair_of_views(turned: str) -> None:
    rng = np.random.default_rng(5)
    queries, gallery = (rng.normal(size=(count, 3, 8)).astype(np.float32) for count in (40, 30))
    if turned == "gallery":
        queries = queries[:, 0]
    else:
        gallery = gallery[:, 0]
    labels, places = rng.integers(0, 12, 40), rng.integers(0, 12, 30)
    scores = retrieval_metrics(queries, labels, gallery, places)
    right = 0
    for query, label in zip(queries, labels, strict=True):
        best = [
            max(
                float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
                for a in np.atleast_2d(query)
                for b in np.atleast_2d(item)
            )
            for item in gallery
        ]
        right += places[int(np.argmax(best))] == label
    assert scores.recall_at_1 == right / 40
    assert (scores.queries, scores.gallery) == (40, 30)


def test_distances_follow_the_best_heading() -> None:
    gallery = np.stack([unit([90.0, 0.0]), unit([45.0, 45.0])])
    positions = np.array([[8.0, 50.0], [8.0, 50.001]])
    sdm = sdm_at_k(unit([0.0]), positions[:1], gallery, positions, ks=(1,))
    assert sdm[1] == pytest.approx(1.0)


def test_the_page_of_retrievals_ranks_as_the_scores_do() -> None:
    task = task_of(AT_90_DEG, FROM_ABOVE, "gallery")
    embedder = PoolEmbedder(GridEncoder(), EmbeddingOptions(headings=4))
    queries, gallery = (side.features for side in embedder.both_sides(task))
    sample = sample_retrieval(task, queries, gallery, count=4, best=2, seed=0)
    assert sample.first_ranks.tolist() == [1] * len(PLACES)
    assert not sample.missed


# Settings and reports


def test_the_report_says_how_many_headings_were_searched(tmp_path: Path) -> None:
    bundle = write_tiny_encoder(tmp_path / "tiny.encoder", SIDE_PX)
    tasks = [task_of(AT_90_DEG, FROM_ABOVE, "gallery")]
    config = EvaluateConfig(bundle, headings=4, json=tmp_path / "scores.json")
    report = run_evaluation(config, lambda height, width: tasks)
    assert report.table().splitlines()[0].endswith("32x32, fp32, the best of 4 headings")
    assert json.loads((tmp_path / "scores.json").read_text())["headings"] == 4
    once = run_evaluation(EvaluateConfig(bundle), lambda height, width: tasks)
    assert "heading" not in once.table()
    assert once.as_json()["headings"] == 1


def test_headings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="headings must be at least 1, is 0"):
        EvaluateConfig(Path("a.encoder"), headings=0)
    with pytest.raises(ConfigError, match="evaluation_headings must be 1 or more"):
        config_of({**tiny_settings(Path()), "evaluation_headings": 0})


def test_training_on_street_views_searches_no_headings() -> None:
    street = {**tiny_settings(Path()), "data.drone_view": "street", "evaluation_headings": 4}
    with pytest.raises(ConfigError, match="leave it at 1 for street views"):
        config_of(street)


def test_training_and_the_command_search_headings_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny_settings(write_tiny_start(tmp_path))
    plain = train_tiny(settings, epochs=1)
    searched = train_tiny(
        settings, epochs=1, evaluation_headings=4, output=tmp_path / "searched.run"
    )
    data = {name: value for name, value in settings.items() if name.startswith("data.")}
    scores = tmp_path / "scores.json"
    for run, headings in ((plain, 1), (searched, 4)):
        arguments = arguments_of({**data, "device": "cpu", "headings": headings, "json": scores})
        assert cli.main(["evaluate", str(run / "last.safetensors"), *arguments]) == 0
        found = json.loads(scores.read_text())["tasks"][0]["retrieval"]
        trained = history_of(run)[-1]
        assert found["recall_at_1"] == pytest.approx(trained["recall_at_1"])
        assert found["average_precision"] == pytest.approx(trained["average_precision"])
    capsys.readouterr()
    assert history_of(plain)[-1] != history_of(searched)[-1]
