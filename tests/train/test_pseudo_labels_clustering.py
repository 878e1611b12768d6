from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dmnil_train.pseudo_labels import cluster, singletons
from edge_runtime.contract.errors import TrainingError

GOLDEN = Path(__file__).parents[1] / "golden" / "jaccard_dbscan.npz"


def places_of_images(
    places: int, images_each: int, seed: int = 0, spread: float = 0.1
) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Features in runs of one place, and the place of each."""
    generator = torch.Generator().manual_seed(seed)
    centres = functional.normalize(torch.randn(places, 32, generator=generator), dim=1)
    truth = torch.arange(places).repeat_interleave(images_each)
    noise = spread * torch.randn(len(truth), 32, generator=generator)
    return functional.normalize(centres[truth] + noise, dim=1), truth.numpy()


def same_partition(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
    """Equal up to renaming, outliers aside, which must be the same."""
    pairs = {(int(a), int(b)) for a, b in zip(one, other, strict=True)}
    renamed = len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    return renamed and all((a < 0) == (b < 0) for a, b in pairs)


@pytest.mark.parametrize("eps", [0.3, 0.4, 0.6])
@pytest.mark.parametrize("pool", ["a", "b", "c"])
def test_clusters_are_those_of_the_reference(pool: str, eps: float) -> None:
    golden = np.load(GOLDEN)
    features = torch.from_numpy(golden[f"{pool}_features"])
    found = cluster(features, int(golden[f"{pool}_k1"]), int(golden[f"{pool}_k2"]), eps)
    expected = golden[f"{pool}_labels_eps{eps}"]
    assert same_partition(found.labels, expected)
    assert found.count == expected.max() + 1
    assert found.outliers == (expected < 0).sum()


def test_places_well_apart_are_found() -> None:
    features, truth = places_of_images(places=9, images_each=12)
    found = cluster(features, k1=10, k2=4)
    assert same_partition(found.labels, truth)
    assert found.count == 9
    assert found.labels.dtype == np.int64


def test_images_of_nowhere_are_outliers() -> None:
    features, truth = places_of_images(places=6, images_each=12)
    generator = torch.Generator().manual_seed(5)
    strangers = functional.normalize(torch.randn(7, 32, generator=generator), dim=1)
    # With k2 = 3 a third of a stranger's weight stays with itself: at least 0.5 from any place.
    labels = cluster(torch.cat((features, strangers)), k1=10, k2=3).labels
    assert (labels[-7:] == -1).all()
    clustered = labels[:-7] >= 0
    assert same_partition(labels[:-7][clustered], truth[clustered])
    assert clustered.mean() > 0.9


def test_a_pool_without_any_place_is_all_outliers() -> None:
    generator = torch.Generator().manual_seed(1)
    found = cluster(torch.randn(200, 64, generator=generator), k1=10, k2=4, eps=0.2)
    assert found.count == 0
    assert (found.labels == -1).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_images_does_not_matter(seed: int) -> None:
    features, _ = places_of_images(places=8, images_each=11, seed=seed, spread=0.12)
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    labels = cluster(features, k1=9, k2=3).labels
    shuffled = cluster(features[order], k1=9, k2=3).labels
    assert same_partition(shuffled, labels[order.numpy()])


def test_copies_of_an_image_share_its_cluster() -> None:
    features, truth = places_of_images(places=6, images_each=9, spread=0.05)
    found = cluster(features.repeat_interleave(2, dim=0), k1=16, k2=4)
    np.testing.assert_array_equal(found.labels[0::2], found.labels[1::2])
    clustered = found.labels >= 0
    assert same_partition(found.labels[clustered], truth.repeat(2)[clustered])
    assert clustered.mean() > 0.8


def test_a_pool_of_copies_alone_falls_into_one_cluster_an_image() -> None:
    # What the authors reach by copying every satellite file many times.
    features, _ = places_of_images(places=10, images_each=1)
    found = cluster(features.repeat_interleave(15, dim=0), k1=20, k2=6, eps=0.3)
    assert same_partition(found.labels, np.arange(10).repeat(15))


@pytest.mark.parametrize("k1", [30, 18])
def test_a_pool_no_larger_than_k1_is_clustered_and_says_so(
    k1: int, caplog: pytest.LogCaptureFixture
) -> None:
    features, truth = places_of_images(places=3, images_each=6)
    with caplog.at_level(logging.WARNING):
        found = cluster(features, k1=k1, k2=6)
    assert f"18 images are too few for k1 = {k1}: clustered with k1 = 9" in caplog.text
    assert same_partition(found.labels, truth)


def test_a_pool_that_k1_fits_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    features, _ = places_of_images(places=3, images_each=6)
    cluster(features, k1=17, k2=6)
    assert not caplog.records


def test_one_image_is_an_outlier() -> None:
    assert cluster(torch.ones(1, 4)).labels.tolist() == [-1]


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(TrainingError, match="no images to cluster"):
        cluster(torch.empty(0, 8))


@pytest.mark.parametrize(
    ("k1", "k2", "eps", "min_samples"),
    [(5, 6, 0.4, 4), (5, 0, 0.4, 4), (5, 3, 0.0, 4), (5, 3, 1.0, 4), (5, 3, 0.4, 0)],
)
def test_settings_out_of_range_are_refused(k1: int, k2: int, eps: float, min_samples: int) -> None:
    features, _ = places_of_images(places=3, images_each=6)
    with pytest.raises(TrainingError, match="choose"):
        cluster(features, k1, k2, eps, min_samples)


def test_every_satellite_image_can_be_its_own_cluster() -> None:
    labels = singletons(4)
    assert labels.labels.tolist() == [0, 1, 2, 3]
    assert (labels.count, labels.outliers) == (4, 0)
