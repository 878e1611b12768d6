"""Folders of pictures and videos as recordings to be played."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.folder import FolderSource, read_frame
from edge_runtime.sources.frame import Frame
from edge_runtime.sources.playback import Recording
from edge_runtime.sources.video import VideoSource

_FOLDER_RATE_HZ = 10.0


def folder_recording(folder: Path, config: SourceConfig) -> Recording:
    """A folder's pictures in the order of their names, at the wished rate.

    Raises:
        SourceError: If there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise SourceError(f"dir://{folder}: no such folder")
    paths = FolderSource(folder).paths
    interval_s = 1.0 / (config.rate_hz or _FOLDER_RATE_HZ)

    def start() -> Iterator[tuple[float, Callable[[], Frame]]]:
        for index, path in enumerate(paths):
            yield index * interval_s, partial(read_frame, path)

    return Recording(start, interval_s, len(paths) * interval_s, may_skip=True)


def video_recording(path: Path, config: SourceConfig) -> Recording:
    """A video by its own clock, thinned out to the wished rate.

    Raises:
        SourceError: If there is no such file, or no video in it.
    """
    if not path.is_file():
        raise SourceError(f"file://{path}: no such video")
    source = VideoSource(path, 0.0 if config.rate_hz is None else 1.0 / config.rate_hz)

    def start() -> Iterator[tuple[float, Callable[[], Frame]]]:
        for frame in source:
            yield frame.time_s or 0.0, partial(_as_it_is, frame)

    interval_s = source.interval_s
    return Recording(start, interval_s, len(source) * interval_s, may_skip=False)


def _as_it_is(frame: Frame) -> Frame:
    return frame
