"""What a flight remembers of its own views: their mean, and those that counted last."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.view import ViewedGround

Descriptors = Mapping[Hypothesis, npt.NDArray[np.float32]]
"""A frame's descriptors (D,), one for each hypothesis that was looked at."""


class ViewMemory:
    """Turns a frame's descriptors into queries, and learns from those that counted."""

    def __init__(self, region_map: RegionMap, same_view_similarity: float) -> None:
        """Remember nothing.

        Args:
            same_view_similarity: Descriptors more alike than this are of one view.
        """
        self.projector = QueryProjector(region_map)
        self._same_view_similarity = same_view_similarity
        self._used: Descriptors = {}

    def queries(
        self, descriptors: Descriptors, grounds: Mapping[Hypothesis, ViewedGround]
    ) -> dict[Hypothesis, npt.NDArray[np.float32]]:
        """Unit-length queries (D_map,) for a frame's descriptors (D_encoder,)."""
        return {
            hypothesis: self.projector.project(descriptor, grounds[hypothesis].level)
            for hypothesis, descriptor in descriptors.items()
        }

    def is_seen_already(self, descriptors: Descriptors) -> bool:
        """Whether the view is the last used one again, for where odometry cannot tell."""
        return any(
            float(descriptor @ self._used[hypothesis]) > self._same_view_similarity
            for hypothesis, descriptor in descriptors.items()
            if hypothesis in self._used
        )

    def learn(
        self,
        descriptors: Descriptors,
        grounds: Mapping[Hypothesis, ViewedGround],
        weights: Mapping[Hypothesis, float],
        novelty: float,
    ) -> None:
        """Let the views count towards the flight's mean, each by its hypothesis' probability.

        Args:
            weights: Probabilities of hypotheses after the frame.
            novelty: Share of an independent view that the frame is worth, 0-1.
        """
        masses = np.array([weights.get(hypothesis, 0.0) for hypothesis in descriptors])
        shares = masses / max(float(masses.sum()), 1e-30)
        for (hypothesis, descriptor), share in zip(descriptors.items(), shares, strict=True):
            level = grounds[hypothesis].level
            self.projector.learn(descriptor, level, novelty * float(share))
        self._used = descriptors
