from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.pseudo_labels import (
    enhanced_satellite_labels,
    mutual_matches,
    mutual_neighbours,
)
from edge_runtime.contract.errors import TrainingError

GOLDEN = Path(__file__).parents[1] / "golden" / "cross_view_labels.npz"


def unit_features(count: int, seed: int, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, size, generator=generator), dim=1)


def two_views(
    places: int, drones_each: int, lonely_tiles: int, view_gap: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
    """Tiles, drone images of the first `places` tiles, and the place of each drone image."""
    tiles = unit_features(places + lonely_tiles, seed)
    place = torch.arange(places).repeat_interleave(drones_each)
    drones = tiles[place] + 0.4 * unit_features(len(place), seed + 1)
    gap = view_gap * unit_features(1, seed + 2)
    return tiles + gap, drones - gap, place.numpy()


def winners(choices: Iterable[int], ballots: Counter[int]) -> set[int]:
    """Those of the choices that got the most ballots."""
    counts = {label: ballots[label] for label in choices}
    return {label for label, count in counts.items() if count == max(counts.values())}


def enhanced_without_noise(tiles: Tensor, drones: Tensor, labels: npt.NDArray[np.int64]) -> object:
    noise = torch.zeros_like(tiles), torch.zeros_like(drones)
    return enhanced_satellite_labels(tiles, drones, labels, *noise, smoothing_neighbours=1).tolist()


def test_labels_are_those_of_the_reference_but_for_ties() -> None:
    golden = np.load(GOLDEN)
    tensors = {name: torch.from_numpy(golden[name]) for name in golden if golden[name].ndim == 2}
    found = enhanced_satellite_labels(
        tensors["sat_features"],
        tensors["drone_features"],
        golden["drone_labels"],
        tensors["sat_noise"],
        tensors["drone_noise"],
        float(golden["noise_scale"]),
    )
    # The definition once more, image by image, with every label that a tie could have left.
    satellite, drone = golden["sat_features"], golden["drone_features"]
    noisy_satellite = satellite + golden["noise_scale"] * golden["sat_noise"]
    noisy_drone = drone + golden["noise_scale"] * golden["drone_noise"]
    labels = golden["drone_labels"].tolist()
    options = []
    for clean, noisy in zip(satellite @ drone.T, noisy_satellite @ noisy_drone.T, strict=True):
        ballots = Counter(labels[j] for j in np.argsort(-noisy)[:10])
        options.append(winners((labels[j] for j in np.argsort(-clean)[:10]), ballots))
    likeness = satellite @ satellite.T + noisy_satellite @ noisy_satellite.T
    undecided = 0
    for image, expected in enumerate(golden["sat_labels"].tolist()):
        possible = set()
        for choice in product(*(options[j] for j in np.argsort(-likeness[image])[:5])):
            possible |= winners(choice, Counter(choice))
        assert expected in possible
        assert found[image] in possible
        undecided += len(possible) > 1
    assert undecided < 12


def test_a_tile_takes_the_cluster_of_the_drone_images_of_its_place() -> None:
    tiles, drones, place = two_views(places=20, drones_each=10, lonely_tiles=0)
    assert enhanced_without_noise(tiles, drones, place) == list(range(20))


def test_outliers_are_a_label_of_their_own() -> None:
    tiles, drones, place = two_views(places=5, drones_each=10, lonely_tiles=0)
    labels = np.where(place == 3, -1, place)
    assert enhanced_without_noise(tiles, drones, labels) == [0, 1, 2, -1, 4]


def test_smoothing_outvotes_a_tile_that_stands_alone_among_its_like() -> None:
    # Five tiles all but alike; drone images of label 0 lie at four of them, of label 1 at one.
    tiles = unit_features(1, seed=0) + 0.3 * unit_features(5, seed=1)
    drones = tiles.repeat_interleave(3, dim=0)
    labels = np.array([0, 0, 0, 0, 1]).repeat(3)
    noise = torch.zeros_like(tiles), torch.zeros_like(drones)
    alone = enhanced_satellite_labels(
        tiles, drones, labels, *noise, candidates=3, smoothing_neighbours=1
    )
    smoothed = enhanced_satellite_labels(tiles, drones, labels, *noise, candidates=3)
    assert alone.tolist() == [0, 0, 0, 0, 1]
    assert smoothed.tolist() == [0, 0, 0, 0, 0]


def test_the_noisy_search_decides_among_the_clean_candidates() -> None:
    # The clean search sees labels 0, 0, 1; the noise carries both images of 0 away.
    tiles = torch.tensor([[1.0, 0.0, 0.0]])
    angles = torch.tensor([0.1, 0.2, 0.3, 1.2, 1.3])
    drones = torch.stack((angles.cos(), angles.sin(), torch.zeros(5)), dim=1)
    labels = np.array([0, 0, 1, 1, 1])
    noise = torch.zeros(5, 3)
    assert enhanced_satellite_labels(
        tiles, drones, labels, torch.zeros(1, 3), noise, candidates=3
    ).tolist() == [0]
    noise[:2, 0] = -2.0
    assert enhanced_satellite_labels(
        tiles, drones, labels, torch.zeros(1, 3), noise, noise_scale=1.0, candidates=3
    ).tolist() == [1]


def test_the_order_of_drone_images_does_not_matter() -> None:
    tiles, drones, place = two_views(places=12, drones_each=4, lonely_tiles=3)
    generator = torch.Generator().manual_seed(3)
    tile_noise = torch.randn(tiles.shape, generator=generator)
    noise = torch.randn(drones.shape, generator=generator)
    order = torch.randperm(len(drones), generator=generator)
    one = enhanced_satellite_labels(tiles, drones, place, tile_noise, noise)
    other = enhanced_satellite_labels(
        tiles, drones[order], place[order.numpy()], tile_noise, noise[order]
    )
    np.testing.assert_array_equal(one, other)


def test_labels_of_another_pool_are_refused() -> None:
    tiles, drones, place = two_views(places=3, drones_each=4, lonely_tiles=0)
    with pytest.raises(TrainingError, match="11 drone labels for 12 drone features"):
        enhanced_satellite_labels(tiles, drones, place[1:], tiles, drones)
    with pytest.raises(TrainingError, match="11 drone labels for 12 drone features"):
        mutual_matches(tiles, drones, place[1:])


@pytest.mark.parametrize(("k_query", "k_gallery"), [(1, 1), (3, 2), (2, 50), (40, 40)])
def test_mutual_neighbours_are_those_that_choose_each_other(k_query: int, k_gallery: int) -> None:
    queries, gallery = unit_features(35, seed=1), unit_features(28, seed=2)
    pairs = mutual_neighbours(queries, gallery, k_query, k_gallery)
    one = functional.normalize(queries - queries.mean(dim=0), dim=1).numpy()
    other = functional.normalize(gallery - gallery.mean(dim=0), dim=1).numpy()
    by_query = np.argsort(-(one @ other.T), axis=1)[:, :k_query]
    by_gallery = np.argsort(-(other @ one.T), axis=1)[:, :k_gallery]
    expected = [(q, int(g)) for q in range(35) for g in by_query[q] if q in by_gallery[g]]
    assert [tuple(pair) for pair in pairs.tolist()] == expected
    assert pairs.dtype == np.int64


def test_a_gap_between_the_views_does_not_hide_mutual_neighbours() -> None:
    tiles, drones, _ = two_views(places=40, drones_each=1, lonely_tiles=0, view_gap=3.0)
    pairs = mutual_neighbours(drones, tiles, 1, 1)
    assert pairs.tolist() == [[place, place] for place in range(40)]


def test_mutual_neighbours_need_both_views() -> None:
    with pytest.raises(TrainingError, match="0 queries and 5 gallery images"):
        mutual_neighbours(torch.empty(0, 8), unit_features(5, seed=0, size=8), 1, 1)


def test_only_tiles_that_drones_saw_take_a_label_where_most_were_never_seen() -> None:
    tiles, drones, place = two_views(places=15, drones_each=8, lonely_tiles=150)
    labels = mutual_matches(tiles, drones, place)
    assert labels.tolist() == [*range(15), *[-1] * 150]
    # The closed-set rule labels every tile, most of them wrongly.
    everywhere = enhanced_without_noise(tiles, drones, place)
    assert -1 not in np.array(everywhere)[15:]


def test_drone_images_of_several_clusters_do_not_label_a_tile() -> None:
    tiles, drones, place = two_views(places=4, drones_each=8, lonely_tiles=10)
    split = np.where(place == 2, 100 + np.arange(len(place)) % 2, place)
    assert mutual_matches(tiles, drones, split).tolist() == [0, 1, -1, 3, *[-1] * 10]


def test_outliers_vote_against_every_cluster_and_never_win() -> None:
    tiles, drones, place = two_views(places=3, drones_each=8, lonely_tiles=10)
    labels = place.copy()
    labels[8:12] = -1  # half of the second place
    labels[16:] = -1  # all of the third
    assert mutual_matches(tiles, drones, labels).tolist() == [0, -1, -1, *[-1] * 10]
    few = mutual_matches(tiles, drones, np.where(np.arange(24) == 8, -1, place))
    assert few[:3].tolist() == [0, 1, 2]


def test_too_few_votes_do_not_label_a_tile() -> None:
    tiles, drones, place = two_views(places=6, drones_each=2, lonely_tiles=10)
    assert (mutual_matches(tiles, drones, place, min_votes=3) == -1).all()
    assert mutual_matches(tiles, drones, place, min_votes=2)[:6].tolist() == list(range(6))


@pytest.mark.parametrize(("min_votes", "min_share"), [(0, 0.6), (3, 0.5), (3, 1.1)])
def test_a_vote_that_decides_nothing_is_refused(min_votes: int, min_share: float) -> None:
    tiles, drones, place = two_views(places=2, drones_each=4, lonely_tiles=0)
    with pytest.raises(TrainingError, match="choose 1 or more votes"):
        mutual_matches(tiles, drones, place, min_votes=min_votes, min_share=min_share)


def test_of_several_views_of_a_tile_the_most_similar_counts() -> None:
    tiles, drones, _ = two_views(places=12, drones_each=1, lonely_tiles=0)
    other_views = unit_features(24, seed=5, size=tiles.shape[1]).view(12, 2, -1)
    turned = torch.cat((other_views, tiles[:, None]), dim=1)
    for which in range(3):
        rolled = turned.roll(which, dims=1)
        assert mutual_neighbours(drones, rolled, 1, 1).tolist() == [[p, p] for p in range(12)]
    places = torch.arange(12).repeat_interleave(4).numpy()
    several = drones.repeat_interleave(4, dim=0)
    assert mutual_matches(turned, several, places).tolist() == list(range(12))
