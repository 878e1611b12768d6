"""How drone images are matched with the tiles that show the same ground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dmnil_train import loop
from dmnil_train.augmentation import AugmentationConfig
from dmnil_train.config import TrainConfig
from dmnil_train.data.pool import PreparedPool, TrainingData
from dmnil_train.encoder.halves import TrainedHalf, split_encoder
from dmnil_train.encoder.model import Encoder
from dmnil_train.inputs import FreshInputs, KeptInputs
from dmnil_train.labelling import (
    EpochLabels,
    MatchingFeatures,
    matched_tiles,
    mutual_labels,
    true_tiles,
)
from dmnil_train.pool_features import matching_features, pool_features
from dmnil_train.processes import joined_processes
from edge_runtime.contract.errors import ConfigError
from tests.train.tiny_training import (
    SIDE,
    TINY_CONVNEXT,
    config_of,
    history_of,
    kept_views_settings,
    train_tiny,
    write_tiny_start,
)

PLACES = 24
Pictures = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_start(tmp_path_factory.mktemp("start"))


def config_with(folder: Path, **matching: Any) -> TrainConfig:
    settings = kept_views_settings(folder)
    return config_of({**settings, **{f"matching.{name}": v for name, v in matching.items()}})


@pytest.fixture(scope="module")
def halves() -> tuple[Any, TrainedHalf]:
    torch.manual_seed(0)
    frozen, half = split_encoder(Encoder(TINY_CONVNEXT).eval(), 1, freeze_batch_norm=True)
    return frozen, half.eval()


def inputs(pictures: Pictures, frozen: Any, margin: float = 1.5) -> FreshInputs:
    count = len(pictures)
    pool = PreparedPool(pictures, tuple(map(str, range(count))), np.full(count, -1), margin=margin)
    return FreshInputs(pool, frozen, AugmentationConfig(), torch.device("cpu"))


@pytest.fixture(scope="module")
def ground() -> Pictures:
    """Places of the same few colours, which lie elsewhere in each."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (9, 3), dtype=np.uint8)
    fields = np.stack([colours[rng.permutation(9)].reshape(3, 3, 3) for _ in range(PLACES)])
    return fields.repeat(SIDE // 2, axis=1).repeat(SIDE // 2, axis=2)


def share_right(
    halves: tuple[Any, TrainedHalf], config: TrainConfig, tiles: Pictures, drone: Pictures
) -> float:
    frozen, half = halves
    with joined_processes("cpu") as processes:
        features = matching_features(
            half, inputs(tiles, frozen), inputs(drone, frozen), config, processes
        )
    assert features[0].shape[:2] == (PLACES, config.matching.headings)
    rows = np.arange(PLACES)
    found = matched_tiles(MatchingFeatures(*features, rows), PLACES, 1, 1).tiles[:, 0]
    return float((found == np.arange(PLACES)).mean())


def test_turned_tiles_match_drone_views_of_another_heading(
    folder: Path, halves: tuple[Any, TrainedHalf], ground: Pictures
) -> None:
    turned = np.stack([np.rot90(picture, 1 + place % 3) for place, picture in enumerate(ground)])
    one = share_right(halves, config_with(folder, features="grid"), ground, turned)
    four = share_right(halves, config_with(folder, features="grid", headings=4), ground, turned)
    assert four == 1.0
    assert one < 0.5


def test_one_heading_compares_what_is_trained(
    folder: Path, halves: tuple[Any, TrainedHalf], ground: Pictures
) -> None:
    frozen, half = halves
    config, tiles = config_with(folder), inputs(ground, frozen)
    with joined_processes("cpu") as processes:
        plain = pool_features(half, tiles, config, processes)
        compared, _ = matching_features(half, tiles, tiles, config, processes)
    torch.testing.assert_close(compared[:, 0], plain, rtol=1e-4, atol=1e-4)


def test_a_grid_shares_what_is_trained(halves: tuple[Any, TrainedHalf]) -> None:
    _, half = halves
    grid = half.as_grid(2)
    own = {id(parameter) for parameter in half.parameters()}
    assert {id(parameter) for parameter in grid.parameters()} == own
    assert not grid.training


def test_turned_images_are_described_afresh(
    halves: tuple[Any, TrainedHalf], ground: Pictures
) -> None:
    fresh = inputs(ground, halves[0])
    kept = KeptInputs(fresh, 1, seed=0, label="satellite")
    indexes = np.array([3, 1])
    assert torch.equal(kept.turned(indexes, 90.0), fresh.turned(indexes, 90.0))
    torch.testing.assert_close(
        kept.turned(indexes, 0.0), fresh.turned(indexes, 0.0), rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize("enhancement", ["none", "mutual"])
def test_a_run_matches_by_turned_grids(folder: Path, tmp_path: Path, enhancement: str) -> None:
    settings = {
        **kept_views_settings(folder),
        "output": tmp_path / "a.run",
        "matching.features": "grid",
        "matching.headings": 4,
        "dmnil": enhancement == "mutual",
        "pseudo_labels.enhancement": enhancement,
    }
    rows = history_of(train_tiny(settings))[1:]
    assert all(row["tile_pairs"] > 0 for row in rows)
    assert ("satellite_clusters" in rows[-1]) == (enhancement == "mutual")


@pytest.mark.parametrize(
    ("matching", "message"),
    [({"features": "gap"}, "choose head or grid"), ({"headings": 0}, "must be 1 or more")],
)
def test_no_other_matching_is_known(folder: Path, matching: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_with(folder, **matching)


def test_views_are_matched_only_when_something_asks(folder: Path) -> None:
    settings = kept_views_settings(folder)
    assert config_of(settings).matches_views(0)
    later = config_of({**settings, "places.cross_view_start": 2})
    assert [later.matches_views(epoch) for epoch in range(3)] == [False, False, True]
    paper = {**settings, "dmnil": True, "places.cross_view_weight": 0.0}
    assert not config_of(paper).matches_views(2)
    mutual = config_of({**paper, "pseudo_labels.enhancement": "mutual"})
    assert [mutual.matches_views(epoch) for epoch in (1, 2)] == [False, True]


def test_the_loop_matches_by_what_the_settings_say(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    real = matched_tiles

    def watched(features: MatchingFeatures, *others: Any) -> Any:
        seen.append(tuple(features.satellite.shape))
        return real(features, *others)

    monkeypatch.setattr(loop, "matched_tiles", watched)
    settings = {**kept_views_settings(folder), "output": tmp_path / "a.run"}
    train_tiny({**settings, "matching.headings": 3}, epochs=1)
    assert seen == [(8, 3, TINY_CONVNEXT.channels)]


def test_views_matched_as_rectified_count_for_the_raw_images_they_show() -> None:
    places = torch.eye(5)
    shown = np.array([3, -1, 0])
    features = MatchingFeatures(places, places[[4, 1, 2]], shown)
    assert matched_tiles(features, 6, 1, 1).tiles[:, 0].tolist() == [2, -1, -1, 4, -1, -1]
    drone_labels = np.array([7, 0, 0, 8, 0, 0])
    within = EpochLabels(np.arange(5), drone_labels, shared=False)
    several = MatchingFeatures(places, places[[4, 1, 2]].repeat_interleave(3, 0), shown.repeat(3))
    assert mutual_labels(within, several).satellite.tolist() == [-1, -1, 7, -1, 8]


def pool_of(places: list[int]) -> PreparedPool:
    names = tuple(map(str, range(len(places))))
    return PreparedPool(np.zeros((len(places), 4, 4, 3), np.uint8), names, np.array(places))


def test_true_tiles_are_all_those_of_an_images_place() -> None:
    satellite, drone = pool_of([7, 4, -1, 7, 5]), pool_of([4, 7, -1, 6, 5])
    found = true_tiles(TrainingData(satellite, drone, single_satellite_images=False))
    assert found.tiles.tolist() == [[1, -1], [0, 3], [-1, -1], [-1, -1], [4, -1]]
    assert found.matched.tolist() == [True, True, False, False, True]


def test_supervision_draws_every_drone_view_to_its_true_tile(folder: Path, tmp_path: Path) -> None:
    settings = {**kept_views_settings(folder), "output": tmp_path / "a.run", "epochs": 2}
    rows = history_of(train_tiny(settings, supervised=True))
    assert [row["tile_pairs"] for row in rows[1:]] == [32, 32]
    assert [row["matched_share"] for row in rows[1:]] == [1.0, 1.0]
    assert "drone_clusters" not in rows[1]
    assert rows[-1]["cross_view_tiles"] > 0.0
