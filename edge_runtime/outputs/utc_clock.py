"""UTC of moments on the monotonic clock, for receivers that want a date."""

from __future__ import annotations

import time
from collections.abc import Callable

_NEVER_SET_BEFORE_S = 1704067200.0  # 2024-01-01
_GPS_EPOCH_S = 315964800.0  # 1980-01-06
_LEAP_SECONDS_S = 18.0  # GPS time is ahead of UTC by this since 2017
_WEEK_S = 604800.0


class UtcClock:
    """The wall clock as it stands, carried to another moment by the monotonic clock.

    A computer without a battery-backed clock starts long ago: before 2024 there is no UTC.
    """

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s

    def utc_s(self, monotonic_s: float) -> float | None:
        """Seconds since 1970 at a moment; None while the wall clock was never set."""
        wall_s = self._wall_s()
        if wall_s < _NEVER_SET_BEFORE_S:
            return None
        return wall_s + (monotonic_s - self._monotonic_s())


def gps_week_and_ms(utc_s: float) -> tuple[int, int]:
    """GPS week number (never wrapped) and milliseconds into it of a UTC time."""
    gps_ms = round((utc_s - _GPS_EPOCH_S + _LEAP_SECONDS_S) * 1000.0)
    week, week_ms = divmod(gps_ms, round(_WEEK_S * 1000.0))
    return week, week_ms
