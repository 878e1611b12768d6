"""How the camera sits on the drone: fixed to its body, or on a gimbal that tells where it looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import CameraAttitude, FloatArray
from edge_runtime.telemetry.log import TelemetrySample
from edge_runtime.telemetry.orientation import (
    attitude_of,
    product,
    quaternion_of,
    quaternion_of_angles,
)

FIXED = "fixed"
GIMBAL = "gimbal"


@dataclass(frozen=True)
class Mounting:
    """The camera's orientation on what reports an attitude.

    A fixed camera's angles are those it has on a level drone that heads north: pitch -90 looks
    straight down with the picture's top towards the nose. A gimbal's are corrections: heading is
    turned about the vertical, pitch about the picture's horizontal axis, roll about the view.
    """

    kind: str = FIXED
    heading_deg: float = 0.0
    pitch_deg: float = -90.0
    roll_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in (FIXED, GIMBAL):
            raise ConfigError(f"mounting type must be {FIXED} or {GIMBAL}, is {self.kind!r}")
        if not np.isfinite([self.heading_deg, self.pitch_deg, self.roll_deg]).all():
            raise ConfigError(f"mounting angles must be finite degrees: {self}")

    def camera_quaternion(self, reported: FloatArray) -> FloatArray:
        """The camera's orientation, where the drone's (fixed) or the gimbal's is reported."""
        if self.kind == FIXED:
            mount = quaternion_of_angles(self.heading_deg, self.pitch_deg, self.roll_deg)
            return product(reported, mount)
        turn = quaternion_of_angles(self.heading_deg, 0.0, 0.0)
        return product(turn, product(reported, _tilt(self.pitch_deg, self.roll_deg)))

    def corrected(self, heading_deg: float, pitch_deg: float, roll_deg: float) -> Mounting:
        """The mounting with a gimbal's kind of corrections on top of it."""
        if self.kind == GIMBAL:
            return Mounting(
                GIMBAL,
                self.heading_deg + heading_deg,
                self.pitch_deg + pitch_deg,
                self.roll_deg + roll_deg,
            )
        return self.turned(Mounting(GIMBAL, heading_deg, pitch_deg, roll_deg).camera_quaternion)

    def turned(self, turn: Callable[[FloatArray], FloatArray]) -> Mounting:
        """A fixed mounting whose orientation on a level, northbound drone is changed."""
        mount = quaternion_of_angles(self.heading_deg, self.pitch_deg, self.roll_deg)
        attitude = attitude_of(turn(mount))
        heading_deg = (attitude.heading_deg + 180.0) % 360.0 - 180.0
        return Mounting(FIXED, heading_deg, attitude.pitch_deg, attitude.roll_deg)


def _tilt(pitch_deg: float, roll_deg: float) -> FloatArray:
    return quaternion_of_angles(0.0, pitch_deg, roll_deg)


NO_OFFSETS = Mounting(GIMBAL, 0.0, 0.0, 0.0)


def with_offsets(sample: TelemetrySample, offsets: Mounting) -> TelemetrySample:
    """Telemetry whose camera attitude is corrected by a gimbal's kind of mounting."""
    if offsets == NO_OFFSETS:
        return sample
    heading_deg = 0.0 if sample.heading_deg is None else sample.heading_deg
    reported = quaternion_of(CameraAttitude(heading_deg, sample.pitch_deg, sample.roll_deg))
    attitude = attitude_of(offsets.camera_quaternion(reported))
    return replace(
        sample,
        heading_deg=None if sample.heading_deg is None else attitude.heading_deg,
        pitch_deg=attitude.pitch_deg,
        roll_deg=attitude.roll_deg,
    )
