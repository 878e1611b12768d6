"""Frames from a video file, sampled at an even interval."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_runtime.contract.errors import ConfigError, SourceError
from edge_runtime.sources.frame import Frame

_LONGEST_DAMAGE_FRAMES = 300


class VideoSource:
    """A video file; every frame, or one each `every_s` seconds.

    Raises:
        SourceError: If the file cannot be opened as a video.
    """

    def __init__(self, path: Path, every_s: float = 0.0) -> None:
        if not 0.0 <= every_s < float("inf"):
            raise ConfigError(f"source.every_s must not be negative, is {every_s}")
        self._path = path
        capture = cv2.VideoCapture(str(path))
        self._frames_per_s = float(capture.get(cv2.CAP_PROP_FPS))
        self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        opened = capture.isOpened()
        capture.release()
        if not opened or not 0.0 < self._frames_per_s < float("inf"):
            raise SourceError(f"{path} cannot be opened as a video")
        self._stride = max(1, round(every_s * self._frames_per_s))

    @property
    def interval_s(self) -> float:
        """Seconds between the frames that come."""
        return self._stride / self._frames_per_s

    def __len__(self) -> int:
        """How many frames will come, by the file's header."""
        return max(0, -(-self._count // self._stride))

    def __iter__(self) -> Iterator[Frame]:
        """Decode the frames wanted and skip over the others; a damaged one does not end them."""
        capture = cv2.VideoCapture(str(self._path))
        try:
            index = missed = 0
            while True:
                grabbed = capture.grab()
                missed = 0 if grabbed else missed + 1
                if missed and (index >= self._count or missed > _LONGEST_DAMAGE_FRAMES):
                    break
                if index % self._stride == 0:
                    decoded, picture = capture.retrieve() if grabbed else (False, None)
                    yield Frame(
                        name=f"{index + 1:06d}",
                        image=np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
                        if decoded and picture is not None
                        else None,
                        number=index + 1,
                        time_s=index / self._frames_per_s,
                    )
                index += 1
        finally:
            capture.release()
