"""What views under several hypotheses of one frame say together.

More hypotheses are more chances of a false match. The filter's prior pays for that, being spread
over all of them; and a frame counts by how far its best place stands out from the best that any
other hypothesis or place offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.position_grid import PositionGrid
from edge_runtime.localize.view import ViewedGround

_SAME_HEADING_DEG = 45.0


@dataclass(frozen=True)
class ScoredView:
    """One hypothesis' scores over its grid, NaN where the map has no tile."""

    hypothesis: Hypothesis
    ground: ViewedGround
    grid: PositionGrid
    scores: npt.NDArray[np.float32]

    @cached_property
    def best_score(self) -> float:
        """The highest score; -inf where the map has no tile anywhere."""
        return _highest(self.scores)


def best_view(views: Sequence[ScoredView]) -> ScoredView:
    """The view whose best place scores highest."""
    return max(views, key=lambda view: view.best_score)


def joint_distinctiveness(views: Sequence[ScoredView], margin: float) -> float:
    """Share, 0-1, that a frame counts, by how far its best place stands out from any other.

    Fields look like fields: which of them scores highest is chance and season, and the next views
    of the same field would repeat the error. Places that view ground within a footprint of the
    best's, with nearly its heading, show the same ground and do not compete with it.
    """
    best = best_view(views)
    if not np.isfinite(best.best_score):
        return 0.0
    row, column = np.unravel_index(int(np.nanargmax(best.scores)), best.scores.shape)
    viewed_east = best.grid.west_m + int(column) * best.grid.cell_m + best.ground.window.east_m
    viewed_north = best.grid.north_m - int(row) * best.grid.cell_m + best.ground.window.north_m
    rival = float("-inf")
    for view in views:
        if view.best_score <= rival:
            continue
        turn = view.ground.attitude.heading_deg - best.ground.attitude.heading_deg
        if abs((turn + 180.0) % 360.0 - 180.0) > _SAME_HEADING_DEG:
            rival = view.best_score
        else:
            grid, window = view.grid, view.ground.window
            reach = round(best.ground.window.footprint_m / grid.cell_m)
            at_row = round((grid.north_m + window.north_m - viewed_north) / grid.cell_m)
            at_column = round((viewed_east - grid.west_m - window.east_m) / grid.cell_m)
            top, bottom = max(0, at_row - reach), max(0, at_row + reach + 1)
            left, right = max(0, at_column - reach), max(0, at_column + reach + 1)
            beside = (
                view.scores[:top],
                view.scores[bottom:],
                view.scores[top:bottom, :left],
                view.scores[top:bottom, right:],
            )
            rival = max(rival, *(_highest(part) for part in beside))
    return float(np.clip((best.best_score - rival) / margin, 0.0, 1.0))


def _highest(scores: npt.NDArray[np.float32]) -> float:
    """The highest score; -inf where there is none."""
    highest = float(np.fmax.reduce(scores, axis=None, initial=-np.inf))
    return float("-inf") if np.isnan(highest) else highest
