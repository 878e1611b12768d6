"""The descriptors of a map in the making, on disk as they come, safe against being cut off.

Two raw files grow block by block; a journal gains a line after each block, with a checksum of what
was appended. Whatever is behind the last line whose bytes are whole was never finished: it is cut
off, and those blocks are described again.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dmnil_maps.describing import DescribedBlock

logger = logging.getLogger(__name__)

RAW_TILE_DTYPE = np.dtype(
    [
        ("level", "<u2"),
        ("lattice_row", "<u4"),
        ("lattice_column", "<u4"),
        ("contrast", "<f4"),
        ("digest", "<u8"),
    ]
)
"""A tile whose descriptor stands in the same row of the raw descriptors."""
_TILES = "tiles.raw"
_DESCRIPTORS = "descriptors.raw"
_JOURNAL = "journal.jsonl"
_MADE_FROM = "made_from.json"
_READ_BYTES = 1 << 24


def raw_tiles(level: int, block: DescribedBlock) -> npt.NDArray[np.void]:
    """A block's tiles (N,) as `RAW_TILE_DTYPE`."""
    tiles = np.zeros(len(block.lattice), RAW_TILE_DTYPE)
    tiles["level"] = level
    tiles["lattice_row"], tiles["lattice_column"] = block.lattice.T
    tiles["contrast"], tiles["digest"] = block.contrast, block.digests
    return tiles


class DescribedTiles:
    """Raw tiles and descriptors in a folder; open it as a context to append.

    Args:
        folder: Where they lie.
        descriptor_size: Values of the encoder's descriptors.
        made_from: What decides the descriptors, as JSON takes it; another build's are discarded.
    """

    def __init__(self, folder: Path, descriptor_size: int, made_from: dict[str, Any]) -> None:
        self._paths = (folder / _TILES, folder / _DESCRIPTORS)
        self._journal_path = folder / _JOURNAL
        self._row_bytes = (RAW_TILE_DTYPE.itemsize, 2 * descriptor_size)
        self._size = descriptor_size
        self._streams: list[BinaryIO] = []
        self.done: set[int] = set()
        self.count = 0
        self.examined = 0
        self.encoder_s = 0.0
        made_from_path = folder / _MADE_FROM
        changed = _changed(made_from_path, made_from)
        if changed is None:
            self._take_up()
        else:
            if self._journal_path.exists():
                logger.warning(
                    "%s holds an unfinished build of other %s: starting again",
                    folder,
                    " and ".join(changed),
                )
            for path in (*self._paths, self._journal_path):
                path.unlink(missing_ok=True)
            made_from_path.write_text(json.dumps(made_from), encoding="utf-8")

    def append(self, number: int, level: int, block: DescribedBlock) -> None:
        """Add a block by its number; from here on it survives the process.

        Raises:
            OSError: If it cannot be written; the files are as good as before.
        """
        tiles = raw_tiles(level, block)
        contents = (tiles.tobytes(), block.descriptors.astype("<f2").tobytes())
        for stream, content in zip(self._streams, contents, strict=False):
            _write_whole(stream, content)
        entry = {
            "block": number,
            "tiles": len(tiles),
            "examined": block.examined,
            "encoder_s": round(block.encoder_s, 4),
            "crc32": [zlib.crc32(content) for content in contents],
        }
        _write_whole(self._streams[-1], json.dumps(entry).encode() + b"\n")
        self._note(entry)

    def tiles(self) -> npt.NDArray[np.void]:
        """(N,) of `RAW_TILE_DTYPE`, in the order in which they came."""
        return np.fromfile(self._paths[0], RAW_TILE_DTYPE, count=self.count)

    def descriptors(self) -> npt.NDArray[np.float16]:
        """(N, D) of the encoder, in the same order, memory-mapped."""
        return np.memmap(self._paths[1], "<f2", "r", shape=(self.count, self._size))

    def __enter__(self) -> DescribedTiles:
        # Unbuffered: what a killed process has written is in the kernel's hands.
        self._streams = [
            path.open("ab", buffering=0) for path in (*self._paths, self._journal_path)
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in self._streams:
            stream.close()

    def _note(self, entry: dict[str, Any]) -> None:
        self.done.add(entry["block"])
        self.count += entry["tiles"]
        self.examined += entry["examined"]
        self.encoder_s += entry["encoder_s"]

    def _take_up(self) -> None:
        """Count what is whole, and cut off what is not."""
        journal_bytes = 0
        with _opened([*self._paths, self._journal_path]) as (*streams, journal):
            for line in journal:
                entry = _entry_of(line)
                if entry is None or not self._is_whole(streams, entry):
                    break
                journal_bytes += len(line)
                self._note(entry)
            for stream, row_bytes in zip(streams, self._row_bytes, strict=True):
                stream.truncate(self.count * row_bytes)
            journal.truncate(journal_bytes)

    def _is_whole(self, streams: list[BinaryIO], entry: dict[str, Any]) -> bool:
        for stream, row_bytes, expected in zip(
            streams, self._row_bytes, entry["crc32"], strict=True
        ):
            left, checksum = entry["tiles"] * row_bytes, 0
            while left and (content := stream.read(min(left, _READ_BYTES))):
                checksum = zlib.crc32(content, checksum)
                left -= len(content)
            if left or checksum != expected:
                return False
        return True


def _write_whole(stream: BinaryIO, content: bytes) -> None:
    """An unbuffered file takes a part of what it is given where the disk is nearly full."""
    left = memoryview(content)
    while left:
        left = left[stream.write(left) :]


@contextmanager
def _opened(paths: list[Path]) -> Iterator[list[BinaryIO]]:
    """Files to read and cut, made where they are missing."""
    streams: list[BinaryIO] = []
    try:
        for path in paths:
            path.touch()
            streams.append(path.open("r+b"))
        yield streams
    finally:
        for stream in streams:
            stream.close()


def _entry_of(line: bytes) -> dict[str, Any] | None:
    """A line of the journal; None for one that was cut off."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    names = {"block", "tiles", "examined", "encoder_s", "crc32"}
    whole = line.endswith(b"\n") and isinstance(entry, dict) and names <= set(entry)
    return entry if whole else None


def _changed(path: Path, made_from: dict[str, Any]) -> list[str] | None:
    """Names of what differs from the earlier build; None where nothing does."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ["or unknown settings"]
    now = json.loads(json.dumps(made_from))
    if not isinstance(earlier, dict):
        return ["or unknown settings"]
    differing = [name for name in now if earlier.get(name) != now[name]]
    return differing or None
