"""Fixes as JSON over UDP: one datagram a fix, for programs of one's own.

| key | value |
| --- | --- |
| `schema`, `version` | `dmnil.fix`, 1: a later version may add keys, and changes none of these |
| `sequence` | counts datagrams from 0: a gap is a loss |
| `frame` | the frame's name |
| `state`, `reason` | the integrity state and why |
| `published`, `withheld` | whether the position may be used, and if not, why |
| `time_s` | the exposure, seconds on the sender's monotonic clock |
| `utc_s` | the exposure, seconds since 1970; null while the wall clock was never set |
| `age_s` | from exposure to sending |
| `position` | null, or `latitude_deg`, `longitude_deg` (WGS84), `radius95_m`, `deviation_m`, \
`variance_east_m2`, `variance_north_m2`, `covariance_east_north_m2` |
| `velocity` | null, or `east_m_s`, `north_m_s`, `standard_deviation_m_s` |
| `heading_deg`, `heading_standard_deviation_deg` | the camera's, clockwise from north, or null |
| `in_map_probability` | 0 to 1 |
| `reset_counter` | rises when the position jumps to another track |
| `latency_ms` | from exposure to the fix's leaving the localiser, or null |
| `engine_fault` | what is wrong with the engine; empty |

Numbers that are not finite are null.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix, Position
from edge_runtime.outputs.nmea_lines import Line, UdpLine
from edge_runtime.outputs.output import SentMessage
from edge_runtime.outputs.publication import (
    PublicationRule,
    deviation_m,
    longitude_within_180,
    reason_to_withhold,
)
from edge_runtime.outputs.utc_clock import UtcClock

SCHEMA = "dmnil.fix"
VERSION = 1
_LONGEST_TEXT_BYTES = 100


@dataclass(frozen=True)
class JsonUdpConfig:
    """Where JSON datagrams go."""

    to: str | None = None
    """HOST:PORT, or none."""


class JsonUdpOutput:
    """Tells every fix, whatever its state; a position only where one may be used."""

    name = "json"

    def __init__(
        self,
        config: JsonUdpConfig,
        line: Line | None = None,
        longest_age_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        utc: UtcClock | None = None,
    ) -> None:
        self._line = _open(config.to) if line is None else line
        self._rule = PublicationRule(longest_age_s)
        self._now_s = clock
        self._utc = UtcClock() if utc is None else utc
        self._sequence = 0
        self.unsent = 0
        """Datagrams that the network did not take."""

    def publish(self, fix: Fix) -> list[SentMessage]:
        """Send a fix's datagram."""
        now_s = self._now_s()
        utc_s = self._utc.utc_s(fix.time_s)
        withheld = reason_to_withhold(fix, now_s, self._rule)
        payload = datagram(fix, self._sequence, now_s - fix.time_s, utc_s, withheld)
        self._sequence += 1
        if self._line.send(payload):
            return [SentMessage(self.name, SCHEMA, payload, now_s)]
        self.unsent += 1
        return []

    def tick(self, now_s: float) -> list[SentMessage]:
        """JSON sends nothing by time."""
        return []

    def close(self) -> None:
        """Release the socket."""
        self._line.close()


def datagram(
    fix: Fix, sequence: int, age_s: float, utc_s: float | None, withheld: str = ""
) -> bytes:
    """A fix in the form above, below the 1,472 bytes that no network splits.

    Args:
        withheld: Why the position may not be used; empty if it may.
    """
    position = None if withheld else fix.position
    velocity = fix.velocity
    content = {
        "schema": SCHEMA,
        "version": VERSION,
        "sequence": sequence,
        "frame": _short(fix.frame),
        "state": fix.state.value,
        "reason": _short(fix.reason),
        "published": position is not None,
        "withheld": withheld,
        "time_s": fix.time_s,
        "utc_s": utc_s,
        "age_s": age_s,
        "position": None if position is None else _place(position),
        "velocity": None
        if velocity is None
        else {
            "east_m_s": velocity.east_m_s,
            "north_m_s": velocity.north_m_s,
            "standard_deviation_m_s": velocity.standard_deviation_m_s,
        },
        "heading_deg": fix.heading_deg,
        "heading_standard_deviation_deg": fix.heading_standard_deviation_deg,
        "in_map_probability": fix.in_map_probability,
        "reset_counter": fix.reset_counter,
        "latency_ms": fix.latency_ms,
        "engine_fault": _short(fix.engine_fault),
    }
    return json.dumps(_finite(content), allow_nan=False, ensure_ascii=False).encode("utf-8")


def _short(text: str) -> str:
    """What fits of a text, without what JSON would have to spell out."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return printable.encode("utf-8", "replace")[:_LONGEST_TEXT_BYTES].decode("utf-8", "ignore")


def _place(position: Position) -> dict[str, float]:
    return {
        "latitude_deg": position.latitude_deg,
        "longitude_deg": longitude_within_180(position.longitude_deg),
        "radius95_m": position.radius95_m,
        "deviation_m": deviation_m(position),
        "variance_east_m2": position.variance_east_m2,
        "variance_north_m2": position.variance_north_m2,
        "covariance_east_north_m2": position.covariance_east_north_m2,
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _open(address: str | None) -> Line:
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ConfigError(f"outputs.json.to is HOST:PORT, not {address!r}")
    try:
        return UdpLine(host.removeprefix("[").removesuffix("]"), int(port))
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        raise ConfigError(f"outputs.json.to {address!r} is nowhere: {error}") from error
