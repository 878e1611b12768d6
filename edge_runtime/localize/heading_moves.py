"""Which shares of their mass headings hand to other headings as telemetry's error changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.hypotheses import HeadingAxis, Hypothesis

Moves = dict[Hypothesis, dict[Hypothesis, float]]
"""For every hypothesis the shares, 0-1, of its mass that others receive."""


def spread_moves(
    headings: HeadingAxis, hypotheses: Iterable[Hypothesis], sigma_deg: float
) -> Moves:
    """Let headings become their neighbours, by a normal distribution around each.

    Args:
        sigma_deg: Its standard deviation; no moves where it is 0, or there are no neighbours.
    """
    step = headings.step_deg
    if headings.count < 3 or sigma_deg <= 0.0:
        return {}
    if sigma_deg < 0.5 * step:
        # As for a narrow blur: match the variance.
        side = sigma_deg**2 / (2.0 * step**2)
        shares = {-1: side, 1: side}
    else:
        reach = (headings.count - 1) // 2
        steps = np.arange(-reach, reach + 1)
        taps = np.exp(-0.5 * (steps * step / sigma_deg) ** 2)
        taps /= taps.sum()
        shares = {int(n): float(tap) for n, tap in zip(steps, taps, strict=True) if n}
    return {h: _neighbours(headings, h, shares) for h in hypotheses}


def onward_moves(headings: HeadingAxis, hypotheses: Iterable[Hypothesis], share: float) -> Moves:
    """Hand a share of every heading to the next."""
    return {h: _neighbours(headings, h, {1: share}) for h in hypotheses}


def redrawn_moves(prior: FloatArray, hypotheses: Iterable[Hypothesis], doubt: float) -> Moves:
    """With some probability the heading is any other, by a prior (headings,)."""
    return {
        hypothesis: {
            Hypothesis(heading, hypothesis.height): doubt * float(probability)
            for heading, probability in enumerate(prior)
            if heading != hypothesis.heading
        }
        for hypothesis in hypotheses
    }


def _neighbours(
    headings: HeadingAxis, hypothesis: Hypothesis, shares: Mapping[int, float]
) -> dict[Hypothesis, float]:
    return {
        Hypothesis((hypothesis.heading + steps) % headings.count, hypothesis.height): share
        for steps, share in shares.items()
    }
