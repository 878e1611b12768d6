"""One camera frame, and what a source of frames is, recorded or live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Frame:
    """A decoded picture, or the news that one could not be decoded.

    `number` is the camera's own frame count from 1 where known, `time_s` the exposure on the
    source's clock where it has one: `time.monotonic()` for live sources. `encoded` are the bytes
    (JPEG, PNG) from which the picture was decoded, where the source has them: what a flight log
    keeps.
    """

    name: str
    image: npt.NDArray[np.uint8] | None
    number: int | None = None
    time_s: float | None = None
    encoded: bytes | None = None


class FrameSource(Protocol):
    """Yields frames in the order of exposure."""

    def __len__(self) -> int:
        """How many frames there are to come, as far as known."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames in the order of exposure; RGB pictures (H, W, 3)."""
        ...


@dataclass(frozen=True)
class CaptureCounters:
    """What became of a live source's frames."""

    captured: int = 0
    """Frames that the camera delivered whole."""
    dropped: int = 0
    """Of these, frames that a newer one replaced before anybody took them."""
    undecodable: int = 0
    reconnects: int = 0
    """How often the source was lost and opened again."""
    stalls: int = 0
    """How often no frame came for longer than the watchdog's limit."""
    repeated: int = 0
    """Pictures equal to the one before, byte for byte: never given out as new ones."""


class LiveSource(Protocol):
    """A camera or stream that captures in a thread of its own: the newest frame wins."""

    @property
    def description(self) -> str:
        """What captures, for people: the GStreamer pipeline, or OpenCV."""
        ...

    def newest(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet; None if none came in time."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether no frame can come any more: a file played to its end."""
        ...

    @property
    def fault(self) -> str:
        """Why no frames come at present, for people; empty while they do."""
        ...

    @property
    def counters(self) -> CaptureCounters:
        """Counts since the start."""
        ...

    def close(self) -> None:
        """Stop capturing and release the camera."""
        ...
