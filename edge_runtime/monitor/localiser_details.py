"""What a localiser saw in its last frame, copied for the live page."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.localize.hypothesis_evidence import ScoredView
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.position_grid import PositionGrid
from edge_runtime.monitor.details import FixDetails, PosteriorGrid, ScoredGround
from edge_runtime.monitor.tile_match import MATCHES

_MOST_CELLS = 400 * 400
_BEST_CELLS = 400
"""Enough for the best tiles, each of which is the best of several cells."""


def details_of(localiser: Localiser) -> FixDetails:
    """Copy what the last frame left in a localiser; about 0.1 ms, so only for who looks.

    What a localiser does not offer is left out.
    """
    view: npt.NDArray[np.uint8] | None = getattr(localiser, "view", None)
    grid: PositionGrid | None = getattr(localiser, "position_grid", None)
    rows, scores = getattr(localiser, "matched_rows", ((), ()))
    best = zip(rows[:MATCHES], scores[:MATCHES], strict=True)
    return FixDetails(
        view=None if view is None else view.copy(),
        posterior=None if grid is None else posterior_of(grid),
        matched_tiles=tuple((int(row), float(score)) for row, score in best),
        matched_ground=matched_ground(getattr(localiser, "best_view", None)),
    )


def matched_ground(view: ScoredView | None) -> tuple[ScoredGround, ...]:
    """The ground that looks most like a view, best first; a drone in a cell sees it from there."""
    if view is None:
        return ()
    scores = np.where(np.isnan(view.scores), -np.inf, view.scores).ravel()
    best = np.argpartition(-scores, min(_BEST_CELLS, scores.size - 1))[:_BEST_CELLS]
    best = best[np.isfinite(scores[best])]
    best = best[np.argsort(-scores[best], kind="stable")]
    rows, columns = np.unravel_index(best, view.scores.shape)
    easts = view.grid.easts_m[columns] + view.ground.window.east_m
    norths = view.grid.norths_m[rows] + view.ground.window.north_m
    return tuple(
        ScoredGround(view.ground.level, float(east), float(north), float(score))
        for east, north, score in zip(easts, norths, scores[best], strict=True)
    )


def posterior_of(grid: PositionGrid) -> PosteriorGrid:
    """A copy of a filter's grid, its cells joined where they are too many to be seen apart."""
    rows, columns = grid.mass.shape
    bounds = grid.bounds
    joined = int(np.ceil(np.sqrt(grid.mass.size / _MOST_CELLS)))
    if joined <= 1:
        return PosteriorGrid(grid.mass.copy(), bounds.west_m, bounds.north_m, grid.cell_m)
    # Whole blocks only: cells beyond the last one would stretch the others.
    whole = grid.mass[: max(1, rows // joined) * joined, : max(1, columns // joined) * joined]
    size = (max(1, whole.shape[1] // joined), max(1, whole.shape[0] // joined))
    mass = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float32)
    return PosteriorGrid(mass * joined**2, bounds.west_m, bounds.north_m, grid.cell_m * joined)
