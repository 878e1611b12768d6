"""Open a source of frames by what its path is."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.folder import FolderSource
from edge_runtime.sources.frame import FrameSource
from edge_runtime.sources.video import VideoSource


def open_source(path: Path, every_s: float = 0.0) -> FrameSource:
    """A folder of pictures or a video file.

    Raises:
        SourceError: If there is no such thing, or nothing to decode in it.
    """
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise SourceError(f"{path}: no such folder or video")
    return VideoSource(path, every_s)
