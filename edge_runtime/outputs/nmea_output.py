"""Fixes as NMEA 0183, for chart plotters, gpsd and autopilots with a GPS port."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix
from edge_runtime.outputs.nmea_lines import Line, open_line
from edge_runtime.outputs.nmea_sentences import sentences
from edge_runtime.outputs.output import SentMessage
from edge_runtime.outputs.publication import PublicationRule, reason_to_withhold
from edge_runtime.outputs.utc_clock import UtcClock

_ANOTHER_CLOCK_S = 86_400.0
"""A fix stamped this far from now, or with no number, is not of this clock."""


@dataclass(frozen=True)
class NmeaConfig:
    """Where NMEA goes, and what it says it is."""

    to: str | None = None
    """serial:DEVICE,BAUD, udp:HOST:PORT, or tcp:HOST:PORT to serve readers on; none if left
    out. What reads it as its GPS is fed by it, in shadow mode too."""
    talker: str = "GP"
    """Two letters before each sentence's name. GP is what most readers take; IN is an integrated
    navigator."""
    coasting: Literal["send", "withhold"] = "send"
    """What becomes of positions that odometry alone carries: sent as estimated, or kept back."""

    def __post_init__(self) -> None:
        if len(self.talker) != 2 or not (self.talker.isascii() and self.talker.isupper()):
            raise ConfigError("outputs.nmea.talker is two capital letters")


class NmeaOutput:
    """Sends GGA, RMC and GST of every new frame, without a position where none may leave."""

    name = "nmea"

    def __init__(
        self,
        config: NmeaConfig,
        line: Line | None = None,
        longest_age_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        utc: UtcClock | None = None,
    ) -> None:
        if line is None and config.to is None:
            raise ConfigError("outputs.nmea.to says where NMEA goes: none is given")
        self._line = open_line(config.to or "") if line is None else line
        self._talker = config.talker
        self._rule = PublicationRule(longest_age_s, coasting=config.coasting == "send")
        self._now_s = clock
        self._utc = UtcClock() if utc is None else utc
        self._told_s = float("-inf")
        self.unsent = 0
        """Sentences that nobody got."""

    def publish(self, fix: Fix) -> list[SentMessage]:
        """Send a fix's sentences; nothing for a frame that is not newer than the last."""
        now_s = self._now_s()
        if fix.time_s <= self._told_s or not abs(now_s - fix.time_s) < _ANOTHER_CLOCK_S:
            return []
        reason = reason_to_withhold(fix, now_s, self._rule)
        if reason in ("stale", "stamped in the future"):
            return []
        self._told_s = fix.time_s
        sent = []
        position = None if reason else fix.position
        for name, payload in sentences(fix, position, self._utc.utc_s(fix.time_s), self._talker):
            if self._line.send(payload):
                sent.append(SentMessage(self.name, name, payload, now_s))
            else:
                self.unsent += 1
        return sent

    def tick(self, now_s: float) -> list[SentMessage]:
        """NMEA sends nothing by time."""
        return []

    def close(self) -> None:
        """Release the line."""
        self._line.close()
