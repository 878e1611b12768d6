"""Which shares of their mass heights hand to their neighbours as the height's error changes."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

from edge_runtime.localize.heading_moves import Moves
from edge_runtime.localize.hypotheses import HeightAxis, Hypothesis

_LARGEST_SHARE = 0.25


def drift_moves(heights: HeightAxis, hypotheses: Iterable[Hypothesis], sigma: float) -> Moves:
    """Let heights become their neighbours; in the long run, unseen, they follow their prior.

    Args:
        sigma: Relative standard deviation of the change.
    """
    prior = heights.prior()
    share = min(sigma**2 / (2.0 * log(heights.step) ** 2), _LARGEST_SHARE)
    return {
        hypothesis: {
            hypothesis._replace(height=neighbour): share
            * min(1.0, float(prior[neighbour] / prior[hypothesis.height]))
            for neighbour in (hypothesis.height - 1, hypothesis.height + 1)
            if 0 <= neighbour < heights.count
        }
        for hypothesis in hypotheses
    }
