"""Recall, average precision and SDM of a ranking by cosine similarity.

Among gallery images of equal similarity (to 1e-6) the worse one ranks first, so that a collapsed
encoder, which gives every image one descriptor, scores nothing and the order of files decides
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmnil_train.evaluation.similarity import SIMILARITY_STEPS, Features, cosines, unit_length

SDM_SCALE_PER_DEG = 5e3
"""DenseUAV's s: a result 2e-4 degrees away, 22 m to the north, is worth 1/e."""
_BLOCK_PAIRS = 1 << 22
_PAYLOAD_BITS = 32
_PAYLOAD_MASK = (1 << _PAYLOAD_BITS) - 1


@dataclass(frozen=True)
class RetrievalScores:
    """Shares of queries in 0-1, over all queries.

    Args:
        recall_at_1: Queries whose first result is relevant.
        recall_at_5: Queries with a relevant result among the first five; fewer where the gallery
            is smaller.
        recall_at_10: The same among the first ten.
        recall_at_1_percent: The same down to rank index round(0.01 G), G counting junk too.
        average_precision: Mean over queries; area under precision and recall by trapezoids.
        queries: How many queries there were.
        queries_without_match: Queries with nothing relevant in the gallery; each counts as missed.
        gallery: Gallery images that were ranked, junk left out.
    """

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float
    recall_at_1_percent: float
    average_precision: float
    queries: int
    queries_without_match: int
    gallery: int


def retrieval_metrics(
    query_features: Features,
    query_labels: npt.NDArray[np.int64],
    gallery_features: Features,
    gallery_labels: npt.NDArray[np.int64],
) -> RetrievalScores:
    """Scores where equal labels are relevant, as the University-1652 evaluation computes them.

    Args:
        query_features: (Q, D) of any length; compared by cosine. (Q, V, D) for V views of each
            image, the most similar counts.
        query_labels: (Q,) place of each query.
        gallery_features: (G, D), or (G, V, D).
        gallery_labels: (G,) place of each gallery image; -1 is junk, left out of the ranking.
    Raises:
        ValueError: If shapes disagree, a pool is empty or a feature is not finite.
    """
    if len(query_labels) != len(query_features) or len(gallery_labels) != len(gallery_features):
        raise ValueError(
            f"{len(query_labels)} and {len(gallery_labels)} labels for "
            f"{len(query_features)} and {len(gallery_features)} features"
        )

    def relevance(block: slice) -> npt.NDArray[np.bool_]:
        return np.equal(query_labels[block, None], gallery_labels[ranked])

    ranked = np.flatnonzero(gallery_labels != -1)
    hits = _Hits(len(gallery_features), len(ranked))
    for block, similarities in _similarities(query_features, gallery_features[ranked]):
        hits.add(similarities, relevance(block))
    return hits.scores()


def retrieval_metrics_by_relevance(
    query_features: Features, gallery_features: Features, relevant: npt.NDArray[np.bool_]
) -> RetrievalScores:
    """The same scores where a matrix says what is relevant, with no junk.

    Args:
        relevant: (Q, G) boolean.
    Raises:
        ValueError: If shapes disagree, a pool is empty or a feature is not finite.
    """
    if relevant.shape != (len(query_features), len(gallery_features)):
        raise ValueError(
            f"a relevance matrix of {relevant.shape} for {len(query_features)} queries and "
            f"{len(gallery_features)} gallery images"
        )
    hits = _Hits(len(gallery_features), len(gallery_features))
    for block, similarities in _similarities(query_features, gallery_features):
        hits.add(similarities, relevant[block])
    return hits.scores()


