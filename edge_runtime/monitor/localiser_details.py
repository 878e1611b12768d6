"""What a localiser saw in its last frame, for the live page."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.localize.hypothesis_evidence import ScoredView
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.position_grid import PositionGrid
from edge_runtime.monitor.details import FixDetails, PosteriorGrid, ScoredGround
from edge_runtime.monitor.tile_match import MATCHES

_COPIED_CELLS = 200_000


def details_of(localiser: Localiser) -> FixDetails:
    """Take what the last frame left in a localiser; some 0.1 ms, so only for who looks.

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
        scored_ground=scored_ground_of(getattr(localiser, "best_view", None)),
    )


def posterior_of(grid: PositionGrid) -> PosteriorGrid:
    """A filter's grid as it stands.

    A large one is not copied, which would cost the flight milliseconds: if the filter goes on while
    it is drawn, that picture is of two moments.
    """
    mass = grid.mass if grid.mass.size > _COPIED_CELLS else grid.mass.copy()
    half_m = grid.cell_m / 2
    return PosteriorGrid(mass, grid.west_m - half_m, grid.north_m + half_m, grid.cell_m)


def scored_ground_of(view: ScoredView | None) -> ScoredGround | None:
    """The ground that a drone in each cell looks at, with its score; nobody changes that again."""
    if view is None:
        return None
    grid, window = view.grid, view.ground.window
    return ScoredGround(
        view.scores,
        view.ground.level,
        grid.west_m + window.east_m,
        grid.north_m + window.north_m,
        grid.cell_m,
    )
