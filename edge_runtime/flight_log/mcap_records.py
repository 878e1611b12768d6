"""Messages of an MCAP file in the order of the file, whatever state the file is in.

The mcap package's reader expects whole files: a cut one ends in an exception of any kind, and a
damaged length can ask for gigabytes. Here a file may end anywhere, and a chunk that fails its
checksum is left out and told.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Header, Message, Metadata

from edge_runtime.contract.errors import SourceError
from edge_runtime.flight_log.channels import HEADER_METADATA, LOG_PROFILE

_MAGIC = b"\x89MCAP0\r\n"
_RECORD_START = struct.Struct("<BQ")
_LARGEST_RECORD_BYTES = 256 << 20
_MALFORMED = (
    McapError,
    struct.error,
    ValueError,
    KeyError,
    OverflowError,
    MemoryError,
    zstandard.ZstdError,
    RuntimeError,
    EOFError,
)


@dataclass(frozen=True)
class LoggedMessage:
    """A message with its topic."""

    topic: str
    time_ns: int
    sequence: int
    content: bytes


@dataclass
class FileState:
    """What reading a file brought to light, filled as it is read."""

    header_json: str = ""
    """The flight's header."""
    is_finished: bool = False
    """Whether the file has its summary; one that was cut off has none."""
    damage: list[str] = field(default_factory=list)
    """What could not be read, a line each."""


def read_messages(path: Path, state: FileState) -> Iterator[LoggedMessage]:
    """Every message that can be read.

    Args:
        state: Is filled while reading; whole at the end.
    Raises:
        SourceError: If the file cannot be opened or is not a flight log.
    """
    topics: dict[int, str] = {}
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            for opcode, content, position in _records(stream, size, path, state):
                try:
                    yield from _of_record(opcode, content, path, topics, state)
                except _MALFORMED as error:
                    state.damage.append(
                        f"{path.name}: what stands at byte {position} is damaged and left out "
                        f"({_line(error)})"
                    )
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error


def _records(
    stream: Any, size: int, path: Path, state: FileState
) -> Iterator[tuple[int, bytes, int]]:
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise SourceError(f"{path} is not an MCAP file: a flight log begins with its magic bytes")
    position = len(_MAGIC)
    while True:
        start = stream.read(_RECORD_START.size)
        if len(start) < _RECORD_START.size:
            break
        opcode, length = _RECORD_START.unpack(start)
        position += _RECORD_START.size
        if opcode == Opcode.FOOTER:
            state.is_finished = length == 20 and size - position == length + len(_MAGIC)
            break
        if length > size - position or length > _LARGEST_RECORD_BYTES:
            break
        content = stream.read(length)
        yield opcode, content, position
        position += length
    if not state.is_finished:
        state.damage.append(
            f"{path.name} was cut off: what happened in the last second before may be missing"
            if position == size
            else f"{path.name} was cut off or damaged at byte {position} of {size}: what follows "
            "is lost"
        )


def _of_record(
    opcode: int,
    content: bytes,
    path: Path,
    topics: dict[int, str],
    state: FileState,
) -> Iterator[LoggedMessage]:
    stream = ReadDataStream(BytesIO(content))
    if opcode == Opcode.HEADER:
        if Header.read(stream).profile != LOG_PROFILE:
            raise SourceError(f"{path} is an MCAP file of somebody else, not a flight log")
    elif opcode == Opcode.METADATA:
        metadata = Metadata.read(stream)
        if metadata.name == HEADER_METADATA:
            state.header_json = metadata.metadata["json"]
    elif opcode == Opcode.CHUNK:
        yield from _of_chunk(Chunk.read(stream), topics)
    elif opcode in (Opcode.CHANNEL, Opcode.MESSAGE):
        message = _message(opcode, content, topics)
        if message is not None:
            yield message


def _of_chunk(chunk: Chunk, topics: dict[int, str]) -> list[LoggedMessage]:
    """A chunk's messages, all or none of them."""
    data = _unpacked(chunk)
    if chunk.uncompressed_crc and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError("its checksum is wrong")
    messages, position = [], 0
    while position < len(data):
        opcode, length = _RECORD_START.unpack_from(data, position)
        position += _RECORD_START.size
        if length > len(data) - position:
            raise ValueError("a message is longer than its chunk")
        message = _message(opcode, data[position : position + length], topics)
        if message is not None:
            messages.append(message)
        position += length
    return messages


def _message(opcode: int, content: bytes, topics: dict[int, str]) -> LoggedMessage | None:
    stream = ReadDataStream(BytesIO(content))
    if opcode == Opcode.CHANNEL:
        channel = Channel.read(stream)
        topics[channel.id] = channel.topic
    elif opcode == Opcode.MESSAGE:
        message = Message.read(stream, len(content))
        return LoggedMessage(
            topics[message.channel_id], message.log_time, message.sequence, message.data
        )
    return None


def _unpacked(chunk: Chunk) -> bytes:
    size = chunk.uncompressed_size
    if size > _LARGEST_RECORD_BYTES:
        raise ValueError(f"it claims to hold {size} bytes")
    if chunk.compression == "zstd":
        if zstandard.frame_content_size(chunk.data) != size:
            raise ValueError("its sizes contradict each other")
        return zstandard.ZstdDecompressor().decompress(chunk.data, max_output_size=size)
    if chunk.compression:
        raise ValueError(f"it is compressed by {chunk.compression!r}")
    return chunk.data


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
