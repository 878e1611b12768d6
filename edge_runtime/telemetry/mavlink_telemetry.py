"""Telemetry from an autopilot: attitude, height and, if asked, velocity; never its position.

Height above the ground comes from the first of these that is fresh and valid: a downward distance
sensor, corrected for tilt; the autopilot's altitude above terrain (ALTITUDE); its altitude above
home, from ALTITUDE or else GLOBAL_POSITION_INT. The last two are above the ground that is viewed
only as far as that lies as high as home.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import FloatArray
from edge_runtime.mavlink.link import MavlinkLink
from edge_runtime.mounting import GIMBAL, Mounting
from edge_runtime.telemetry.history import History
from edge_runtime.telemetry.log import TelemetrySample
from edge_runtime.telemetry.mavlink_requests import MessageRequests
from edge_runtime.telemetry.orientation import (
    attitude_of,
    between,
    heading_of,
    product,
    quaternion_of_angles,
    rotation_of,
)

VELOCITY_SOURCES = ("none", "local_position_ned", "global_position_int")
HEIGHT_SOURCES = ("distance_sensor", "terrain", "altitude_relative", "relative_alt")
_OLDEST_STAMP_S = 1.0
_STAMP_SLACK_S = 0.02
_STEEPEST_BEAM_COSINE = float(np.cos(np.radians(40.0)))
_DOWNWARD = 25  # MAV_SENSOR_ROTATION_PITCH_270
_INVALID_SIGNAL = 1
_LOWEST_TERRAIN_M = -1000.0
_HIGHEST_M = 30_000.0
_FASTEST_M_S = 500.0
_YAW_LOCK, _YAW_IN_VEHICLE_FRAME, _YAW_IN_EARTH_FRAME = 16, 32, 64
_GIMBAL_SILENCE_S = 2.0


@dataclass(frozen=True)
class MavlinkTelemetryConfig:
    """What is believed of an autopilot's telemetry, and how long."""

    longest_attitude_age_s: float = 0.5
    """An attitude further than this from a frame's exposure is none: the frame has no telemetry."""
    longest_height_age_s: float = 2.0
    """A height further than this from a frame's exposure is none: another source, or unknown."""
    use_heading: bool = True
    """Believe the autopilot's heading; without, the heading is unknown."""
    velocity: str = "none"
    """Velocity to take as motion: none, local_position_ned or global_position_int. A velocity
    that comes from GNSS is no help without it, and harm where it is jammed: none by default."""
    request_rate_hz: float = 20.0
    """Ask the autopilot for attitude this often, and for the rest as needed; 0 asks nothing."""

    def __post_init__(self) -> None:
        limits = (self.longest_attitude_age_s, self.longest_height_age_s)
        if not all(0.0 < limit < 10.0 for limit in limits):
            raise ConfigError("ages of MAVLink telemetry must be above 0 and below 10 seconds")
        if self.velocity not in VELOCITY_SOURCES:
            raise ConfigError(f"velocity must be one of {', '.join(VELOCITY_SOURCES)}")
        if not 0.0 <= self.request_rate_hz <= 200.0:
            raise ConfigError("request_rate_hz must be 0 to 200")


@dataclass(frozen=True)
class _Gimbal:
    quaternion: FloatArray
    in_earth_frame: bool


