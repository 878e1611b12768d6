"""The log's files one after another: when to begin a new one, when to pause, what to delete."""

from __future__ import annotations

import logging
import shutil
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_runtime.flight_log import channels
from edge_runtime.flight_log.channels import Topic
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.flight_log.log_file import LogFile, log_file_name
from edge_runtime.flight_log.retention import delete_oldest_flights, size_of_flights_bytes

_LOG = logging.getLogger(__name__)

_COMMIT_S = 0.5
_COMMIT_BYTES = 4 << 20
_DURABLE_S = 5.0
_DISK_CHECK_S = 5.0
_RETENTION_S = 60.0
_RESUME_SHARE = 1.1
_MOST_TO_TELL = 100


class RotatingLog:
    """Writes messages to files of bounded size. Used by one thread; it never raises OSError.

    While the disk is full or broken nothing is written and messages are counted as lost; when
    there is room again, the log goes on in a new file, which says how many.
    """

    def __init__(
        self, folder: Path, config: FlightLogConfig, header: dict[str, Any], time_ns: int
    ) -> None:
        self._folder = folder
        self._config = config
        self._header = header
        self._file: LogFile | None = None
        self._number = 0
        self._opened_s = self._committed_s = self._durable_s = 0.0
        self._next_check_s = 0.0
        self._next_retention_s = 0.0
        self._uncommitted_bytes = self._uncommitted = 0
        self._finished_bytes = 0
        self._told_lost = 0
        self._last_time_ns = time_ns
        self._camera: bytes | None = None
        self._to_tell: deque[bytes] = deque(maxlen=_MOST_TO_TELL)
        self.keeps_pictures = True
        """False once the flight alone takes all the space that flights may have."""
        self.written = 0
        self.lost = 0
        self.fault = ""

    @property
    def total_bytes(self) -> int:
        """Size of all files until now."""
        return self._finished_bytes + (0 if self._file is None else self._file.size_bytes)

    def start(self) -> None:
        """Make room and open the first file."""
        self._check_disk(time.monotonic())

    def add(self, topic: Topic, time_ns: int, content: bytes, sequence: int = 0) -> None:
        """Append a message, or count it as lost."""
        self._last_time_ns = time_ns
        if self._file is None:
            self.lost += 1
            return
        self._file.add(topic, time_ns, content, sequence)
        self.written += 1
        self._uncommitted += 1
        self._uncommitted_bytes += len(content)
        if self._uncommitted_bytes > _COMMIT_BYTES:
            self._commit(time.monotonic())

    def begin_with_camera(self, time_ns: int, content: bytes) -> None:
        """The camera's message, for this file and at the beginning of all to come."""
        self._camera = content
        self.add(channels.CAMERA, time_ns, content)

    def tick(self, now_s: float) -> None:
        """Do what is due by time; called a few times a second at least."""
        if self._uncommitted_bytes and now_s - self._committed_s >= _COMMIT_S:
            self._commit(now_s)
        if self._file is not None and (
            self._file.size_bytes + self._uncommitted_bytes >= self._config.max_file_mb * 1e6
            or now_s - self._opened_s >= self._config.max_file_minutes * 60.0
        ):
            self._finish_file()
            self._next_retention_s = now_s
            self._check_disk(now_s)
        elif now_s >= self._next_check_s:
            self._check_disk(now_s)

    def finish(self) -> None:
        """Finish the last file."""
        self._finish_file()

    def give_up(self, reason: str) -> None:
        """Write nothing more."""
        self._next_check_s = float("inf")
        self._pause(reason)

    def _check_disk(self, now_s: float) -> None:
        self._next_check_s = now_s + _DISK_CHECK_S
        try:
            if now_s >= self._next_retention_s:
                self._next_retention_s = now_s + _RETENTION_S
                self._delete_old_flights()
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError as error:
            self._pause(error.strerror or str(error))
            return
        least_bytes = self._config.min_free_mb * 1e6
        if self._file is not None:
            if free_bytes < least_bytes:
                self._pause(_too_full(free_bytes, least_bytes))
        elif free_bytes >= least_bytes * (_RESUME_SHARE if self.fault else 1.0):
            self._open_file(now_s)
        else:
            self._pause(_too_full(free_bytes, least_bytes))

    def _delete_old_flights(self) -> None:
        if not self._config.max_total_mb:
            return
        most_bytes = int(self._config.max_total_mb * 1e6)
        deleted = delete_oldest_flights(self._folder.parent, most_bytes, keep=self._folder)
        for name in deleted:
            _LOG.info("deleted the flight %s to make room", name)
            self._event(f"deleted the flight {name} to make room", "info")
        alone = size_of_flights_bytes(self._folder.parent) > most_bytes
        if alone and self.keeps_pictures:
            self.keeps_pictures = False
            text = (
                "pictures are no longer logged: the flight alone takes the "
                f"{self._config.max_total_mb:g} MB that flights may have (log.max_total_mb)"
            )
            _LOG.warning("%s", text)
            self._event(text, "warning")

    def _open_file(self, now_s: float) -> None:
        while (self._folder / log_file_name(self._number + 1)).exists():
            self._number += 1
        try:
            self._file = LogFile(self._folder / log_file_name(self._number + 1), self._header)
        except OSError as error:
            with suppress(OSError):
                (self._folder / log_file_name(self._number + 1)).unlink()
            self._pause(error.strerror or str(error))
            return
        self._number += 1
        self._opened_s = self._committed_s = self._durable_s = now_s
        if self._camera is not None:
            self.add(channels.CAMERA, self._last_time_ns, self._camera)
        while self._to_tell:
            self.add(channels.EVENT, self._last_time_ns, self._to_tell.popleft())
        if self.fault or self.lost > self._told_lost:
            lost = self.lost - self._told_lost
            why = f" ({self.fault})" if self.fault else ""
            self._event(f"the log paused{why}: {lost} messages are not in it", "warning")
            if self.fault:
                _LOG.warning("the flight log goes on; %d messages are not in it", lost)
            self._told_lost, self.fault = self.lost, ""

    def _commit(self, now_s: float) -> None:
        if self._file is None:
            return
        durable = now_s - self._durable_s >= _DURABLE_S
        try:
            self._file.commit(durable=durable)
        except OSError as error:
            self._pause(error.strerror or str(error))
            return
        self._committed_s = now_s
        self._uncommitted_bytes = self._uncommitted = 0
        if durable:
            self._durable_s = now_s

    def _finish_file(self) -> None:
        try:
            self._close_file()
        except OSError as error:
            self._pause(error.strerror or str(error))

    def _close_file(self) -> None:
        """Finish the file, if there is one; what it cannot take any more is counted as lost."""
        if self._file is None:
            return
        file, self._file = self._file, None
        uncommitted, self._uncommitted, self._uncommitted_bytes = self._uncommitted, 0, 0
        try:
            file.finish()
        except OSError:
            self.written -= uncommitted
            self.lost += uncommitted
            raise
        finally:
            self._finished_bytes += _size_of(file.path)

    def _pause(self, reason: str) -> None:
        with suppress(OSError):
            self._close_file()
        if not self.fault:
            _LOG.warning(
                "the flight log pauses, the flight goes on without it: %s (%s)",
                reason,
                self._folder,
            )
        self.fault = reason

    def _event(self, text: str, level: str) -> None:
        """Tell people; where no file is open the next one begins with it."""
        content = channels.event_content(text, level, self._last_time_ns)
        if self._file is None:
            self._to_tell.append(content)
        else:
            self.add(channels.EVENT, self._last_time_ns, content)


def _too_full(free_bytes: float, least_bytes: float) -> str:
    return (
        f"the disk has {free_bytes / 1e6:.0f} MB free, "
        f"log.min_free_mb keeps {least_bytes / 1e6:.0f} MB"
    )


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
