"""What an output of fixes is: an autopilot link, a serial line, a socket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_runtime.contract.fix import Fix


@dataclass(frozen=True)
class SentMessage:
    """A message as it left, for the flight log."""

    output: str
    """The output that sent it: mavlink, nmea, json or ros2."""
    name: str
    """Its type: GLOBAL_POSITION_SENSOR, GGA, ..."""
    payload: bytes
    """Its bytes on the wire."""
    time_s: float
    """When it left, on `time.monotonic()`."""


class FixOutput(Protocol):
    """Takes every fix, published or not, and sends what its receiver should hear of it."""

    def publish(self, fix: Fix) -> list[SentMessage]:
        """Tell the receiver; what was sent, an empty list if nothing was.

        Never blocks for long and never raises for a receiver that is gone: that is counted.
        """
        ...

    def tick(self, now_s: float) -> list[SentMessage]:
        """Send what goes out by time (heartbeats); called a few times a second."""
        ...

    def close(self) -> None:
        """Release the line."""
        ...
