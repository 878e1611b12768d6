"""What captures pictures from a camera or stream, one connection long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.sources.decoding import decode_whole_picture, is_cut_short
from edge_runtime.sources.jpeg import jpeg_size

JPEG = "JPEG"
_TO_RGB = {
    "RGB": None,
    "BGR": cv2.COLOR_BGR2RGB,
    "BGRx": cv2.COLOR_BGRA2RGB,
    "BGRA": cv2.COLOR_BGRA2RGB,
    "RGBx": cv2.COLOR_RGBA2RGB,
    "RGBA": cv2.COLOR_RGBA2RGB,
    "GRAY8": cv2.COLOR_GRAY2RGB,
}
_CHANNELS = {"RGB": 3, "BGR": 3, "GRAY8": 1}
_SANE_RATIO = 4  # modes are rounded up to whole blocks, and some cameras' are odd
PIXEL_FORMATS = (JPEG, *_TO_RGB)


class CaptureLostError(Exception):
    """The camera or stream is gone or was never there; opening it again may help."""


class CaptureEndedError(Exception):
    """The stream came to its end."""


@dataclass(frozen=True)
class CapturedPicture:
    """A picture as it came, to be decoded by whoever takes it: dropped ones cost nothing."""

    data: bytes
    """A JPEG, or rows of pixels, each row perhaps longer than its pixels."""
    pixel_format: str
    """One of `PIXEL_FORMATS`."""
    width: int
    """0 where a JPEG's is not known beforehand."""
    height: int
    time_s: float
    """Exposure on `time.monotonic()`."""
    arrival_s: float
    """When it came, on the same clock."""
    skipped: int = 0
    """Pictures that came before it and were replaced unread."""
    is_timed: bool = True
    """Whether its exposure time may be relied on: not that of the backlog of a stream's start."""
    is_corrupt: bool = False
    """Whether its decoder says that parts are missing."""

    @property
    def is_whole(self) -> bool:
        """Whether it may be decoded, as far as can be told without."""
        if self.pixel_format == JPEG:
            return not self.is_corrupt and self._is_of_sane_size and not is_cut_short(self.data)
        row = self.width * _CHANNELS.get(self.pixel_format, 4)
        return not self.is_corrupt and row > 0 and len(self.data) >= row * self.height

    @property
    def _is_of_sane_size(self) -> bool:
        """Whether a JPEG's header asks for what was agreed; a damaged one may want gigabytes."""
        size = jpeg_size(self.data)
        agreed = self.width * self.height
        return size is not None and (not agreed or size[0] * size[1] <= _SANE_RATIO * agreed)

    def decoded(self) -> npt.NDArray[np.uint8] | None:
        """The RGB picture (H, W, 3), or None if it cannot be decoded."""
        if not self.is_whole:
            return None
        if self.pixel_format == JPEG:
            return decode_whole_picture(self.data)
        channels = _CHANNELS.get(self.pixel_format, 4)
        stride = len(self.data) // self.height
        rows = np.frombuffer(self.data, np.uint8, stride * self.height).reshape(self.height, stride)
        pixels = rows[:, : self.width * channels].reshape(self.height, self.width, channels)
        conversion = _TO_RGB[self.pixel_format]
        if conversion is None:
            return np.ascontiguousarray(pixels)
        return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


class Capture(Protocol):
    """An open camera or stream."""

    def read(self, timeout_s: float) -> CapturedPicture | None:
        """The newest picture that was not read yet; None if none came in time.

        Raises:
            CaptureLostError: If the connection is lost.
            CaptureEndedError: If the stream ended.
        """
        ...

    def close(self) -> None:
        """Release the camera or connection."""
        ...


OpenCapture = Callable[[], Capture]
"""Opens a camera or stream, again and again; raises CaptureLostError where that fails."""
