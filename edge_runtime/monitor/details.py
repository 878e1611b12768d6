"""What the live page shows of a fix beside the fix itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PosteriorGrid:
    """Mass per square ground cell; row 0 is the northernmost.

    `west_m` and `north_m` are the first cell's outer corner in the map's frame.
    """

    mass: npt.NDArray[np.float32]
    west_m: float
    north_m: float
    cell_m: float


@dataclass(frozen=True)
class ScoredGround:
    """How much the ground looks like the view, per square cell; NaN where the map has no tile.

    `west_m` and `north_m` are the centre, in the map's frame, of the ground that belongs to the
    first cell; row 0 is the northernmost.
    """

    scores: npt.NDArray[np.float32]
    level: int
    west_m: float
    north_m: float
    cell_m: float


@dataclass(frozen=True)
class FixDetails:
    """What the localiser saw in one frame; what the flight loop still changes is copied."""

    view: npt.NDArray[np.uint8] | None = None
    """(S, S, 3) RGB, the rectified view."""
    posterior: PosteriorGrid | None = None
    matched_tiles: tuple[tuple[int, float], ...] = ()
    """The map's rows that look most like the view, with their similarity, best first."""
    scored_ground: ScoredGround | None = None
    """Where the localiser names no tiles: what the best ones are found from."""

    @property
    def has_matches(self) -> bool:
        """Whether the frame was searched for."""
        return bool(self.matched_tiles) or self.scored_ground is not None