def sdm_at_k(
    query_features: Features,
    query_positions_deg: npt.NDArray[np.float64],
    gallery_features: Features,
    gallery_positions_deg: npt.NDArray[np.float64],
    ks: Sequence[int] = (1, 3, 5),
    scale_per_deg: float = SDM_SCALE_PER_DEG,
) -> dict[int, float]:
    """Spatial distance metric of DenseUAV: how near the first K results lie, nearest rank first.

    SDM@K = sum_i (K - i + 1) exp(-s d_i) / sum_i (K - i + 1), i = 1..K, d_i the Euclidean distance
    in degrees; a longitude counts as much as a latitude, as there. Mean over queries, in 0-1. A
    gallery smaller than K is taken whole.

    Args:
        query_positions_deg: (Q, 2) longitude and latitude.
        gallery_positions_deg: (G, 2) longitude and latitude.
    Raises:
        ValueError: If shapes disagree, a pool is empty or a feature is not finite.
    """
    for features, positions in (
        (query_features, query_positions_deg),
        (gallery_features, gallery_positions_deg),
    ):
        if positions.shape != (len(features), 2):
            raise ValueError(f"positions of {positions.shape} for {len(features)} features")
    deepest = min(max(ks), len(gallery_features))
    totals = dict.fromkeys(ks, 0.0)
    for block, similarities in _similarities(query_features, gallery_features):
        offsets = query_positions_deg[block, None] - gallery_positions_deg
        distances_deg = np.linalg.norm(offsets, axis=2).astype(np.float32)
        # The bits of a positive float rise with it.
        order = _payload_by_rank(similarities, distances_deg.view(np.int32))
        ranked_deg = np.ascontiguousarray(order[:, :deepest]).view(np.float32)
        worth = np.exp(-scale_per_deg * ranked_deg.astype(np.float64))
        for k in ks:
            depth = min(k, deepest)
            weights = np.arange(depth, 0, -1) / (depth * (depth + 1) / 2)
            totals[k] += float((worth[:, :depth] @ weights).sum())
    return {k: total / len(query_features) for k, total in totals.items()}


class _Hits:
    """Sums over queries that scores are made of, filled block by block."""

    def __init__(self, gallery_with_junk: int, gallery: int) -> None:
        # The rank index counts junk, though junk is not ranked: so does the reference.
        self._depths = np.array([1, 5, 10, round(gallery_with_junk * 0.01) + 1])
        self._found = np.zeros(4)
        self._precision = 0.0
        self._queries = 0
        self._matched = 0
        self._gallery = gallery

    def add(self, similarities: npt.NDArray[np.float32], relevant: npt.NDArray[np.bool_]) -> None:
        """Rank a block of queries, both (B, G)."""
        irrelevant_by_rank = _payload_by_rank(similarities, (~relevant).astype(np.int32))
        query, rank = np.nonzero(irrelevant_by_rank == 0)
        _, first, hits_of_query = np.unique(query, return_index=True, return_counts=True)
        self._found += (rank[first, None] < self._depths).sum(axis=0)
        nth_hit = np.arange(len(query)) - np.repeat(first, hits_of_query)
        precision = (nth_hit + 1) / (rank + 1)
        before = np.where(rank == 0, 1.0, nth_hit / np.maximum(rank, 1))
        shares = np.repeat(1.0 / hits_of_query, hits_of_query)
        self._precision += float(((before + precision) / 2 * shares).sum())
        self._queries += len(similarities)
        self._matched += len(first)

    def scores(self) -> RetrievalScores:
        """Means over all queries; one that nothing matches counts as missed, as the reference."""
        recalls = [float(found) / self._queries for found in self._found]
        return RetrievalScores(
            recalls[0],
            recalls[1],
            recalls[2],
            recalls[3],
            average_precision=self._precision / self._queries,
            queries=self._queries,
            queries_without_match=self._queries - self._matched,
            gallery=self._gallery,
        )


def _similarities(
    queries: Features, gallery: Features
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """Cosine similarities (B, G) of a block of queries at a time, of bounded size."""
    if not len(queries) or not len(gallery):
        raise ValueError(f"{len(queries)} queries and {len(gallery)} gallery images to rank")
    if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
        raise ValueError("a feature is not finite")
    queries, gallery = unit_length(queries), unit_length(gallery)
    views = max(queries[:1].size, gallery[:1].size) // queries.shape[-1]
    rows = max(1, _BLOCK_PAIRS // (len(gallery) * views))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        yield block, cosines(queries[block], gallery)


def _payload_by_rank(
    similarities: npt.NDArray[np.float32], payload: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Payloads (B, G), at least 0, in falling order of similarity, the larger first where equal.

    One integer sort of both together is several times faster than an argsort, and settles ties.
    """
    steps = np.rint(similarities * SIMILARITY_STEPS).astype(np.int64)
    keys = (steps << _PAYLOAD_BITS) | payload
    keys.sort(axis=1)
    return np.asarray(keys[:, ::-1] & _PAYLOAD_MASK, np.int32)
