from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmnil_train.sampling import identity_batches
from edge_runtime.contract.errors import TrainingError

CASES = {
    "sizes": st.lists(st.integers(1, 9), min_size=5, max_size=30),
    "outliers": st.integers(0, 10),
    "iterations": st.integers(0, 40),
    "seed": st.integers(0, 2**31),
}


def shuffled_labels(sizes: list[int], outliers: int, seed: int) -> npt.NDArray[np.int64]:
    labels = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(outliers, -1)])
    return np.random.default_rng(seed).permutation(labels)


@settings(max_examples=60, deadline=None)
@given(**CASES)
def test_batches_hold_distinct_clusters_visited_evenly_with_distinct_images(
    sizes: list[int], outliers: int, iterations: int, seed: int
) -> None:
    labels = shuffled_labels(sizes, outliers, seed)
    batches = identity_batches(labels, iterations, np.random.default_rng(seed), 5, 3)
    assert batches.shape == (iterations, 15)
    groups = batches.reshape(iterations, 5, 3)
    clusters = labels[groups]
    assert (clusters >= 0).all()
    assert (clusters == clusters[:, :, :1]).all()
    visits = np.zeros(len(sizes), dtype=int)
    for batch, of_batch in zip(groups, clusters[:, :, 0], strict=True):
        assert len(set(of_batch)) == 5
        visits[of_batch] += 1
        for images, cluster in zip(batch, of_batch, strict=True):
            assert len(set(images)) == min(3, sizes[cluster])
    assert visits.max() - visits.min() <= 1


def test_the_same_seed_gives_the_same_batches() -> None:
    labels = np.arange(200) % 20
    first, again, other = (
        identity_batches(labels, 10, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_labels_may_leave_gaps() -> None:
    labels = np.array([7, 7, 3, 3, 900, -1])
    batches = identity_batches(labels, 4, np.random.default_rng(0), 3, 2)
    assert set(batches.ravel()) == {0, 1, 2, 3, 4}


def test_every_image_of_a_cluster_comes_equally_often() -> None:
    batches = identity_batches(np.zeros(6, dtype=np.int64), 6000, np.random.default_rng(0), 1, 4)
    shares = np.bincount(batches.ravel(), minlength=6) / 6000
    np.testing.assert_allclose(shares, 4 / 6, atol=0.03)
    first = np.bincount(batches[:, 0], minlength=6) / 6000
    np.testing.assert_allclose(first, 1 / 6, atol=0.03)


def test_too_few_clusters_are_an_error_that_says_what_to_change() -> None:
    with pytest.raises(TrainingError, match="3 clusters of 4 images, but a batch takes 16"):
        identity_batches(np.array([0, 1, 2, -1]), 1, np.random.default_rng(0))
