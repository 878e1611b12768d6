"""The k-reciprocal Jaccard graph of a pool of images, without any N x N matrix."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack
from torch import Tensor

from dmnil_train.encoder.heads import unit_length
from dmnil_train.pseudo_labels.neighbours import nearest_neighbours
from edge_runtime.contract.errors import TrainingError

# How many products a block of rows may ask for, and pairs of rows of weights compared at once:
# some 100 MB each.
PRODUCTS_A_BLOCK = 8_000_000
PAIRS_AT_ONCE = 65_536
# Pairs of features multiplied at once: few, so that they stay in the processor's cache.
COSINES_AT_ONCE = 512
# Float32 sums of weights differ by about this with the order of their terms.
ROUNDING = 1e-5


def jaccard_graph(features: Tensor, k1: int, k2: int, minimum_similarity: float = 0.0) -> csr_array:
    """k-reciprocal Jaccard similarity of every pair that shares a neighbour (Zhong et al. 2017).

    An image's row of weights spreads over its expanded reciprocal neighbours; m is the sum of the
    element-wise minima of two such rows, their similarity m / (2 - m). Distance is 1 - similarity.

    Args:
        features: (N, D), of any length; their cosine counts.
        k1: Neighbours among which reciprocity is asked for, at most N.
        k2: Neighbours over which rows of weights are averaged, at most k1.
        minimum_similarity: Pairs known to lie below it are left out, which saves time and memory.
    Returns:
        (N, N) symmetric float32 similarities in 0-1 with a diagonal of 1; an absent entry is 0,
        or below the minimum.
    Raises:
        TrainingError: If k1 or k2 is out of range, or features are not finite.
    """
    if not 1 <= k2 <= k1 <= len(features):
        raise TrainingError(
            f"k1 = {k1}, k2 = {k2} on {len(features)} images: choose 1 <= k2 <= k1 <= images"
        )
    features = unit_length(features.detach().float())
    neighbours = nearest_neighbours(features, k1)[1].cpu().numpy()
    weights = _expanded_weights(features.cpu().numpy(), neighbours)
    if k2 > 1:
        weights = csr_array(_pattern(neighbours[:, :k2]) @ weights)
        weights.data /= k2
        weights.sort_indices()
    return _shared_weight_graph(weights, minimum_similarity)


def _pattern(neighbours: npt.NDArray[np.int64]) -> csr_array:
    """Ones (N, N) where a row's image has a column's among its neighbours (N, k)."""
    count, k = neighbours.shape
    starts = np.arange(0, count * k + 1, k, dtype=np.int32)
    ones = np.ones(count * k, np.float32)
    columns = neighbours.astype(np.int32).ravel()
    pattern = csr_array((ones, columns, starts), shape=(count, count))
    pattern.sort_indices()
    return pattern


def _reciprocal(neighbours: npt.NDArray[np.int64]) -> csr_array:
    """Ones (N, N) where two images have each other among their neighbours (N, k)."""
    pattern = _pattern(neighbours)
    return csr_array(pattern.multiply(pattern.T.tocsr()))


def _expanded_weights(
    features: npt.NDArray[np.float32], neighbours: npt.NDArray[np.int64]
) -> csr_array:
    """Softmax weights (N, N) of each image over its expanded reciprocal neighbours."""
    wide = _reciprocal(neighbours)
    # The reference counts the image itself apart here, among round(k1 / 2) others.
    narrow = _reciprocal(neighbours[:, : round(neighbours.shape[1] / 2) + 1])
    narrow_sizes = np.diff(narrow.indptr)
    narrow_turned = narrow.T.tocsr()

    blocks = []
    for rows in _row_blocks(wide, narrow_turned):
        own = wide[rows]
        overlaps = csr_array((own @ narrow_turned).multiply(own))
        joining = 3 * overlaps.data > 2 * narrow_sizes[overlaps.indices]
        overlaps.data = joining.astype(np.float32)
        overlaps.eliminate_zeros()
        expanded = csr_array(own + overlaps @ narrow)
        expanded.sort_indices()
        blocks.append(expanded)
    weights = csr_array(vstack(blocks, format="csr"))

    row_of = np.repeat(np.arange(weights.shape[0], dtype=np.int32), np.diff(weights.indptr))
    for start in range(0, len(row_of), COSINES_AT_ONCE):
        part = slice(start, start + COSINES_AT_ONCE)
        ours, theirs = features[row_of[part]], features[weights.indices[part]]
        weights.data[part] = np.exp(2.0 * np.einsum("nd,nd->n", ours, theirs) - 2.0)
    # No row is empty: an image is its own reciprocal neighbour.
    weights.data /= np.add.reduceat(weights.data, weights.indptr[:-1])[row_of]
    return weights


def _shared_weight_graph(weights: csr_array, minimum_similarity: float) -> csr_array:
    """Similarities m / (2 - m) of all pairs of rows of weights, from `minimum_similarity` up."""
    count = weights.shape[0]
    least_shared = 2.0 * minimum_similarity / (1.0 + minimum_similarity) - ROUNDING
    support = weights.copy()
    support.data = np.ones_like(support.data)
    support_turned = support.T.tocsr()

    # Each pair once, and half of each image with itself: the graph is this plus its mirror image.
    itself = np.arange(count, dtype=np.int32)
    pairs = [(itself, itself)]
    similarities = [np.full(count, 0.5, np.float32)]
    for rows in _row_blocks(weights, support_turned):
        # What lies of the first image's weight on the second's neighbours is no less than m:
        # a cheap product tells which pairs are worth comparing.
        bound = weights[rows] @ support_turned
        first = np.repeat(np.arange(rows.start, rows.stop, dtype=np.int32), np.diff(bound.indptr))
        worth = (bound.indices > first) & (bound.data >= least_shared)
        first, second = first[worth], bound.indices[worth]
        for start in range(0, len(first), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            shared = weights[first[part]].minimum(weights[second[part]]).sum(axis=1)
            close = shared >= least_shared
            pairs.append((first[part][close], second[part][close]))
            similarities.append(np.minimum(shared[close] / (2.0 - shared[close]), 1.0))
    first = np.concatenate([pair[0] for pair in pairs])
    second = np.concatenate([pair[1] for pair in pairs])
    once = csr_array((np.concatenate(similarities), (first, second)), shape=(count, count))
    graph = csr_array(once + once.T.tocsr())
    graph.sort_indices()
    return graph


def _row_blocks(left: csr_array, right: csr_array) -> Iterator[slice]:
    """Runs of rows of `left` whose product with `right` stays within `PRODUCTS_A_BLOCK`."""
    costs = np.concatenate(([0], np.cumsum(np.diff(right.indptr)[left.indices], dtype=np.int64)))
    ends = costs[left.indptr]
    start = 0
    while start < left.shape[0]:
        stop = int(np.searchsorted(ends, ends[start] + PRODUCTS_A_BLOCK, side="right")) - 1
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop
