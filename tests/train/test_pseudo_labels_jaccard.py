from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.pseudo_labels import jaccard
from dmnil_train.pseudo_labels.jaccard import jaccard_graph
from edge_runtime.contract.errors import TrainingError

GOLDEN = Path(__file__).parents[1] / "golden" / "jaccard_dbscan.npz"


def clustered_features(count: int, places: int, seed: int, spread: float = 0.15) -> Tensor:
    """Places with `count / places` images each on average, and one image in five of nowhere."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((places, 32))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    features = centres[generator.integers(0, places, count)]
    features += spread * generator.standard_normal((count, 32))
    nowhere = generator.random(count) < 0.2
    features[nowhere] = generator.standard_normal((int(nowhere.sum()), 32))
    return functional.normalize(torch.from_numpy(features).float(), dim=1)


def dense_jaccard_distance(features: Tensor, k1: int, k2: int) -> npt.NDArray[np.float64]:
    """The definition, with sets and loops."""
    cosines = features.double().numpy() @ features.double().numpy().T
    count = len(cosines)
    ranking = np.argsort(-cosines, axis=1)

    def reciprocal(image: int, k: int) -> set[int]:
        return {int(j) for j in ranking[image, :k] if image in ranking[j, :k]}

    weights = np.zeros((count, count))
    for image in range(count):
        close = reciprocal(image, k1)
        expanded = set(close)
        for candidate in close:
            # One more than half of k1, as in the golden numbers; never more than were fetched.
            others = reciprocal(candidate, min(round(k1 / 2) + 1, k1))
            if len(others & close) > 2 / 3 * len(others):
                expanded |= others
        members = sorted(expanded)
        exponentials = np.exp(-(2 - 2 * cosines[image, members]))
        weights[image, members] = exponentials / exponentials.sum()
    weights = np.stack([weights[ranking[image, :k2]].mean(axis=0) for image in range(count)])
    shared = np.stack([np.minimum(weights, row).sum(axis=1) for row in weights])
    return 1 - shared / (2 - shared)


@pytest.mark.parametrize("pool", ["a", "b", "c"])
def test_distances_are_those_of_the_reference(pool: str) -> None:
    golden = np.load(GOLDEN)
    k1, k2 = int(golden[f"{pool}_k1"]), int(golden[f"{pool}_k2"])
    graph = jaccard_graph(torch.from_numpy(golden[f"{pool}_features"]), k1, k2)
    np.testing.assert_allclose(1 - graph.toarray(), golden[f"{pool}_jaccard"], atol=2e-6)


@pytest.mark.parametrize(
    ("count", "places", "k1", "k2", "seed"),
    [
        (150, 8, 15, 4, 0),
        (150, 8, 17, 6, 1),
        (260, 20, 13, 1, 2),
        (220, 11, 30, 6, 3),
        (90, 3, 25, 7, 4),
        (60, 60, 5, 2, 5),
        (40, 4, 3, 3, 6),
        (40, 4, 2, 1, 7),
        (12, 2, 12, 6, 8),
        (12, 2, 1, 1, 9),
    ],
)
def test_the_sparse_graph_equals_the_dense_definition(
    count: int, places: int, k1: int, k2: int, seed: int
) -> None:
    features = clustered_features(count, places, seed)
    graph = jaccard_graph(features, k1, k2)
    dense = dense_jaccard_distance(features, k1, k2)
    np.testing.assert_allclose(1 - graph.toarray(), dense, atol=2e-6)


def test_two_pairs_of_images_share_everything_inside_and_nothing_across() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    graph = jaccard_graph(features, k1=2, k2=1)
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    np.testing.assert_allclose(graph.toarray(), expected, atol=1e-6)
    assert graph.nnz == 8


def test_three_images_in_a_row_worked_out_by_hand() -> None:
    # At 0, 40 and 100 degrees with k1 = 2, the last image looks back at one that does not look at
    # it: {0, 1}, {0, 1} and {2}. Averaging the last one's row with its neighbour's (k2 = 2)
    # gives it half of its own weight and half of the middle one's.
    angles = torch.deg2rad(torch.tensor([0.0, 40.0, 100.0]))
    features = torch.stack((angles.cos(), angles.sin()), dim=1)
    near = np.exp(2 * np.cos(np.deg2rad(40)) - 2)
    first = np.array([1, near, 0]) / (1 + near)
    middle = np.array([near, 1, 0]) / (1 + near)
    last = np.array([0.0, 0.0, 1.0])
    pair = (first + middle) / 2
    rows = np.stack((pair, pair, (last + middle) / 2))
    shared = np.minimum(rows[0], rows[2]).sum()
    graph = jaccard_graph(features, k1=2, k2=2).toarray()
    assert graph[0, 1] == pytest.approx(1.0)
    assert graph[0, 2] == graph[1, 2] == pytest.approx(shared / (2 - shared))


def test_a_minimum_leaves_out_what_lies_below_it_and_changes_nothing_else() -> None:
    features = clustered_features(300, 12, seed=3)
    whole = jaccard_graph(features, 20, 5).toarray()
    strong = jaccard_graph(features, 20, 5, minimum_similarity=0.6)
    close = whole >= 0.6
    np.testing.assert_allclose(strong.toarray()[close], whole[close], atol=1e-6)
    assert strong.toarray()[whole < 0.6 - 1e-4].max() == 0
    assert close.sum() < (whole > 0).sum() / 2


def test_the_graph_is_symmetric_with_a_diagonal_of_one() -> None:
    graph = jaccard_graph(clustered_features(120, 6, seed=4), 15, 4)
    assert graph.has_sorted_indices
    assert (graph != graph.T).nnz == 0
    np.testing.assert_array_equal(graph.diagonal(), np.ones(120))
    assert graph.data.min() > 0
    assert graph.data.max() <= 1


def test_small_blocks_of_work_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clustered_features(150, 6, seed=5)
    whole = jaccard_graph(features, 15, 4).toarray()
    monkeypatch.setattr(jaccard, "PRODUCTS_A_BLOCK", 1000)
    monkeypatch.setattr(jaccard, "PAIRS_AT_ONCE", 64)
    np.testing.assert_allclose(jaccard_graph(features, 15, 4).toarray(), whole, atol=1e-6)


def test_a_row_too_costly_for_a_block_still_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features = clustered_features(50, 2, seed=6)
    whole = jaccard_graph(features, 15, 4).toarray()
    monkeypatch.setattr(jaccard, "PRODUCTS_A_BLOCK", 1)
    np.testing.assert_allclose(jaccard_graph(features, 15, 4).toarray(), whole, atol=1e-6)


def test_lengths_of_features_do_not_matter() -> None:
    features = clustered_features(80, 4, seed=7)
    stretched = features * torch.linspace(0.1, 9.0, 80)[:, None]
    difference = jaccard_graph(features, 10, 3) - jaccard_graph(stretched, 10, 3)
    assert abs(difference).max() < 1e-5


@pytest.mark.parametrize(("k1", "k2"), [(5, 6), (31, 6), (5, 0)])
def test_settings_out_of_range_are_refused(k1: int, k2: int) -> None:
    with pytest.raises(TrainingError, match="choose 1 <= k2 <= k1 <= images"):
        jaccard_graph(clustered_features(30, 2, seed=0), k1, k2)
