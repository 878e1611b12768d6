"""Bounded disk use across flights: the oldest of a folder go when they take too much space.

Only what this runtime wrote is ever deleted: files that a flight's manifest lists, and log files
by their header. Whatever else lies in a flight's directory stays, and the directory with it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_runtime.contract.artefact import MANIFEST_NAME, SIGNATURE_NAME
from edge_runtime.contract.flight_directory import (
    FLIGHT_KIND,
    SUMMARY_NAME,
    TRACK_PICTURE_NAME,
)
from edge_runtime.flight_log.channels import LOG_PROFILE
from edge_runtime.flight_log.log_file import FILE_SUFFIX

_LOG = logging.getLogger(__name__)

LOG_FILES = f"log-*{FILE_SUFFIX}"
_SMALL_OUTPUTS = (
    "fixes.jsonl",
    "fixes.csv",
    "fixes.geojson",
    TRACK_PICTURE_NAME,
    SUMMARY_NAME,
)
_LARGEST_MANIFEST_BYTES = 16 << 20
_HIDDEN_NAME = re.compile(r"\..+\.(?P<number>\d+)\.part")
_LARGEST_PID = 1 << 22
"""Linux' own limit; a flight that failed at its end is called after the time instead."""
_QUIET_S = 10.0
"""A flight in the air writes a fix a second at least, with or without a view."""
_MCAP_START = b"\x89MCAP0\r\n\x01"
_HEADER_PROFILE_AT = len(_MCAP_START) + 8


@dataclass(frozen=True)
class StoredFlight:
    """A flight directory of ours on the disk."""

    folder: Path
    files: tuple[Path, ...]
    """What we wrote, the manifest last."""
    size_bytes: int
    last_written_s: float
    is_finished: bool
    """Whether it has its manifest."""


def stored_flights(folder: Path) -> list[StoredFlight]:
    """Flights directly in a folder, finished or cut off, the oldest first.

    Raises:
        OSError: If the folder cannot be read.
    """
    found = [stored_flight(path) for path in folder.iterdir()]
    flights = [flight for flight in found if flight is not None]
    return sorted(flights, key=lambda flight: (flight.last_written_s, flight.folder.name))


def stored_flight(path: Path) -> StoredFlight | None:
    """What a directory holds of a flight of ours; None if it is something else."""
    if path.is_symlink() or not path.is_dir():
        return None
    try:
        listed = _listed_files(path)
        names = list(_own_files(path)) if listed is None else listed
        if not names:
            return None
        files = [file for file in names if file.is_file() and not file.is_symlink()]
        facts = [file.stat() for file in files]
    except OSError:
        return None
    if not files:
        return None
    return StoredFlight(
        folder=path,
        files=tuple(files),
        size_bytes=sum(fact.st_size for fact in facts),
        last_written_s=max(fact.st_mtime for fact in facts),
        is_finished=listed is not None,
    )


def flight_without_log(path: Path) -> StoredFlight | None:
    """A flight that was cut off and has fixes but no log: none was asked for, or the disk was full.

    Its name alone says that it is ours, so it is read and recovered, and never deleted.
    """
    if _HIDDEN_NAME.fullmatch(path.name) is None or path.is_symlink() or not path.is_dir():
        return None
    try:
        if (path / MANIFEST_NAME).exists() or (path / _SMALL_OUTPUTS[0]).stat().st_size == 0:
            return None
        if any(is_log_file(file) for file in path.glob(LOG_FILES)):
            return None
        files = [path / name for name in _SMALL_OUTPUTS if (path / name).is_file()]
        facts = [file.stat() for file in files]
    except OSError:
        return None
    size_bytes = sum(fact.st_size for fact in facts)
    last_written_s = max(fact.st_mtime for fact in facts)
    return StoredFlight(path, tuple(files), size_bytes, last_written_s, is_finished=False)


def delete_oldest_flights(folder: Path, most_bytes: int, keep: Path) -> list[str]:
    """Delete flights, the oldest first, until all of a folder's together take no more space.

    Args:
        keep: The current flight: counted, never deleted. Flights that are still being written
            by somebody else are not deleted either.
    Returns:
        Names of the directories that are gone.
    Raises:
        OSError: If the folder cannot be read.
    """
    flights = stored_flights(folder)
    total_bytes = sum(flight.size_bytes for flight in flights)
    deleted = []
    for flight in flights:
        if total_bytes <= most_bytes:
            break
        if flight.folder.absolute() == keep.absolute() or is_being_written(flight):
            continue
        try:
            _delete(flight)
        except OSError as error:
            _LOG.warning("%s cannot be deleted: %s", flight.folder, error.strerror or error)
            continue
        total_bytes -= flight.size_bytes
        deleted.append(flight.folder.name)
    return deleted


def size_of_flights_bytes(folder: Path) -> int:
    """Space that all flights of a folder take.

    Raises:
        OSError: If the folder cannot be read.
    """
    return sum(flight.size_bytes for flight in stored_flights(folder))


def is_being_written(flight: StoredFlight) -> bool:
    """Whether a running process holds one of its log files, or still adds fixes if it has none."""
    logs = [file for file in flight.files if file.suffix == FILE_SUFFIX]
    hidden = _HIDDEN_NAME.fullmatch(flight.folder.name)
    if not logs and hidden is not None:
        is_quiet = abs(time.time() - flight.last_written_s) >= _QUIET_S
        return int(hidden["number"]) <= _LARGEST_PID and not is_quiet
    return any(_is_locked(file) for file in logs)


def is_log_file(path: Path) -> bool:
    """Whether a file begins as a log file of ours does."""
    profile = LOG_PROFILE.encode()
    start = len(profile).to_bytes(4, "little") + profile
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEADER_PROFILE_AT + len(start))
    except OSError:
        return False
    return head.startswith(_MCAP_START) and head[_HEADER_PROFILE_AT:] == start


def _listed_files(folder: Path) -> list[Path] | None:
    """Files of a finished flight by its manifest; None if it has no manifest of a flight."""
    manifest = folder / MANIFEST_NAME
    if manifest.is_symlink() or not manifest.is_file():
        return None
    if manifest.stat().st_size > _LARGEST_MANIFEST_BYTES:
        return None
    try:
        values = json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.get("kind") != FLIGHT_KIND:
        return None
    names = values.get("files")
    if not isinstance(names, dict):
        return None
    plain = [name for name in names if name == Path(name).name and name not in ("", "..")]
    return [folder / name for name in (*plain, SIGNATURE_NAME, MANIFEST_NAME)]


def _own_files(folder: Path) -> Iterator[Path]:
    """Files of a flight that was cut off; nothing if it has no log file of ours."""
    logs = [file for file in sorted(folder.glob(LOG_FILES)) if is_log_file(file)]
    if logs and not (folder / MANIFEST_NAME).exists():
        yield from (folder / name for name in _SMALL_OUTPUTS)
        yield from logs


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _delete(flight: StoredFlight) -> None:
    for file in flight.files:
        file.unlink(missing_ok=True)
    with suppress(OSError):  # something of another's lies in it
        flight.folder.rmdir()
