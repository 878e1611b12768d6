"""What a JPEG's header says, without decoding it."""

from __future__ import annotations

_FRAME_HEADERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3})
_START_OF_SCAN = 0xDA


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG's frame header states; None if there is none before the data."""
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_HEADERS:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            return int.from_bytes(data[at + 7 : at + 9], "big"), height
        if marker == _START_OF_SCAN:
            return None
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
