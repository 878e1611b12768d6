"""One MCAP file of a flight log, written so that its whole chunks survive any end."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from mcap.writer import CompressionType, Writer

from edge_runtime import __version__
from edge_runtime.flight_log.channels import HEADER_METADATA, LOG_PROFILE, TOPICS, Topic

_CHUNK_BYTES = 1 << 20
_COMMIT_BYTES = 4 << 20
FILE_SUFFIX = ".mcap"


def log_file_name(number: int) -> str:
    """The name of a flight's log file, counted from 1."""
    return f"log-{number:04d}{FILE_SUFFIX}"


class LogFile:
    """Takes messages and hands them to the disk in whole chunks.

    The file stays locked while it is written, so that nobody takes the flight for a finished one.

    Raises:
        OSError: If the disk does not take it; what was handed over before is intact.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self._disk = _WholeWrites(path)
        self._writer = Writer(
            cast(IO[Any], self._disk), chunk_size=_CHUNK_BYTES, compression=CompressionType.ZSTD
        )
        self._writer.start(profile=LOG_PROFILE, library=f"dmnil-edge {__version__}")
        self._channels = {topic.name: self._register(topic) for topic in TOPICS}
        self._writer.add_metadata(HEADER_METADATA, {"json": json.dumps(header)})
        try:
            self.commit()
        except OSError:
            self.abandon()
            raise

    @property
    def size_bytes(self) -> int:
        """Bytes on the disk and on their way there."""
        return self._disk.tell()

    def add(self, topic: Topic, time_ns: int, content: bytes, sequence: int = 0) -> None:
        """Append a message to the chunk in the making."""
        time_ns = max(0, min(time_ns, 2**63 - 1))
        self._writer.add_message(
            self._channels[topic.name], time_ns, content, time_ns, sequence & 0xFFFFFFFF
        )

    def commit(self, *, durable: bool = False) -> None:
        """Finish the chunk and give everything to the operating system.

        Args:
            durable: Wait until it is on the disk, safe from a power cut.
        """
        self._writer.flush()  # type: ignore[no-untyped-call]
        self._disk.commit(durable=durable)

    def commit_if_large(self) -> None:
        """Give finished chunks to the operating system once they are some megabytes."""
        if self._disk.pending_bytes > _COMMIT_BYTES:
            self._disk.commit(durable=False)

    def finish(self) -> None:
        """Write the summary and close."""
        try:
            self._writer.finish()  # type: ignore[no-untyped-call]
            self._disk.commit(durable=True)
        finally:
            self._disk.close()

    def abandon(self) -> None:
        """Close without a summary; the chunks committed until now can be read."""
        self._disk.close()

    def _register(self, topic: Topic) -> int:
        schema = self._writer.register_schema(
            topic.schema_name, topic.schema_encoding, topic.schema
        )
        return self._writer.register_channel(topic.name, topic.message_encoding, schema)


class _WholeWrites:
    """A stream that keeps what is written until `commit`, and takes a failed commit back."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._is_locked = False
        self._pending = bytearray()
        self._committed = 0
        self._lock()

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def tell(self) -> int:
        return self._committed + len(self._pending)

    @property
    def pending_bytes(self) -> int:
        return len(self._pending)

    def flush(self) -> None:
        """Nothing: only `commit` reaches the disk."""

    def commit(self, *, durable: bool) -> None:
        if not self._is_locked:  # somebody who looked whether it is written held it for a moment
            self._lock()
        left = memoryview(bytes(self._pending))
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
            if durable:
                os.fdatasync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._committed)
            raise
        self._committed += len(self._pending)
        self._pending = bytearray()

    def _lock(self) -> None:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._is_locked = True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
