from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.localize.off_map import COMPARED, OffMapConfig, OffMapEvidence

CONFIG = OffMapConfig(
    off_map_probability=0.95,
    off_map_prior=0.2,
    even_best_score=5.5,
    off_map_log_ratio_per_sigma=0.6,
    largest_off_map_log_ratio=0.5,
)


def odds(evidence: OffMapEvidence) -> float:
    return evidence.probability / (1.0 - evidence.probability)


def test_before_any_view_it_is_the_prior() -> None:
    assert OffMapEvidence(CONFIG).probability == pytest.approx(0.2)


def test_a_view_multiplies_the_odds_by_its_likelihood_ratio() -> None:
    evidence = OffMapEvidence(CONFIG)
    evidence.add(5.0, novelty=1.0)  # 0.6 per sigma, half a sigma below even
    assert odds(evidence) == pytest.approx(0.25 * np.exp(0.3))


def test_a_view_that_is_half_new_counts_half() -> None:
    evidence = OffMapEvidence(CONFIG)
    evidence.add(5.0, novelty=0.5)
    assert odds(evidence) == pytest.approx(0.25 * np.exp(0.15))


def test_no_single_view_says_more_than_the_limit_however_little_it_fits() -> None:
    evidence = OffMapEvidence(CONFIG)
    evidence.add(-50.0, novelty=1.0)
    assert odds(evidence) == pytest.approx(0.25 * np.exp(0.5))


def test_views_that_fit_do_not_outweigh_later_ones_that_do_not() -> None:
    used, fresh = OffMapEvidence(CONFIG), OffMapEvidence(CONFIG)
    for _ in range(100):
        used.add(9.0, novelty=1.0)
    assert used.probability == pytest.approx(0.2)
    for _ in range(5):
        used.add(3.0, novelty=1.0)
        fresh.add(3.0, novelty=1.0)
    assert used.probability == fresh.probability


def test_a_view_without_any_tile_to_compare_says_nothing() -> None:
    evidence = OffMapEvidence(CONFIG)
    evidence.add(float("nan"), novelty=1.0)
    assert evidence.probability == pytest.approx(0.2)


def test_the_best_of_more_tiles_must_be_better_to_mean_as_much() -> None:
    few, many = OffMapEvidence(CONFIG), OffMapEvidence(CONFIG)
    few.add(5.5, novelty=1.0, compared=COMPARED)
    many.add(5.5, novelty=1.0, compared=100 * COMPARED)
    assert few.probability == pytest.approx(0.2)
    assert many.probability > 0.25


def test_a_position_settles_it() -> None:
    evidence = OffMapEvidence(CONFIG)
    for _ in range(20):
        evidence.add(3.0, novelty=1.0)
    assert evidence.probability > 0.95
    evidence.forget()
    assert evidence.probability == pytest.approx(0.2)
    assert evidence.views == 0


@given(st.lists(st.tuples(st.floats(-10.0, 30.0), st.floats(0.0, 1.0)), max_size=50))
def test_it_is_a_probability_that_never_falls_below_the_prior(
    views: list[tuple[float, float]],
) -> None:
    evidence = OffMapEvidence(CONFIG)
    for best_score, novelty in views:
        evidence.add(best_score, novelty)
        assert 0.2 - 1e-9 <= evidence.probability < 1.0
