"""A frame's views weighed against the map: their scores, and what the filter makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.evidence import (
    EvidenceConfig,
    likelihood_ratio,
    matched_distinctiveness,
    score_at,
)
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.frame_record import FrameRecord
from edge_runtime.localize.grid_scores import SearchedView, scores_on_grids
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.hypothesis_evidence import ScoredView, best_view, joint_distinctiveness
from edge_runtime.localize.integrity import ViewEvidence
from edge_runtime.localize.search import TileSearch
from edge_runtime.localize.uncertainty import radius95_of
from edge_runtime.localize.view import ViewedGround


class MapComparison:
    """Compares views with the tiles that their hypotheses may see, and tells the filter."""

    def __init__(self, region_map: RegionMap, search: TileSearch, config: EvidenceConfig) -> None:
        self._map = region_map
        self._search = search
        self._config = config

    def weigh(
        self,
        frame: FrameRecord,
        pose_filter: PoseFilter,
        queries: Mapping[Hypothesis, npt.NDArray[np.float32]],
        grounds: Mapping[Hypothesis, ViewedGround],
        novelty: float,
    ) -> tuple[ViewEvidence, float]:
        """Let a frame speak: what integrity hears of it, and the weight, 0-1, that it had.

        Args:
            frame: Learns its best view, and how long the stages took.
            queries: One for each ground, (D,) of unit length.
            novelty: Share of an independent view that has come into sight, 0-1.
        """
        prior_radius_m = _known_radius_m(pose_filter)
        with frame.timed("search"):
            views = self._scored(pose_filter, queries, grounds)
            best = frame.best_view = best_view(views)
            weight = novelty * self._distinctiveness(views, best)
        with frame.timed("filter"):
            pose_filter.update(_Ratios(views, self._config), weight, novelty)
            score = _score_of_position(pose_filter, views)
        evidence = ViewEvidence(
            score,
            prior_radius_m,
            best_score=best.best_score,
            novelty=novelty,
            # As many as a cold filter compares such views with.
            compared=self._map.tiles_per_level[best.ground.level] * len(views),
        )
        return evidence, weight

    def _scored(
        self,
        pose_filter: PoseFilter,
        queries: Mapping[Hypothesis, npt.NDArray[np.float32]],
        grounds: Mapping[Hypothesis, ViewedGround],
    ) -> list[ScoredView]:
        # The filter goes on with other grids: keep where these lay.
        searched = {
            hypothesis: SearchedView(
                ground.level,
                queries[hypothesis],
                ground.window,
                replace(pose_filter.grid_of(hypothesis)),
            )
            for hypothesis, ground in grounds.items()
        }
        found = scores_on_grids(self._search, self._map, list(searched.values()))
        return [
            ScoredView(hypothesis, grounds[hypothesis], view.grid, scores)
            for (hypothesis, view), scores in zip(searched.items(), found, strict=True)
        ]

    def _distinctiveness(self, views: Sequence[ScoredView], best: ScoredView) -> float:
        """Share, 0-1, that a frame counts: what it resembles must be like nothing else.

        The best place must stand out from what other places score, and its tiles from the map's
        other tiles.
        """
        of_views = joint_distinctiveness(views, self._config.distinct_margin)
        of_map = matched_distinctiveness(
            best.scores, best.grid, self._map, best.ground.level, best.ground.window
        )
        return min(of_views, of_map)


class _Ratios(Mapping[Hypothesis, npt.NDArray[np.float32]]):
    """Views' likelihood ratios, each made when it is asked for: over a large map all are much."""

    def __init__(self, views: Sequence[ScoredView], config: EvidenceConfig) -> None:
        self._scores = {view.hypothesis: view.scores for view in views}
        self._config = config

    def __getitem__(self, hypothesis: Hypothesis) -> npt.NDArray[np.float32]:
        return likelihood_ratio(self._scores[hypothesis], self._config)

    def __iter__(self) -> Iterator[Hypothesis]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)


def _known_radius_m(pose_filter: PoseFilter) -> float:
    """95 % radius of the posterior's covariance; infinite while the filter is cold."""
    if not pose_filter.is_local:
        return float("inf")
    marginal = pose_filter.grid
    return radius95_of(marginal.covariance(marginal.mean()))


def _score_of_position(pose_filter: PoseFilter, views: Sequence[ScoredView]) -> float:
    """The score of the likeliest state; NaN where no view was made for it."""
    hypothesis, place = pose_filter.best()
    for view in views:
        if view.hypothesis == hypothesis:
            return score_at(view.scores, view.grid, place)
    return float("nan")
