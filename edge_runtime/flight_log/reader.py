"""Reads a flight log back: what it held, in the order in which it happened."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_runtime.contract.errors import DmnilError, SourceError
from edge_runtime.contract.fix import Fix
from edge_runtime.flight_log import channels
from edge_runtime.flight_log.clock import ClockAnchor, FlightClock
from edge_runtime.flight_log.compressed_image import picture_of
from edge_runtime.flight_log.folder import flight_folder, log_files
from edge_runtime.flight_log.header import FlightHeader, header_from_plain
from edge_runtime.flight_log.mcap_records import FileState, LoggedMessage, read_messages
from edge_runtime.flight_log.plain_values import from_plain
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.outputs.fix_log import MALFORMED, fix_from_plain
from edge_runtime.outputs.output import SentMessage
from edge_runtime.telemetry.log import TelemetrySample

_LOG = logging.getLogger(__name__)

_MALFORMED = (*MALFORMED, DmnilError)


@dataclass(frozen=True)
class LoggedFrame:
    """A frame as it was flown."""

    sequence: int
    """Its count from 0; a gap is a frame that is not in the log."""
    name: str
    number: int | None
    time_s: float | None
    sample: TelemetrySample | None
    """None for a frame that was not flown."""
    picture: bytes | None
    """JPEG or PNG; None where the log has none."""
    is_as_flown: bool
    """Whether the picture is the one that was flown, and not one coded for the log alone."""


@dataclass(frozen=True)
class LoggedEvent:
    """News for people."""

    text: str
    level: int
    time_ns: int


@dataclass(frozen=True)
class LoggedCounters:
    """Counts of the flight's parts."""

    values: dict[str, Any]
    time_ns: int


@dataclass(frozen=True)
class LoggedDecision:
    """What the localiser weighed for the fix of a frame."""

    frame: str
    values: dict[str, Any]


LogEntry = (
    LoggedFrame
    | LoggedDecision
    | Fix
    | SentMessage
    | LoggedEvent
    | LoggedCounters
    | PinholeCamera
    | ClockAnchor
)


@dataclass
class FlightLog:
    """A flight's log files, read from the beginning as often as wanted.

    Args:
        folder: The directory that holds them.
    """

    folder: Path
    files: list[Path]
    damage: list[str] = field(default_factory=list)
    """What could not be read in the last complete reading, a line each."""

    @cached_property
    def header(self) -> FlightHeader:
        """What flew.

        Raises:
            SourceError: If no file tells.
        """
        for file in self.files:
            state = FileState()
            for _ in read_messages(file, state):
                break
            if state.header_json:
                try:
                    return header_from_plain(json.loads(state.header_json))
                except _MALFORMED as error:
                    raise SourceError(
                        f"{file} was written by another release, or is damaged: {_line(error)}"
                    ) from error
        raise SourceError(f"{self.folder}: no log file can be read far enough to tell what flew")

    def entries(self, *, pictures: bool = True) -> Iterator[LogEntry]:
        """Everything, in the order of writing.

        Args:
            pictures: Whether frames bring their pictures.
        Raises:
            SourceError: If a file cannot be opened, or an entry is not what a log holds.
        """
        damage: list[str] = []
        for file in self.files:
            state = FileState()
            picture: LoggedMessage | None = None
            for message in read_messages(file, state):
                if message.topic == channels.IMAGE.name:
                    picture = message
                    continue
                try:
                    entry = _entry_of(message, picture if pictures else None)
                except _MALFORMED as error:
                    raise SourceError(
                        f"{file}: an entry of {message.topic} is malformed: {_line(error)}"
                    ) from error
                if entry is not None:
                    yield entry
            damage += state.damage
        self.damage = damage

    @cached_property
    def fixes(self) -> list[Fix]:
        """All fixes.

        Raises:
            SourceError: As `entries`.
        """
        return [entry for entry in self.entries(pictures=False) if isinstance(entry, Fix)]

    @cached_property
    def camera(self) -> PinholeCamera:
        """The camera that was flown.

        Raises:
            SourceError: If the log does not tell: no frame was flown.
        """
        for entry in self.entries(pictures=False):
            if isinstance(entry, PinholeCamera):
                return entry
        raise SourceError(f"{self.folder} does not tell the camera: no frame was flown")

    @cached_property
    def clock(self) -> FlightClock:
        """How the flight's clock stands to UTC."""
        return FlightClock(
            [entry for entry in self.entries(pictures=False) if isinstance(entry, ClockAnchor)]
        )

    def warn_of_damage(self) -> None:
        """Say what the last reading could not read."""
        for line in self.damage:
            _LOG.warning("%s", line)


def open_flight_log(path: Path) -> FlightLog:
    """The log of a flight directory, finished or not, or a single log file.

    Raises:
        SourceError: If there is none, or none of its files can be read.
    """
    if path.is_file():
        log = FlightLog(path.parent, [path])
    else:
        folder = flight_folder(path)
        log = FlightLog(folder, log_files(folder))
    _ = log.header
    return log


def _entry_of(message: LoggedMessage, picture: LoggedMessage | None) -> LogEntry | None:
    if message.topic == channels.POSITION.name:
        return None  # the fix says the same
    values = json.loads(message.content)
    if not isinstance(values, dict):
        raise TypeError("it is not an object")
    if message.topic == channels.FRAME.name:
        return _frame(values, message.sequence, picture)
    if message.topic == channels.FIX.name:
        return fix_from_plain(values)
    if message.topic == channels.DECISION.name:
        return LoggedDecision(_text(values["frame"]), values)
    if message.topic == channels.SENT.name:
        return SentMessage(
            _text(values["output"]),
            _text(values["name"]),
            base64.b64decode(_text(values["payload_base64"]), validate=True),
            float(values["time_s"]),
        )
    if message.topic == channels.EVENT.name:
        return LoggedEvent(_text(values["message"]), int(values["level"]), message.time_ns)
    if message.topic == channels.COUNTERS.name:
        return LoggedCounters(values, message.time_ns)
    if message.topic == channels.CAMERA.name:
        return from_plain(PinholeCamera, values)
    if message.topic == channels.CLOCK.name:
        return ClockAnchor(float(values["monotonic_s"]), float(values["unix_s"]))
    return None


def _frame(values: dict[str, Any], sequence: int, picture: LoggedMessage | None) -> LoggedFrame:
    number, time_s, telemetry = values["number"], values["time_s"], values["telemetry"]
    own = picture is not None and picture.sequence == sequence
    sample = None if telemetry is None else from_plain(TelemetrySample, telemetry)
    if sample is not None and not sample.is_finite:
        raise ValueError("telemetry that is no number")
    return LoggedFrame(
        sequence=sequence,
        name=_text(values["name"]),
        number=None if number is None else int(number),
        time_s=None if time_s is None else float(time_s),
        sample=sample,
        picture=picture_of(picture.content) if picture is not None and own else None,
        is_as_flown=values["picture"] == channels.AS_FLOWN,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
