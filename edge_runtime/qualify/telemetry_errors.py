"""What a simulated flight's telemetry gets wrong: as much as the localiser is told to expect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.localize.camera import CameraPose
from edge_runtime.localize.uncertainty import TelemetryErrorConfig

_CONSTANT_SHARE = 0.7
"""Share of the variance that stays through a flight: mounting, compass, take-off's height."""
_CORRELATION_S = 20.0
"""How long the rest lasts: terrain below, magnetic disturbance, a gimbal's drift."""


class TelemetryErrors:
    """Errors of heading, pitch, roll and height, drawn once for a flight.

    Each has the standard deviation that the localiser's `telemetry_error` states; most of it is
    the same through the flight, the rest wanders.
    """

    def __init__(
        self,
        stated: TelemetryErrorConfig,
        times_s: npt.NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        """Draw the errors.

        Args:
            times_s: (N,) exposures of the flight's frames.
        """
        steps = np.diff(times_s, prepend=times_s[:1])
        keep = np.exp(-np.abs(steps) / _CORRELATION_S)
        constant = rng.standard_normal(4)
        wander = np.zeros((len(times_s), 4))
        kicks = rng.standard_normal((len(times_s), 4))
        value = kicks[0]
        for number, share in enumerate(keep):
            value = share * value + np.sqrt(1.0 - share**2) * kicks[number]
            wander[number] = value
        unit = np.sqrt(_CONSTANT_SHARE) * constant + np.sqrt(1.0 - _CONSTANT_SHARE) * wander
        self._heading_deg, self._pitch_deg, self._roll_deg = (
            unit[:, :3] * [stated.heading_deg, stated.pitch_deg, stated.pitch_deg]
        ).T
        self._height_share = stated.height_share * unit[:, 3]

    def reported(self, true: CameraPose, frame: int) -> CameraPose:
        """What the telemetry says of a frame's true pose."""
        return CameraPose(
            height_m=true.height_m * max(0.3, 1.0 + float(self._height_share[frame])),
            heading_deg=(true.heading_deg + float(self._heading_deg[frame])) % 360.0,
            pitch_deg=float(np.clip(true.pitch_deg + self._pitch_deg[frame], -90.0, 0.0)),
            roll_deg=true.roll_deg + float(self._roll_deg[frame]),
        )
