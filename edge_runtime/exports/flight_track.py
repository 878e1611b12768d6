"""A flight's published positions, cut where the track has a gap."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edge_runtime.contract.artefact import MANIFEST_NAME
from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix, Position
from edge_runtime.flight_log.clock import FlightClock
from edge_runtime.flight_log.folder import flight_folder, log_files
from edge_runtime.flight_log.reader import FlightLog, open_flight_log
from edge_runtime.outputs.fix_log import JSON_LINES_NAME, read_fix_lines

_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class TrackPoint:
    """A published position with its moment."""

    fix: Fix
    position: Position
    utc: datetime | None
    """None where the flight had no wall clock: a recording."""


@dataclass(frozen=True)
class FlightTrack:
    """A flight as a map program shows it."""

    name: str
    fixes: list[Fix]
    """All fixes, those without a position too."""
    segments: list[list[TrackPoint]]
    """Runs of positions; between two of them there was none, or the track was found anew."""
    clock: FlightClock

    def utc(self, time_s: float) -> str | None:
        """A time of the flight as text in UTC; None where nothing tells."""
        moment = self.clock.utc(time_s)
        return None if moment is None else utc_text(moment)

    @property
    def points(self) -> list[TrackPoint]:
        """All points in their order."""
        return [point for segment in self.segments for point in segment]


def read_track(path: Path) -> FlightTrack:
    """The track of a flight directory, finished or cut off, or of one log file.

    Raises:
        SourceError: If it cannot be read or a position in it lies nowhere on Earth.
    """
    if path.is_file():
        log: FlightLog | None = open_flight_log(path)
        folder, fixes = path, None
    else:
        folder = flight_folder(path)
        has_lines = (folder / JSON_LINES_NAME).is_file()
        log = FlightLog(folder, log_files(folder)) if has_log(folder) else None
        fixes = None
        if has_lines or log is None:
            is_cut_off = not (folder / MANIFEST_NAME).exists()
            fixes = read_fix_lines(folder / JSON_LINES_NAME, is_cut_off=is_cut_off)
    if fixes is None and log is not None:
        fixes = log.fixes
        log.warn_of_damage()
    if not fixes:
        raise SourceError(f"{folder} holds no fixes")
    clock = FlightClock([]) if log is None else log.clock
    clock.warn_if_moved()
    name = path.name.removesuffix(".flight").removesuffix(".mcap")
    return FlightTrack(name, fixes, segments_of(fixes, clock), clock)


def has_log(folder: Path) -> bool:
    """Whether a flight directory has log files."""
    try:
        return bool(log_files(folder))
    except SourceError:
        return False


def segments_of(fixes: Sequence[Fix], clock: FlightClock) -> list[list[TrackPoint]]:
    """Runs of published positions of the same track.

    Raises:
        SourceError: If a position lies nowhere on Earth.
    """
    segments: list[list[TrackPoint]] = []
    last: Fix | None = None
    for fix in fixes:
        position = fix.position
        if position is not None:
            _check(fix, position)
            point = TrackPoint(fix, position, clock.utc(fix.time_s))
            goes_on = (
                last is not None
                and last.position is not None
                and last.reset_counter == fix.reset_counter
            )
            if goes_on:
                segments[-1].append(point)
            else:
                segments.append([point])
        last = fix
    return segments


def utc_text(moment: datetime) -> str:
    """A moment as GPX, KML and ISO 8601 write it, to the millisecond."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def xml_text(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return _NOT_IN_XML.sub("", text)


def _check(fix: Fix, position: Position) -> None:
    latitude_deg, longitude_deg = position.latitude_deg, position.longitude_deg
    if not (abs(latitude_deg) <= 90.0 and abs(longitude_deg) <= 180.0):
        raise SourceError(f"frame {fix.frame} lies nowhere: {latitude_deg}, {longitude_deg}")
    if not 0.0 <= position.radius95_m < math.inf:
        raise SourceError(f"frame {fix.frame} has an impossible radius: {position.radius95_m} m")
