"""Models of what autopilots take and what they make of it, written after their sources.

They stand for the acceptance rules alone: no estimator runs here, and no firmware was tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Px4AuxiliaryPosition:
    """PX4 `main` of 2026: `AgpSource::update` and the ring buffer it reads from."""

    agp_id: int = 1
    control: int = 1
    noise_m: float = 1.0
    delay_max_ms: float = 200.0
    refused: list[str] = field(default_factory=list)
    fused: list[tuple[float, float, float]] = field(default_factory=list)
    """Latitude, longitude, standard deviation."""

    def take(self, message: Any, arrived_us: int) -> bool:
        reason = self._reason_to_refuse(message, arrived_us)
        if reason:
            self.refused.append(reason)
            return False
        eph = message.eph if math.isfinite(message.eph) else 0.0
        self.fused.append((message.lat / 1e7, message.lon / 1e7, max(eph, self.noise_m, 0.01)))
        return True

    def _reason_to_refuse(self, message: Any, arrived_us: int) -> str:
        if self.agp_id == 0 or message.id != self.agp_id:
            return "id of no slot"
        if not self.control & 1:
            return "horizontal fusion off"
        sample_us = message.time_usec - message.processing_time
        if sample_us > arrived_us:
            return "from the future"
        horizon_us = arrived_us - self.delay_max_ms * 1e3
        if horizon_us - sample_us >= 1e5:
            return "older than the buffer"
        return ""


@dataclass
class ArdupilotVisualOdometry:
    """ArduPilot 4.6: `handle_odometry`, `AP_VisualOdom_MAV`, EKF3 `writeExtNavData`."""

    origin_deg: tuple[float, float]
    quality_min: int = 0
    noise_m: float = 0.2
    refused: list[str] = field(default_factory=list)
    fused: list[tuple[float, float, float]] = field(default_factory=list)
    """Latitude, longitude, standard deviation."""
    velocities: list[tuple[float, float]] = field(default_factory=list)
    resets: int = 0
    _reset_counter: int = 0
    _last_ms: int = -1000

    def take(self, message: Any) -> bool:
        if (message.frame_id, message.child_frame_id) != (20, 12):
            self.refused.append("frame")
            return False
        if message.quality < self.quality_min:
            self.refused.append("quality")
            return False
        if math.isnan(message.x) or math.isnan(message.y) or math.isnan(message.z):
            self.refused.append("NaN")
            return False
        time_ms = message.time_usec // 1000
        if time_ms - self._last_ms < 20:
            self.refused.append("too soon")
            return False
        self._last_ms = time_ms
        if message.reset_counter != self._reset_counter:
            self._reset_counter = message.reset_counter
            self.resets += 1
        self.fused.append((*self._location(message.x, message.y), self._deviation_m(message)))
        if not any(map(math.isnan, (message.vx, message.vy, message.vz))):
            self.velocities.append((message.vx, message.vy))
        return True

    def _deviation_m(self, message: Any) -> float:
        covariance = message.pose_covariance
        error = 0.0
        if not math.isnan(covariance[0]):
            error = (covariance[0] ** 2 + covariance[6] ** 2 + covariance[11] ** 2) ** (1 / 3)
        return min(max(error, self.noise_m, 0.01), 10.0)

    def _location(self, north_m: float, east_m: float) -> tuple[float, float]:
        """`Location::offset`, with its sphere and its scale at the mean latitude."""
        per_degree = 111318.84502145034
        latitude_deg = self.origin_deg[0] + north_m / per_degree
        middle = math.radians((self.origin_deg[0] + latitude_deg) / 2)
        scale = max(math.cos(middle), 0.01)
        longitude_deg = self.origin_deg[1] + east_m / (per_degree * scale)
        return latitude_deg, (longitude_deg + 180.0) % 360.0 - 180.0


@dataclass
class ArdupilotGps:
    """ArduPilot 4.6: `AP_GPS_MAV::handle_msg` and EKF3's use of it."""

    velocities: list[tuple[float, float]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def take(self, message: Any) -> bool:
        if message.fix_type < 3:
            self.refused.append("no 3D fix")
            return False
        if message.time_week == 0:
            self.refused.append("no time")
            return False
        ignores_velocity = message.ignore_flags & 8
        self.velocities.append((0.0, 0.0) if ignores_velocity else (message.vn, message.ve))
        return True


@dataclass
class ArdupilotPositionReset:
    """ArduPilot 4.6: `handle_command_int_external_position_estimate`."""

    dead_reckons: bool = True
    accepted: list[tuple[float, float, float]] = field(default_factory=list)

    def take(self, message: Any) -> bool:
        if message.command != 43003 or not self.dead_reckons:
            return False
        if math.isnan(message.param3):
            raise FloatingPointError("a NaN accuracy crashed older ArduPilots")
        self.accepted.append((message.x / 1e7, message.y / 1e7, message.param3))
        return True
