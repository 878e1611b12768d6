"""What attitude and height errors do to a position: the filter cannot see them.

They shift every view's ground offset alike, so they must be added to the posterior's spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import CameraAttitude, FloatArray

_LINE_95 = 1.960
_CIRCLE_95 = 2.448


@dataclass(frozen=True)
class TelemetryErrorConfig:
    """Standard deviations of what telemetry says about the camera."""

    heading_deg: float = 3.0
    """Compass and mounting."""
    pitch_deg: float = 1.5
    """Gimbal and mounting; the same figure is used for roll."""
    height_share: float = 0.1
    """Height above the viewed ground, relative: barometer, and terrain unlike the take-off's."""

    def __post_init__(self) -> None:
        if min(self.heading_deg, self.pitch_deg, self.height_share) < 0.0:
            raise ConfigError("telemetry_error values must not be negative")


def view_offset_covariance(
    attitude: CameraAttitude, height_m: float, offset_m: FloatArray, errors: TelemetryErrorConfig
) -> FloatArray:
    """Covariance (2, 2) in square metres, east and north, of the drone-to-window offset."""
    heading = np.radians(attitude.heading_deg)
    along = np.array([np.sin(heading), np.cos(heading)])
    across = np.array([along[1], -along[0]])
    distance = float(np.linalg.norm(offset_m))
    tilt = np.radians(errors.pitch_deg)
    along_variance = (tilt * (height_m + distance**2 / height_m)) ** 2
    along_variance += (errors.height_share * distance) ** 2
    across_variance = (np.radians(errors.heading_deg) * distance) ** 2
    across_variance += (tilt * height_m) ** 2
    return np.asarray(
        along_variance * np.outer(along, along) + across_variance * np.outer(across, across),
        np.float64,
    )


def radius95_of(covariance: FloatArray) -> float:
    """Radius in metres that holds 95 % of a two-dimensional Gaussian.

    The larger of the limits for a line and for a circle: at worst 4 % short, holding 93.9 %.
    """
    largest = float(np.linalg.eigvalsh(covariance)[-1])
    mean = float(np.trace(covariance)) / 2.0
    limits = _LINE_95 * np.sqrt(max(largest, 0.0)), _CIRCLE_95 * np.sqrt(max(mean, 0.0))
    return float(max(limits))


POSTERIOR_WIDTH = 0.65
"""Error of the filter's position over the spread of its mass. The filter tempers its evidence, lest
it grow certain of a wrong place; so around the right one its mass lies wider than its errors do.
Measured over generated flights of known errors, and held against a real one."""
_MEASURED_M, _RECKONED_M = 40.0, 100.0
"""Radii up to which the spread is that of views, and from which on it is that of dead reckoning,
whose errors are as wide as it says."""


def posterior_width(held_m: float) -> float:
    """Error of the filter's position over the spread of its mass: `POSTERIOR_WIDTH` to 1.

    Args:
        held_m: Radius that holds 95 % of the mass.
    """
    reckoned = np.clip((held_m - _MEASURED_M) / (_RECKONED_M - _MEASURED_M), 0.0, 1.0)
    return float(POSTERIOR_WIDTH + (1.0 - POSTERIOR_WIDTH) * reckoned)


def stated_radius95(held_m: float, offset_covariance: FloatArray) -> float:
    """The radius in metres that a fix states: the filter's own error, and what it cannot see.

    Args:
        held_m: Radius that holds 95 % of the filter's mass.
        offset_covariance: (2, 2) square metres of the drone-to-window offset.
    """
    return float(np.hypot(posterior_width(held_m) * held_m, radius95_of(offset_covariance)))