class MavlinkTelemetry:
    """Listens on a link and tells the camera's attitude and height at a frame's exposure.

    Messages count from the moment that the autopilot stamped them with, where TIMESYNC knows its
    clock and the stamp is possible; else from their arrival.
    """

    def __init__(
        self,
        link: MavlinkLink,
        config: MavlinkTelemetryConfig | None = None,
        mounting: Mounting | None = None,
    ) -> None:
        self.config = MavlinkTelemetryConfig() if config is None else config
        self.mounting = Mounting() if mounting is None else mounting
        self._link = link
        attitude_age_s = self.config.longest_attitude_age_s
        self._vehicle = History(between, attitude_age_s)
        self._gimbal = History(_between_gimbals, attitude_age_s)
        self._heights = {
            source: History(_between_heights, self.config.longest_height_age_s)
            for source in HEIGHT_SOURCES
        }
        self._velocity = History(_between_pairs, attitude_age_s)
        self._gimbal_component: int | None = None
        self._distance_sensor: int | None = None
        self._closed = False
        self.unusable = 0
        """Messages whose values are not possible."""
        self._readers = {
            "ATTITUDE": self._take_attitude,
            "ATTITUDE_QUATERNION": self._take_attitude_quaternion,
            "ALTITUDE": self._take_altitude,
            "GLOBAL_POSITION_INT": self._take_relative_altitude,
            "DISTANCE_SENSOR": self._take_distance,
        }
        if self.config.velocity == "local_position_ned":
            self._readers["LOCAL_POSITION_NED"] = self._take_local_velocity
        self._requests = MessageRequests(
            link,
            self.config.request_rate_hz,
            wants_gimbal=self.mounting.kind == GIMBAL,
            wants_local_position=self.config.velocity == "local_position_ned",
        )
        link.listen(self._hear)

    def at(self, time_s: float) -> TelemetrySample | None:
        """Telemetry at a moment on `time.monotonic()`; None without a fresh camera attitude."""
        vehicle = self._vehicle.at(time_s)
        reported = vehicle
        heading_is_known = self.config.use_heading
        if self.mounting.kind == GIMBAL:
            gimbal = self._gimbal.at(time_s)
            if gimbal is None:
                return None
            reported = gimbal.quaternion
            if not gimbal.in_earth_frame:
                heading_is_known = heading_is_known and vehicle is not None
                heading_deg = 0.0 if vehicle is None else heading_of(vehicle)
                reported = product(quaternion_of_angles(heading_deg, 0.0, 0.0), reported)
        if reported is None:
            return None
        attitude = attitude_of(self.mounting.camera_quaternion(reported))
        velocity = self._velocity.at(time_s)
        return TelemetrySample(
            time_s=time_s,
            height_m=self._height_at(time_s)[1],
            heading_deg=attitude.heading_deg if heading_is_known else None,
            pitch_deg=attitude.pitch_deg,
            roll_deg=attitude.roll_deg,
            velocity_east_m_s=None if velocity is None else velocity[0],
            velocity_north_m_s=None if velocity is None else velocity[1],
        )

    def height_source(self, time_s: float) -> str | None:
        """Which of `HEIGHT_SOURCES` tells the height at a moment; None if none does."""
        return self._height_at(time_s)[0]

    def age_s(self, now_s: float) -> float:
        """Seconds since the last camera attitude was stamped; infinite before the first."""
        history = self._gimbal if self.mounting.kind == GIMBAL else self._vehicle
        return now_s - history.newest_s

    def close(self) -> None:
        """Stop listening; the link stays open."""
        self._closed = True

    def _height_at(self, time_s: float) -> tuple[str | None, float | None]:
        for source in HEIGHT_SOURCES:
            height_m = self._heights[source].at(time_s)
            if height_m is not None:
                return source, height_m
        return None, None

    # The link's reading thread

    def _hear(self, message: Any, received_s: float) -> None:
        if self._closed:
            return
        kind = message.get_type()
        self._requests.hear(kind, message, received_s)
        if kind == "GIMBAL_DEVICE_ATTITUDE_STATUS":
            usable = self._take_gimbal(message, received_s)
        else:
            take = self._readers.get(kind)
            target = self._link.target
            if take is None or target is None or message.get_srcComponent() != target[1]:
                return
            usable = take(message, self._moment(message, received_s))
        self.unusable += not usable

    def _moment(self, message: Any, received_s: float) -> float:
        boot_ms = getattr(message, "time_boot_ms", None)
        stamp_us = message.time_usec if boot_ms is None else boot_ms * 1000
        stamped_s = self._link.monotonic_s_of(stamp_us) if stamp_us else None
        if stamped_s is None:
            return received_s
        possible = received_s - _OLDEST_STAMP_S <= stamped_s <= received_s + _STAMP_SLACK_S
        return min(stamped_s, received_s) if possible else received_s

    def _take_attitude(self, message: Any, time_s: float) -> bool:
        angles = np.degrees([message.yaw, message.pitch, message.roll])
        if not np.isfinite(angles).all():
            return False
        self._vehicle.add(time_s, quaternion_of_angles(*angles))
        return True

    def _take_attitude_quaternion(self, message: Any, time_s: float) -> bool:
        quaternion = _unit([message.q1, message.q2, message.q3, message.q4])
        if quaternion is None:
            return False
        self._vehicle.add(time_s, quaternion)
        return True

    def _take_gimbal(self, message: Any, received_s: float) -> bool:
        component = message.get_srcComponent()
        if component != self._gimbal_component:
            if received_s - self._gimbal.newest_s < _GIMBAL_SILENCE_S:
                return True  # another gimbal, or the autopilot's echo of this one
            self._gimbal_component = component
        quaternion = _unit(message.q)
        if quaternion is None:
            return False
        flags = int(message.flags)
        in_earth_frame = bool(flags & _YAW_IN_EARTH_FRAME)
        if not flags & (_YAW_IN_EARTH_FRAME | _YAW_IN_VEHICLE_FRAME):
            in_earth_frame = bool(flags & _YAW_LOCK)
        moment_s = self._moment(message, received_s)
        self._gimbal.add(moment_s, _Gimbal(quaternion, in_earth_frame))
        return True

    def _take_altitude(self, message: Any, time_s: float) -> bool:
        terrain_m, relative_m = float(message.altitude_terrain), float(message.altitude_relative)
        is_known = _LOWEST_TERRAIN_M <= terrain_m <= _HIGHEST_M
        self._heights["terrain"].add(time_s, terrain_m if is_known else None)
        if not abs(relative_m) <= _HIGHEST_M:
            return False
        self._heights["altitude_relative"].add(time_s, relative_m)
        return True

    def _take_relative_altitude(self, message: Any, time_s: float) -> bool:
        """Height above home, and velocity if it is believed; its latitude and longitude are not."""
        if self.config.velocity == "global_position_int":
            self._velocity.add(time_s, (message.vy / 100.0, message.vx / 100.0))
        relative_m = message.relative_alt / 1000.0
        if abs(relative_m) > _HIGHEST_M:
            return False
        self._heights["relative_alt"].add(time_s, relative_m)
        return True

    def _take_distance(self, message: Any, time_s: float) -> bool:
        if message.orientation != _DOWNWARD:
            return True
        height_m = self._height_of_distance(message, time_s)
        if height_m is not None:
            self._distance_sensor = message.id
        elif message.id != self._distance_sensor:
            return True  # another one that looks down sees further
        self._heights["distance_sensor"].add(time_s, height_m)
        return True

    def _height_of_distance(self, message: Any, time_s: float) -> float | None:
        in_range = message.min_distance < message.current_distance < message.max_distance
        vehicle = self._vehicle.at(time_s)
        if not in_range or message.signal_quality == _INVALID_SIGNAL or vehicle is None:
            return None
        cosine = float(rotation_of(vehicle)[2, 2])
        if cosine < _STEEPEST_BEAM_COSINE:
            return None
        return float(message.current_distance / 100.0 * cosine)

    def _take_local_velocity(self, message: Any, time_s: float) -> bool:
        east_m_s, north_m_s = float(message.vy), float(message.vx)
        if not (abs(east_m_s) <= _FASTEST_M_S and abs(north_m_s) <= _FASTEST_M_S):
            return False  # also where one of them is no number
        self._velocity.add(time_s, (east_m_s, north_m_s))
        return True


def _unit(values: Any) -> FloatArray | None:
    """The quaternion at unit length; None if it is none."""
    quaternion = np.array(list(values), np.float64)
    length = float(np.linalg.norm(quaternion))
    return quaternion / length if 0.9 < length < 1.1 else None


def _between_numbers(first: float, second: float, share: float) -> float:
    return first + share * (second - first)


def _between_heights(first: float | None, second: float | None, share: float) -> float | None:
    """None is a reading that says that there is none."""
    if first is None or second is None:
        return first if share < 0.5 else second
    return _between_numbers(first, second, share)


def _between_pairs(
    first: tuple[float, float], second: tuple[float, float], share: float
) -> tuple[float, float]:
    return (
        _between_numbers(first[0], second[0], share),
        _between_numbers(first[1], second[1], share),
    )


def _between_gimbals(first: _Gimbal, second: _Gimbal, share: float) -> _Gimbal:
    if first.in_earth_frame != second.in_earth_frame:
        return first if share < 0.5 else second
    return _Gimbal(between(first.quaternion, second.quaternion, share), first.in_earth_frame)
