"""How a flight's monotonic clock stands to UTC."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_LOG = logging.getLogger(__name__)

_MOVED_S = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class ClockAnchor:
    """Both clocks at one moment."""

    monotonic_s: float
    unix_s: float

    @property
    def difference_s(self) -> float:
        """UTC less the monotonic clock."""
        return self.unix_s - self.monotonic_s


class FlightClock:
    """Turns a live flight's times into UTC by the last setting of the machine's clock.

    A companion computer without a battery boots with an old date and is set right in flight, so
    that the last anchor is the best. Recordings have no anchor, and no UTC.
    """

    def __init__(self, anchors: Sequence[ClockAnchor]) -> None:
        self.anchor = anchors[-1] if anchors else None
        """The last setting of the clock; None for a recording."""
        self.moved_s = anchors[-1].difference_s - anchors[0].difference_s if anchors else 0.0
        """How far the machine's clock was moved during the flight."""

    def utc(self, time_s: float) -> datetime | None:
        """A moment of the flight in UTC; None where nothing tells."""
        if self.anchor is None:
            return None
        try:
            return _EPOCH + timedelta(seconds=time_s + self.anchor.difference_s)
        except (OverflowError, ValueError):
            return None

    def warn_if_moved(self) -> None:
        """Say so where the machine's clock was set during the flight."""
        if abs(self.moved_s) > _MOVED_S:
            _LOG.warning(
                "the machine's clock was moved by %.1f s in flight: times are by its last setting",
                self.moved_s,
            )
