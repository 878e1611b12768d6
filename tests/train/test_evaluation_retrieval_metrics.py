from __future__ import annotations

import math
from dataclasses import astuple
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmnil_train.evaluation import retrieval_metrics as module
from dmnil_train.evaluation.retrieval_metrics import (
    RetrievalScores,
    retrieval_metrics,
    retrieval_metrics_by_relevance,
    sdm_at_k,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "retrieval_metrics.npz"
QUERY = np.array([[1.0, 0.0]], np.float32)


def gallery_at(*similarities: float) -> npt.NDArray[np.float32]:
    """Unit vectors with these cosines to QUERY."""
    return np.array([(s, math.sqrt(1.0 - s * s)) for s in similarities], np.float32)


def places(*numbers: int) -> npt.NDArray[np.int64]:
    return np.array(numbers, np.int64)


def scores_of_one_query(similarities: list[float], relevant: list[bool]) -> RetrievalScores:
    return retrieval_metrics_by_relevance(QUERY, gallery_at(*similarities), np.array([relevant]))


def test_the_authors_scores_are_reproduced() -> None:
    golden = np.load(GOLDEN, allow_pickle=False)
    scores = retrieval_metrics(
        golden["query_features"],
        golden["query_labels"],
        golden["gallery_features"],
        golden["gallery_labels"],
    )
    assert scores.recall_at_1 == pytest.approx(float(golden["recall_at_1"]), rel=1e-6)
    assert scores.recall_at_5 == pytest.approx(float(golden["recall_at_5"]), rel=1e-6)
    assert scores.recall_at_10 == pytest.approx(float(golden["recall_at_10"]), rel=1e-6)
    assert scores.recall_at_1_percent == pytest.approx(
        float(golden["recall_at_top1percent"]), rel=1e-6
    )
    assert scores.average_precision == pytest.approx(float(golden["average_precision"]), rel=1e-6)
    assert (scores.queries, scores.gallery) == (80, 140)


def test_average_precision_is_the_mean_of_old_and_new_precision_at_every_hit() -> None:
    scores = scores_of_one_query([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    # First hit at rank 1: (1 + 1) / 2. Second at rank 3: (1/2 + 2/3) / 2. Mean of both.
    assert scores.average_precision == pytest.approx((1.0 + (1 / 2 + 2 / 3) / 2) / 2)
    late = scores_of_one_query([0.9, 0.8, 0.7, 0.6], [False, False, False, True])
    assert late.average_precision == pytest.approx((0 + 1 / 4) / 2)


@pytest.mark.parametrize(
    ("first_hit", "expected"), [(1, (1, 1, 1)), (5, (0, 1, 1)), (6, (0, 0, 1)), (11, (0, 0, 0))]
)
def test_recall_counts_a_hit_down_to_its_rank(
    first_hit: int, expected: tuple[int, int, int]
) -> None:
    similarities = [0.95 - 0.05 * rank for rank in range(12)]
    scores = scores_of_one_query(similarities, [rank + 1 == first_hit for rank in range(12)])
    assert (scores.recall_at_1, scores.recall_at_5, scores.recall_at_10) == expected


@pytest.mark.parametrize(("gallery", "deepest"), [(49, 1), (51, 2), (149, 2), (151, 3)])
def test_one_percent_reaches_one_rank_below_the_rounded_hundredth(
    gallery: int, deepest: int
) -> None:
    similarities = [float(s) for s in np.linspace(0.99, 0.0, gallery)]
    for rank, found in ((deepest, 1.0), (deepest + 1, 0.0)):
        relevant = [place == rank - 1 for place in range(gallery)]
        assert scores_of_one_query(similarities, relevant).recall_at_1_percent == found


def test_junk_takes_no_rank_but_counts_towards_one_percent() -> None:
    # 40 junk images rank first, then a wrong one, then the right one among 60 places.
    gallery = gallery_at(*np.linspace(0.99, 0.0, 100).tolist())
    labels = np.concatenate([np.full(40, -1), np.arange(60)]).astype(np.int64)
    scores = retrieval_metrics(QUERY, places(1), gallery, labels)
    assert scores.average_precision == pytest.approx((0 + 1 / 2) / 2)
    assert scores.recall_at_1_percent == 1.0  # round(1.00) = 1, as 60 alone would give too
    assert scores.gallery == 60
    third = retrieval_metrics(
        QUERY, places(2), gallery_at(*np.linspace(0.99, 0.0, 151).tolist()),
        np.concatenate([np.full(91, -1), np.arange(60)]).astype(np.int64),
    )  # fmt: skip
    assert third.recall_at_1_percent == 1.0  # round(1.51) = 2; 60 alone would give 1


def test_a_query_without_a_match_counts_as_missed() -> None:
    gallery = gallery_at(0.9, 0.5)
    scores = retrieval_metrics(np.repeat(QUERY, 2, axis=0), places(1, 7), gallery, places(1, 2))
    assert scores.recall_at_1 == 0.5
    assert scores.recall_at_10 == 0.5
    assert scores.average_precision == 0.5
    assert scores.queries_without_match == 1


def test_a_query_of_unknown_place_does_not_match_junk() -> None:
    scores = retrieval_metrics(QUERY, places(-1), gallery_at(0.9, 0.5), places(-1, 2))
    assert scores.recall_at_10 == 0.0


def test_an_encoder_that_describes_everything_alike_scores_nothing() -> None:
    alike = np.ones((30, 4), np.float32)
    scores = retrieval_metrics(alike[:5], np.arange(5), alike, np.arange(30))
    assert scores.recall_at_10 == 0.0
    assert scores.average_precision == pytest.approx(1 / 60)


def test_descriptors_of_any_length_rank_by_cosine() -> None:
    gallery = gallery_at(0.9, 0.5) * np.array([[0.01], [100.0]], np.float32)
    assert retrieval_metrics(QUERY * 7, places(1), gallery, places(1, 2)).recall_at_1 == 1.0


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    queries = random.normal(size=(23, 8)).astype(np.float32)
    gallery = random.normal(size=(40, 8)).astype(np.float32)
    labels = random.integers(0, 9, 23), random.integers(-1, 9, 40)
    relevant = random.random((23, 40)) < 0.1
    at_once = retrieval_metrics(queries, labels[0], gallery, labels[1])
    by_matrix = retrieval_metrics_by_relevance(queries, gallery, relevant)
    monkeypatch.setattr(module, "_BLOCK_PAIRS", 150)
    in_blocks = retrieval_metrics(queries, labels[0], gallery, labels[1])
    assert astuple(in_blocks) == pytest.approx(astuple(at_once))
    in_blocks = retrieval_metrics_by_relevance(queries, gallery, relevant)
    assert astuple(in_blocks) == pytest.approx(astuple(by_matrix))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 30))
def test_scores_are_those_of_ranking_one_query_after_the_other(
    seed: int, queries: int, gallery: int
) -> None:
    random = np.random.default_rng(seed)
    # Few distinct vectors, so that ties and negative cosines are common.
    query_features = random.integers(-1, 2, (queries, 3)).astype(np.float32)
    gallery_features = random.integers(-1, 2, (gallery, 3)).astype(np.float32)
    relevant = random.random((queries, gallery)) < 0.3
    scores = retrieval_metrics_by_relevance(query_features, gallery_features, relevant)
    found, precision = np.zeros(4), 0.0
    for query, is_right in zip(query_features, relevant, strict=True):
        lengths = np.linalg.norm(gallery_features, axis=1) * np.linalg.norm(query)
        cosines = (gallery_features @ query / np.where(lengths > 0, lengths, 1.0)).round(5)
        order = sorted(range(gallery), key=lambda g: (-cosines[g], is_right[g]))
        ranks = [rank for rank, g in enumerate(order) if is_right[g]]
        if not ranks:
            continue
        found += [ranks[0] < depth for depth in (1, 5, 10, round(gallery * 0.01) + 1)]
        for number, rank in enumerate(ranks):
            old = number / rank if rank else 1.0
            precision += (old + (number + 1) / (rank + 1)) / 2 / len(ranks)
    assert [
        scores.recall_at_1,
        scores.recall_at_5,
        scores.recall_at_10,
        scores.recall_at_1_percent,
    ] == pytest.approx((found / queries).tolist())
    assert scores.average_precision == pytest.approx(precision / queries)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_files_decides_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    queries = random.integers(-1, 2, (6, 2)).astype(np.float32)
    gallery = random.integers(-1, 2, (20, 2)).astype(np.float32)
    labels = random.integers(0, 4, 6), random.integers(-1, 4, 20)
    shuffled = random.permutation(20)
    if (labels[1] == -1).all():
        return
    as_found = retrieval_metrics(queries, labels[0], gallery, labels[1])
    otherwise = retrieval_metrics(queries, labels[0], gallery[shuffled], labels[1][shuffled])
    assert astuple(otherwise) == pytest.approx(astuple(as_found))


def test_wrong_shapes_and_bad_numbers_are_refused() -> None:
    gallery = gallery_at(0.9, 0.5)
    with pytest.raises(ValueError, match="1 and 3 labels for 1 and 2 features"):
        retrieval_metrics(QUERY, places(1), gallery, places(1, 2, 3))
    with pytest.raises(ValueError, match="relevance matrix"):
        retrieval_metrics_by_relevance(QUERY, gallery, np.ones((2, 2), np.bool_))
    with pytest.raises(ValueError, match="not finite"):
        retrieval_metrics(QUERY * np.float32(np.nan), places(1), gallery, places(1, 2))
    with pytest.raises(ValueError, match="0 gallery images"):
        retrieval_metrics(QUERY, places(1), gallery, places(-1, -1))


def test_sdm_weighs_nearness_by_rank() -> None:
    # Results by similarity: 2e-4 degrees east, then on the spot, then 3e-4 north by 4e-4 west.
    at = np.array([[10.0, 50.0]])
    positions = np.array([[10.0002, 50.0], [10.0, 50.0], [9.9996, 50.0003]])
    got = sdm_at_k(QUERY, at, gallery_at(0.9, 0.8, 0.7), positions, ks=(1, 2, 3))
    first, second, third = math.exp(-1.0), 1.0, math.exp(-2.5)
    assert got[1] == pytest.approx(first, rel=1e-5)
    assert got[2] == pytest.approx((2 * first + second) / 3, rel=1e-5)
    assert got[3] == pytest.approx((3 * first + 2 * second + third) / 6, rel=1e-5)


def test_sdm_is_the_mean_over_queries() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    positions = np.array([[10.0, 50.0], [10.0, 50.0002]])
    got = sdm_at_k(queries, positions[[0, 0]], queries, positions, ks=(1,))
    assert got[1] == pytest.approx((1.0 + math.exp(-1.0)) / 2, rel=1e-5)


def test_sdm_of_a_gallery_smaller_than_k_takes_it_whole() -> None:
    at = np.array([[10.0, 50.0]])
    assert sdm_at_k(QUERY, at, gallery_at(0.9), at, ks=(5,))[5] == pytest.approx(1.0)


def test_sdm_ranks_the_farther_first_among_equals() -> None:
    at = np.array([[10.0, 50.0]])
    positions = np.array([[10.0, 50.0], [10.0, 51.0]])
    assert sdm_at_k(QUERY, at, gallery_at(0.9, 0.9), positions, ks=(1,))[1] == pytest.approx(0.0)


def test_sdm_refuses_positions_of_another_number() -> None:
    with pytest.raises(ValueError, match="positions"):
        sdm_at_k(QUERY, np.zeros((2, 2)), gallery_at(0.9), np.zeros((1, 2)))
