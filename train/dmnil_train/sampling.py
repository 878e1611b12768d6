"""Which images make up each step: a few clusters, a few images of each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import TrainingError


def identity_batches(
    labels: npt.NDArray[np.int64],
    iterations: int,
    generator: np.random.Generator,
    clusters_per_batch: int = 16,
    instances: int = 4,
) -> npt.NDArray[np.int64]:
    """Indexes of every step of an epoch, (iterations, clusters_per_batch * instances).

    A batch holds distinct clusters, each one's images side by side. Clusters take turns: none
    comes a second time before all have come once, and so on. Images of a cluster are distinct
    where it has enough; where it has fewer, all come and some repeat.

    Args:
        labels: (N,) cluster of each image, -1 none: such an image never comes.

    Raises:
        TrainingError: If there are fewer clusters than a batch takes.
    """
    members = np.flatnonzero(labels >= 0)
    members = members[np.argsort(labels[members], kind="stable")]
    _, starts, sizes = np.unique(labels[members], return_index=True, return_counts=True)
    if len(starts) < clusters_per_batch:
        raise TrainingError(
            f"{len(starts)} clusters of {len(labels)} images, but a batch takes "
            f"{clusters_per_batch}: take fewer clusters a batch, or raise the clustering's eps"
        )
    turns = _cluster_turns(len(starts), iterations, clusters_per_batch, generator)
    picks = _distinct_picks(sizes[turns], instances, generator)
    chosen: npt.NDArray[np.int64] = members[starts[turns, None] + picks]
    return chosen.reshape(iterations, clusters_per_batch * instances)


def _cluster_turns(
    clusters: int, iterations: int, per_batch: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """A cluster for each of iterations x per_batch turns: shuffled rounds over all clusters.

    A round that ends inside a batch leaves the rest of that batch to the next round, whose head
    must then not repeat the batch's clusters.
    """
    needed = iterations * per_batch
    rounds: list[npt.NDArray[np.int64]] = []
    drawn, begun = 0, np.empty(0, dtype=np.int64)
    while drawn < needed:
        turn = generator.permutation(clusters)
        if len(begun):
            repeats = np.isin(turn, begun)
            head = turn[~repeats][: per_batch - len(begun)]
            rest = turn[~np.isin(turn, head)]
            turn = np.concatenate([head, rest])
        rounds.append(turn)
        drawn += clusters
        left = drawn % per_batch
        begun = turn[clusters - left :]
    return np.concatenate([*rounds, np.empty(0, dtype=np.int64)])[:needed]


def _distinct_picks(
    sizes: npt.NDArray[np.int64], count: int, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """For each of V clusters, `count` distinct members in random order, (V, count).

    Floyd's sampling, all clusters at once: step k draws from the first size - count + k + 1
    members, and takes the last of these where the drawn one is already taken. A cluster of fewer
    members gives all of them, in random order, and begins again.
    """
    picks = np.empty((len(sizes), count), dtype=np.int64)
    for step in range(count):
        last = np.maximum(sizes - count + step, 0)
        drawn = generator.integers(0, last + 1)
        taken = (picks[:, :step] == drawn[:, None]).any(axis=1)
        picks[:, step] = np.where(taken, last, drawn)
    picks = generator.permuted(picks, axis=1)

    small = np.flatnonzero(sizes < count)
    keys = generator.random((len(small), count))
    keys[np.arange(count) >= sizes[small, None]] = np.inf
    shuffled = np.argsort(keys, axis=1)
    again = np.arange(count) % sizes[small, None]
    picks[small] = np.take_along_axis(shuffled, again, axis=1)
    return picks
