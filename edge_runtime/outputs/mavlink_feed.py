"""The one message by which an autopilot is fed a fix, or why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.fix import Fix, IntegrityState, Position, Velocity
from edge_runtime.outputs import mavlink_messages as messages
from edge_runtime.outputs.mavlink_config import MavlinkOutputConfig
from edge_runtime.outputs.mavlink_origin import north_east_m

_FARTHEST_FROM_ORIGIN_M = 500_000.0


@dataclass(frozen=True)
class AdmittedFix:
    """A fix whose position may leave, with what a message says beside it."""

    fix: Fix
    position: Position
    deviation_m: float
    """Grown while coasting."""
    exposed_us: int
    """On the autopilot's clock, as `sent_us`."""
    sent_us: int
    target: tuple[int, int]
    """The autopilot's system and component."""


def px4_message(config: MavlinkOutputConfig, dialect: Any, admitted: AdmittedFix) -> Any:
    """GLOBAL_POSITION_SENSOR of a fix."""
    return messages.global_position_sensor(
        dialect,
        admitted.position,
        target=admitted.target,
        sensor_id=config.sensor_id,
        sent_us=admitted.sent_us,
        processing_us=admitted.sent_us - admitted.exposed_us,
        deviation_m=admitted.deviation_m,
    )


def odometry_message(
    config: MavlinkOutputConfig,
    dialect: Any,
    admitted: AdmittedFix,
    origin_deg: tuple[float, float] | None,
) -> tuple[Any | None, str]:
    """ODOMETRY from the autopilot's origin, or why not."""
    if origin_deg is None:
        return None, "autopilot's origin unknown"
    place_m = north_east_m(origin_deg, admitted.position)
    if math.hypot(*place_m) > _FARTHEST_FROM_ORIGIN_M:
        return None, "too far from the autopilot's origin"
    message = messages.odometry(
        dialect,
        admitted.position,
        place_m,
        _known(admitted.fix.velocity) if config.odometry_velocity else None,
        exposed_us=admitted.exposed_us,
        deviation_m=admitted.deviation_m,
        reset_counter=admitted.fix.reset_counter,
        quality=messages.quality_percent(admitted.position, admitted.fix.state),
    )
    return message, ""


def gps_input_message(
    config: MavlinkOutputConfig, dialect: Any, admitted: AdmittedFix, utc_s: float | None
) -> tuple[Any | None, str]:
    """GPS_INPUT with the filter's velocity, or why not."""
    velocity = _known(admitted.fix.velocity)
    if velocity is None or utc_s is None:
        return None, "no velocity" if velocity is None else "no UTC"
    message = messages.gps_input(
        dialect,
        admitted.position,
        velocity,
        exposed_us=admitted.exposed_us,
        utc_s=utc_s,
        gps_id=config.gps_id,
        deviation_m=admitted.deviation_m,
    )
    return message, ""


@dataclass
class PositionResets:
    """When to send MAV_CMD_EXTERNAL_POSITION_ESTIMATE: on a new track, and now and then."""

    interval_s: float
    _told: tuple[int, float] | None = None

    def message(self, dialect: Any, admitted: AdmittedFix) -> tuple[Any | None, str]:
        """The command for a fix that tracks, if one is due, or why not."""
        if admitted.fix.state is not IntegrityState.TRACKING or not self._is_due(admitted.fix):
            return None, "no reset due"
        message = messages.external_position_estimate(
            dialect,
            admitted.position,
            target=admitted.target,
            sent_us=admitted.sent_us,
            processing_us=admitted.sent_us - admitted.exposed_us,
            deviation_m=admitted.deviation_m,
        )
        return message, ""

    def told(self, fix: Fix) -> None:
        """The command left."""
        self._told = (fix.reset_counter, fix.time_s)

    def forget(self) -> None:
        """The autopilot started anew."""
        self._told = None

    def _is_due(self, fix: Fix) -> bool:
        if self._told is None:
            return True
        counter, told_s = self._told
        return counter != fix.reset_counter or fix.time_s - told_s >= self.interval_s


def _known(velocity: Velocity | None) -> Velocity | None:
    """The velocity if it is one: finite throughout."""
    if velocity is None:
        return None
    values = (velocity.east_m_s, velocity.north_m_s, velocity.standard_deviation_m_s)
    return velocity if all(math.isfinite(value) for value in values) else None
