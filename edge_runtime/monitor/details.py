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
    """Ground that looks like the view, in the map's frame, and the level of tiles it lies on."""

    level: int
    east_m: float
    north_m: float
    similarity: float


@dataclass(frozen=True)
class FixDetails:
    """What the localiser saw in one frame; arrays that nobody changes any more."""

    view: npt.NDArray[np.uint8] | None = None
    """(S, S, 3) RGB, the rectified view."""
    posterior: PosteriorGrid | None = None
    matched_tiles: tuple[tuple[int, float], ...] = ()
    """The map's rows that look most like the view, with their similarity, best first."""
    matched_ground: tuple[ScoredGround, ...] = ()
    """Where the localiser names no tiles: ground that looks most like the view, best first."""

    @property
    def has_matches(self) -> bool:
        """Whether the frame was searched for."""
        return bool(self.matched_tiles or self.matched_ground)
