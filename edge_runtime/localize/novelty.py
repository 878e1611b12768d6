"""How much new ground a view shows since the last view that counted as evidence.

Views of the same ground err alike. A hovering drone that counted each of them would grow
certain of whatever its first view resembles.
"""

from __future__ import annotations

import numpy as np

from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.odometry import Displacement
from edge_runtime.localize.rectify import GroundWindow


class ViewNovelty:
    """Follows the last used view's middle over the ground."""

    def __init__(self, independent_shift: float, typical_speed_m_s: float) -> None:
        """Set the scale.

        Args:
            independent_shift: Shift, in footprints, that makes a view independent of another.
            typical_speed_m_s: Speed assumed where odometry has nothing to say.
        """
        self._independent_shift = independent_shift
        self._typical_speed_m_s = typical_speed_m_s
        self._used_centre_m: FloatArray | None = None
        self._unseen_shift_m = 0.0

    def update(
        self, window: GroundWindow, displacement: Displacement | None, elapsed_s: float
    ) -> float:
        """Share of an independent view that this one is worth, 0-1; 1 for the first."""
        if self._used_centre_m is None:
            return 1.0
        if displacement is None:
            self._unseen_shift_m += self._typical_speed_m_s * elapsed_s
            shift_m = self._unseen_shift_m
        else:
            self._used_centre_m = displacement.carry(self._used_centre_m)
            shift_m = self._unseen_shift_m + float(
                np.linalg.norm(window.offset_m - self._used_centre_m)
            )
        return min(1.0, shift_m / (self._independent_shift * window.footprint_m))

    def use(self, window: GroundWindow) -> None:
        """Count from this view on."""
        self._used_centre_m = window.offset_m
        self._unseen_shift_m = 0.0

    def rescale(self, factor: float) -> None:
        """See the last used view as it would be had its height been assumed so much higher."""
        if self._used_centre_m is not None:
            self._used_centre_m = self._used_centre_m * factor
