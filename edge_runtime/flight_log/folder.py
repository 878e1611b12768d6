"""Finds a flight by the name that a person gives: finished, or cut off before its end."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_runtime.contract.errors import SourceError
from edge_runtime.flight_log.retention import (
    LOG_FILES,
    flight_without_log,
    is_being_written,
    stored_flight,
)

_LOG = logging.getLogger(__name__)


def flight_folder(path: Path) -> Path:
    """The flight's directory; a warning says so where the flight never ended.

    A flight that was cut off (power, kill -9) lies beside the name it was to have, hidden:
    `NAME.flight` is found in `.NAME.flight.PID.part`, the newest if there are several.

    Raises:
        SourceError: If there is no such flight.
    """
    if path.is_dir():
        found = stored_flight(path)
        if found is not None and not found.is_finished:
            _LOG.warning("%s was never finished: what was logged until its end is read", path)
        return path
    left = unfinished_flights(path)
    if not left:
        raise SourceError(f"{path}: no such flight directory")
    _LOG.warning("%s was never finished: reading what was logged until its end, %s", path, left[-1])
    return left[-1]


def unfinished_flights(path: Path) -> list[Path]:
    """Directories of flights that were to be called so and were cut off, the oldest first."""
    try:
        beside = sorted(path.absolute().parent.glob(f".{_literal(path.name)}.*.part"))
    except (OSError, ValueError):
        return []
    found = [stored_flight(folder) or flight_without_log(folder) for folder in beside]
    flights = [flight for flight in found if flight is not None]
    flights = [flight for flight in flights if not is_being_written(flight)] or flights
    return [flight.folder for flight in sorted(flights, key=lambda flight: flight.last_written_s)]


def log_files(folder: Path) -> list[Path]:
    """A flight's log files in their order.

    Raises:
        SourceError: If there are none.
    """
    files = sorted(folder.glob(LOG_FILES)) if folder.is_dir() else []
    if not files:
        raise SourceError(
            f"{folder} holds no {LOG_FILES}: it was flown without a log, or it is no flight"
        )
    return files


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
