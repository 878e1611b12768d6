"""What an autopilot hears of the fixes, as a user sets it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edge_runtime.contract.errors import ConfigError

Feed = Literal["shadow", "px4", "ardupilot"]
ArdupilotMessage = Literal["odometry", "gps_input", "position_reset"]

_DEVIATION_M = 60.0
_ODOMETRY_DEVIATION_M = 25.0


@dataclass(frozen=True)
class MavlinkOutputConfig:
    """What an autopilot hears of the fixes."""

    feed: Feed = "shadow"
    """shadow: heartbeat, status texts and a radius to plot, nothing that an estimator fuses.
    px4 and ardupilot: positions too, which the autopilot flies by if its parameters say so
    (`edge_runtime params`)."""
    ardupilot_message: ArdupilotMessage = "odometry"
    """How ArduPilot is fed: odometry (needs 4 fixes a second), gps_input (in place of a GPS;
    only fixes with the filter's velocity), or position_reset (a command now and then, taken only
    while the autopilot dead-reckons)."""
    coasting: Literal["feed", "withhold"] = "feed"
    """What becomes of positions that odometry alone carries."""
    coasting_growth: float = 2.0
    """While coasting, the stated deviation is this many times the filter's: it may be on the
    wrong track altogether, which no deviation of the right one tells."""
    largest_deviation_m: float | None = None
    """Positions less certain than this standard deviation are kept back: 60 m unless given, and
    25 m for ArduPilot's odometry, of which EKF3 (up to 4.6 at least) counts no position as less
    certain than 10 m, whatever it is told."""
    sensor_id: int = 1
    """Of GLOBAL_POSITION_SENSOR: PX4's EKF2_AGP0_ID must be the same."""
    gps_id: int = 0
    """Of GPS_INPUT: the autopilot's GPS instance, from 0."""
    origin: tuple[float, float, float] | None = None
    """Latitude, longitude (degrees) and altitude above sea level (m) to give to an ArduPilot
    that has no origin of its own yet; its own is used wherever it has one."""
    odometry_velocity: bool = False
    """Send the filter's velocity in ODOMETRY as well (EK3_SRCn_VELXY 6)."""
    position_reset_s: float = 30.0
    """With position_reset: seconds between two commands on one track; a new track is told at
    once."""
    status_interval_s: float = 2.0
    """Shortest time between two status texts."""

    def __post_init__(self) -> None:
        if not 1.0 <= self.coasting_growth < math.inf:
            raise ConfigError("outputs.mavlink.coasting_growth must be 1 or more")
        if self.largest_deviation_m is not None and not self.largest_deviation_m > 0.0:
            raise ConfigError("outputs.mavlink.largest_deviation_m must be above 0")
        if not 1 <= self.sensor_id <= 255 or not 0 <= self.gps_id <= 255:
            raise ConfigError("outputs.mavlink: sensor_id is 1 to 255, gps_id 0 to 255")
        if not (self.position_reset_s > 0.0 and self.status_interval_s >= 0.0):
            raise ConfigError("outputs.mavlink: intervals must be above 0 s")
        if self.origin is not None and not (
            abs(self.origin[0]) <= 90.0
            and abs(self.origin[1]) <= 180.0
            and abs(self.origin[2]) <= 10_000.0
        ):
            raise ConfigError(
                "outputs.mavlink.origin is latitude and longitude in degrees, altitude in m"
            )

    @property
    def feeds_odometry(self) -> bool:
        """Whether ODOMETRY is what the autopilot is fed by."""
        return self.feed == "ardupilot" and self.ardupilot_message == "odometry"

    @property
    def deviation_limit_m(self) -> float:
        """Beyond this standard deviation no position is fed."""
        if self.largest_deviation_m is not None:
            return self.largest_deviation_m
        return _ODOMETRY_DEVIATION_M if self.feeds_odometry else _DEVIATION_M
