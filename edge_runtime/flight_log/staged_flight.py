"""The directory that a flight fills: whole at the end, kept as cut off where the end fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.errors import OutputError
from edge_runtime.contract.flight_directory import FLIGHT_KIND
from edge_runtime.outputs.fix_log import JSON_LINES_NAME

_LOG = logging.getLogger(__name__)


@contextmanager
def staged_flight(target: Path) -> Iterator[Path]:
    """A staged directory for a flight, of which an error leaves what was flown.

    A disk that is full when the track is drawn or the manifest written must not cost the flight:
    as soon as there is a fix, the directory stays as a flight that was cut off, which replay,
    export and score find by the name it was to have and `edge_runtime recover` finishes. The
    later of two flights that were flown at once by one name lies whole beside the first.

    Raises:
        OutputError: As `staged_directory`; or if another flight took the name in the meantime.
    """
    with staged_directory(target, FLIGHT_KIND) as staging:
        before = _identity(target)
        try:
            yield staging
        except BaseException:
            if _has_fixes(staging):
                _keep(staging, target)
            raise
        if _identity(target) not in (before, None):
            beside = _keep_beside(staging, target)
            raise OutputError(
                f"{target} was written by another flight in the meantime: this one is {beside}"
            )


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _has_fixes(folder: Path) -> bool:
    try:
        return (folder / JSON_LINES_NAME).stat().st_size > 0
    except OSError:
        return False


def _keep_beside(staging: Path, target: Path) -> Path:
    stem, number = target.name.removesuffix(".flight"), 2
    while (beside := target.with_name(f"{stem}-{number}.flight")).exists():
        number += 1
    staging.rename(beside)
    return beside


def _keep(staging: Path, target: Path) -> None:
    """Move the directory out of the way of its removal; that needs no space on the disk."""
    number = int(time.time())
    while (kept := staging.with_name(f".{target.name}.{number}.part")).exists():
        number += 1
    with suppress(OSError):
        staging.rename(kept)
        _LOG.warning(
            "the flight could not be finished, what was flown is kept: edge_runtime recover %s",
            target,
        )
