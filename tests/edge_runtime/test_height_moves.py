"""How heights drift to their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.localize.height_moves import drift_moves
from edge_runtime.localize.hypotheses import HeightAxis, Hypothesis, HypothesisConfig


def axis(heights: int = 5, spread: float = 0.15, is_given: bool = True) -> HeightAxis:
    return HeightAxis(HypothesisConfig(heights=heights), spread, is_given)


def drifted(masses: np.ndarray, heights: HeightAxis, sigma: float) -> np.ndarray:
    moves = drift_moves(heights, [Hypothesis(4, n) for n in range(len(masses))], sigma)
    after = masses.copy()
    for source, targets in moves.items():
        for target, share in targets.items():
            assert target.heading == source.heading
            after[source.height] -= share * masses[source.height]
            after[target.height] += share * masses[source.height]
    return after


@given(st.floats(0.0, 3.0), st.floats(0.05, 0.5))
def test_heights_that_follow_their_prior_go_on_doing_so(sigma: float, spread: float) -> None:
    heights = axis(spread=spread)
    prior = heights.prior()
    np.testing.assert_allclose(drifted(prior, heights, sigma), prior, rtol=1e-9)


def test_unseen_any_height_becomes_the_prior_in_the_long_run() -> None:
    heights = axis()
    masses = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    for _ in range(3000):
        masses = drifted(masses, heights, 0.1)
    np.testing.assert_allclose(masses, heights.prior() / heights.prior().sum(), atol=1e-6)


def test_between_heights_equally_likely_the_variance_moves() -> None:
    heights = axis(heights=3, is_given=False)
    middle = heights.count // 2
    masses = np.eye(heights.count)[middle]
    after = drifted(masses, heights, 0.06)
    logs = np.log([heights.multiple(number) for number in range(heights.count)])
    assert np.sum(after * (logs - logs[middle]) ** 2) == pytest.approx(0.06**2)


def test_a_single_height_has_nowhere_to_go() -> None:
    assert drift_moves(axis(heights=1), [Hypothesis(2, 0)], 0.1) == {Hypothesis(2, 0): {}}
