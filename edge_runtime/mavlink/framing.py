"""Cutting a byte stream into MAVLink frames, so that garbage never swallows a whole one."""

from __future__ import annotations

from typing import Any

MARKER_V1 = 0xFE
MARKER_V2 = 0xFD
_SIGNED = 0x01
_SIGNATURE_BYTES = 13


class FrameCutter:
    """Takes bytes as they come and gives messages; what is none is skipped and counted.

    pymavlink's own stream parser drops everything up to the length that a false start of frame
    claims; here the search goes on at the very next byte.
    """

    def __init__(self, codec: Any) -> None:
        self._codec = codec
        self._buffer = bytearray()
        self.garbage_bytes = 0
        self.refused = 0
        """Frames that are whole, but fail their checksum or signature or cannot be decoded."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that may be the start of a frame."""
        return len(self._buffer)

    def take(self, data: bytes) -> list[Any]:
        """Messages that are whole with these bytes, in order."""
        self._buffer += data
        messages, at = [], 0
        while (start := self._next_marker(at)) is not None:
            self.garbage_bytes += start - at
            at = start
            length = self._frame_length(at)
            if length is None or at + length > len(self._buffer):
                break
            rejected = self._codec.signing.reject_count
            message = self._decoded(bytearray(self._buffer[at : at + length]))
            if self._codec.signing.reject_count > rejected:  # whole, but not the autopilot's word
                at += length
                continue
            if message is None or not self._plausible(message, at + length):
                self.garbage_bytes += 1
                at += 1
                continue
            at += length
            messages.append(message)
        else:
            self.garbage_bytes += len(self._buffer) - at
            at = len(self._buffer)
        del self._buffer[:at]
        return messages

    def _next_marker(self, at: int) -> int | None:
        places = [self._buffer.find(marker, at) for marker in (MARKER_V1, MARKER_V2)]
        return min((place for place in places if place >= 0), default=None)

    def _frame_length(self, at: int) -> int | None:
        if len(self._buffer) < at + 3:
            return None
        marker, payload, flags = self._buffer[at : at + 3]
        if marker == MARKER_V1:
            return int(payload) + 8
        return int(payload) + 12 + (_SIGNATURE_BYTES if flags & _SIGNED else 0)

    def _decoded(self, frame: bytearray) -> Any:
        if frame[0] == MARKER_V2 and frame[2] & ~_SIGNED:
            return None
        try:
            return self._codec.decode(frame)
        except Exception:  # noqa: BLE001 - whatever a frame from outside does, it is one bad frame
            self.refused += 1
            return None

    def _plausible(self, message: Any, end: int) -> bool:
        """An unknown message has no checksum to go by: something must start right behind it."""
        if not message.get_type().startswith("UNKNOWN"):
            return True
        return end == len(self._buffer) or self._buffer[end] in (MARKER_V1, MARKER_V2)
