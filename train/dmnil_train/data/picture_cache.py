"""Decoded pictures on disk: one array, a JSON file beside it that says what it was made from.

The JSON file is written last and names the array's size, so that a preparation that was killed
leaves nothing that is taken for whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from edge_runtime.contract.errors import OutputError

logger = logging.getLogger(__name__)

_VERSION = 1
"""To be raised with every change of what prepared pictures hold."""
_DIGEST_LENGTH = 16
_PART = ".part"


@dataclass(frozen=True)
class CachedPictures:
    """Pictures (N, H, W, 3), opened memory-mapped, and what was noted when they were made."""

    pictures: npt.NDArray[np.uint8]
    notes: dict[str, Any]


class PictureWriter:
    """Appends pictures of one size to an array whose length is known at the end."""

    def __init__(self, stream: IO[bytes], height: int, width: int) -> None:
        self._stream = stream
        self._shape = (height, width, 3)
        self.count = 0
        self._header_length = stream.write(self._header())

    def append(self, picture: npt.NDArray[np.uint8]) -> None:
        """Add one (H, W, 3) picture."""
        if picture.shape != self._shape or picture.dtype != np.uint8:
            raise ValueError(f"expected {self._shape} uint8, got {picture.shape} {picture.dtype}")
        self._stream.write(np.ascontiguousarray(picture).data)
        self.count += 1

    def finish(self) -> None:
        """Put the true length into the header."""
        header = self._header()
        if len(header) != self._header_length:  # NumPy leaves room for any number of pictures
            raise ValueError(f"the header grew from {self._header_length} bytes to {len(header)}")
        self._stream.seek(0)
        self._stream.write(header)
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _header(self) -> bytes:
        buffer = io.BytesIO()
        shape = (self.count, *self._shape)
        fields = {"descr": "|u1", "fortran_order": False, "shape": shape}
        npy_format.write_array_header_1_0(buffer, fields)
        return buffer.getvalue()


def cached_pictures(
    folder: Path,
    label: str,
    made_from: Mapping[str, Any],
    size: tuple[int, int],
    most: int,
    make: Callable[[PictureWriter], Mapping[str, Any]],
) -> CachedPictures:
    """The pictures that were made from the same before, or those that `make` now writes.

    One process at a time makes pictures in a folder; others that want the same wait and use them.

    Args:
        label: Start of the files' names.
        made_from: Plain JSON values; any difference makes the pictures anew.
        size: Height and width of every picture.
        most: How many pictures there may be, to see whether the disk holds them.
        make: Writes pictures and returns what to note about them, in plain JSON values.

    Raises:
        OutputError: If the folder cannot be written, or lacks the room.
    """
    height, width = size
    source = {"version": _VERSION, "height": height, "width": width, **made_from}
    text = json.dumps(source, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    array_path = folder / f"{label}-{digest[:_DIGEST_LENGTH]}.npy"
    found = _whole(array_path, digest)
    if found is not None:
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder):
            found = _whole(array_path, digest)
            if found is not None:
                return found
            _require_room(folder, most * height * width * 3)
            _write(array_path, digest, source, size, make)
    except OSError as error:
        raise OutputError(
            f"decoded pictures cannot be kept in {folder}: {error.strerror or error}; choose "
            "another folder as cache"
        ) from error
    found = _whole(array_path, digest)
    if found is None:
        raise OutputError(f"{array_path} was changed while it was written: try again")
    return found


def _whole(array_path: Path, digest: str) -> CachedPictures | None:
    """What lies there, if all of it does."""
    try:
        entry = json.loads(array_path.with_suffix(".json").read_text(encoding="utf-8"))
        if entry["sha256_of_source"] != digest or entry["bytes"] != array_path.stat().st_size:
            return None
        notes = dict(entry["notes"])
        if not entry["pictures"]:
            return None
        pictures = np.load(array_path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return CachedPictures(pictures, notes)


def _write(
    array_path: Path,
    digest: str,
    source: Mapping[str, Any],
    size: tuple[int, int],
    make: Callable[[PictureWriter], Mapping[str, Any]],
) -> None:
    for left_over in array_path.parent.glob(f".*{_PART}"):  # of preparations that were killed
        left_over.unlink()
    array_part, entry_path = _part_of(array_path), array_path.with_suffix(".json")
    entry_part = _part_of(entry_path)
    try:
        with array_part.open("wb") as stream:
            writer = PictureWriter(stream, *size)
            notes = dict(make(writer))
            writer.finish()
        entry = {
            "sha256_of_source": digest,
            "bytes": array_part.stat().st_size,
            "pictures": writer.count,
            "source": dict(source),
            "notes": notes,
        }
        entry_part.write_text(json.dumps(entry, allow_nan=False) + "\n", encoding="utf-8")
        array_part.replace(array_path)
        entry_part.replace(entry_path)
    finally:
        array_part.unlink(missing_ok=True)
        entry_part.unlink(missing_ok=True)


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PART}")


def _require_room(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise OutputError(
            f"decoded pictures need {needed_bytes / 1e9:.1f} GB, {folder} has "
            f"{free_bytes / 1e9:.1f} GB free: choose another folder as cache, or a smaller input"
        )


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system takes back from a process that dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("waiting for another process that prepares pictures in %s", folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
