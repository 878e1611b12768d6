"""One camera frame, and what a source of frames is."""

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
    source's clock where it has one.
    """

    name: str
    image: npt.NDArray[np.uint8] | None
    number: int | None = None
    time_s: float | None = None


class FrameSource(Protocol):
    """Yields frames in the order of exposure."""

    def __len__(self) -> int:
        """How many frames there are to come, as far as known."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames in the order of exposure; RGB pictures (H, W, 3)."""
        ...
