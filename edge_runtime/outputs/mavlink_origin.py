"""The origin of the autopilot's local frame, and positions from it as the autopilot counts them."""

from __future__ import annotations

import math
from typing import Any

from edge_runtime.contract.fix import Position
from edge_runtime.outputs.publication import longitude_within_180

_METRES_PER_DEGREE = math.radians(6378100.0)
_SMALLEST_LONGITUDE_SCALE = 0.01


class LocalOrigin:
    """Where the autopilot says that its local frame begins (GPS_GLOBAL_ORIGIN)."""

    def __init__(self) -> None:
        self.place_deg: tuple[float, float] | None = None

    def take(self, message: Any) -> None:
        """Read a message of the autopilot; those of other types are left alone."""
        if message.get_type() != "GPS_GLOBAL_ORIGIN":
            return
        latitude_deg, longitude_deg = message.latitude / 1e7, message.longitude / 1e7
        is_set = (message.latitude, message.longitude) != (0, 0)
        if is_set and abs(latitude_deg) <= 90.0 and abs(longitude_deg) <= 180.0:
            self.place_deg = (latitude_deg, longitude_deg)

    @property
    def is_known(self) -> bool:
        """Whether the autopilot told its origin."""
        return self.place_deg is not None

    def forget(self) -> None:
        """The autopilot started anew: its frame may begin elsewhere."""
        self.place_deg = None


def north_east_m(origin_deg: tuple[float, float], position: Position) -> tuple[float, float]:
    """Metres from the origin on ArduPilot's flat earth (AP_Common, `Location`).

    ArduPilot turns the metres back into degrees by the same rule. True metres would not do: its
    sphere has the wrong radius by up to 0.7 %, 70 m at 10 km from the origin.
    """
    latitude_deg, longitude_deg = origin_deg
    middle_deg = (latitude_deg + position.latitude_deg) / 2.0
    scale = max(math.cos(math.radians(middle_deg)), _SMALLEST_LONGITUDE_SCALE)
    east_deg = longitude_within_180(longitude_within_180(position.longitude_deg) - longitude_deg)
    return (
        (position.latitude_deg - latitude_deg) * _METRES_PER_DEGREE,
        east_deg * _METRES_PER_DEGREE * scale,
    )
