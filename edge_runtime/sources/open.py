"""Open a source of frames: recorded ones by path, live ones by URI."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.capture import Capture
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.exposure_clock import ExposureClock
from edge_runtime.sources.folder import FolderSource
from edge_runtime.sources.frame import FrameSource, LiveSource
from edge_runtime.sources.gstreamer import (
    ElementRegistry,
    GstreamerCapture,
    camera_sends_jpeg,
    check_pipeline,
    load_gstreamer,
)
from edge_runtime.sources.live import CaptureSource
from edge_runtime.sources.opencv_capture import OPENCV_SCHEMES, OpenCvCapture
from edge_runtime.sources.pipeline import pipeline_text
from edge_runtime.sources.playback import PlaybackSource
from edge_runtime.sources.pyav_capture import PYAV_SCHEMES, PyAvCapture
from edge_runtime.sources.recordings import folder_recording, video_recording
from edge_runtime.sources.uri import SourceUri, parse_source_uri, without_password
from edge_runtime.sources.video import VideoSource

_LOG = logging.getLogger(__name__)

_GET_GSTREAMER = (
    "pip install 'dmnil-edge[gstreamer]', or apt install python3-gi gir1.2-gst-plugins-base-1.0"
)


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


def open_live_source(uri: str, config: SourceConfig | None = None) -> LiveSource:
    """Start capturing from a camera or stream, or playing a folder or video.

    What cannot get better by itself is an error at once: a URI that is none, a missing device,
    file or GStreamer element. A network camera that does not answer is called again and again;
    until then the source's `fault` says so.

    Raises:
        SourceError: If the source cannot be used.
    """
    config = SourceConfig() if config is None else config
    source = parse_source_uri(uri)
    if source.scheme == "dir":
        recording = folder_recording(_path(source), config)
        return PlaybackSource(recording, config, source.shown, "pictures, decoded by OpenCV")
    if source.scheme == "file":
        recording = video_recording(_path(source), config)
        return PlaybackSource(recording, config, source.shown, "video, decoded by OpenCV")
    if source.scheme == "v4l2":
        require_device(Path(source.target))
    gst = _gstreamer(source, config)
    if gst is None:
        name, capture = _without_gstreamer(source, config)
        return CaptureSource(
            lambda: capture(source, config), config, source.shown, f"captured by {name}"
        )
    text = pipeline_text(source, config, ElementRegistry(gst))
    check_pipeline(gst, text)
    return CaptureSource(
        lambda: _pipeline(gst, source, config),
        config,
        source.shown,
        f"GStreamer: {without_password(text)}",
        ends=source.scheme == "gst",
    )


def require_device(device: Path) -> None:
    """Look whether a camera's device is there.

    Raises:
        SourceError: If it is not; the message names those that are.
    """
    if device.exists():
        return
    others = ", ".join(sorted(str(path) for path in Path("/dev").glob("video*")))
    raise SourceError(
        f"{device}: no such device; there is {others or 'no /dev/video* at all'}: is the camera "
        "plugged in, and may this user or container see it?"
    )


def _gstreamer(source: SourceUri, config: SourceConfig) -> Any:
    """GStreamer's bindings, or None where something else is to capture."""
    if config.backend in ("pyav", "opencv"):
        return None
    try:
        return load_gstreamer()
    except ImportError as error:
        if config.backend == "gstreamer":
            raise SourceError(
                f"source.backend gstreamer: its Python bindings are missing ({error}): "
                f"{_GET_GSTREAMER}"
            ) from None
        _without_gstreamer(source, config)  # where nothing else can, that is the error, alone
        _LOG.warning("%s: captured without GStreamer (%s): %s", source.shown, error, _GET_GSTREAMER)
        return None


def _without_gstreamer(
    source: SourceUri, config: SourceConfig
) -> tuple[str, Callable[[SourceUri, SourceConfig], Capture]]:
    """The name and opener of what captures instead: PyAV where it is installed, else OpenCV."""
    has_pyav = _has_pyav()
    if config.backend == "pyav" and not has_pyav:
        raise SourceError("source.backend pyav: is not installed: pip install 'dmnil-edge[av]'")
    if has_pyav and config.backend != "opencv" and source.scheme in PYAV_SCHEMES:
        return "PyAV", PyAvCapture
    if source.scheme in OPENCV_SCHEMES and config.backend != "pyav":
        return "OpenCV", OpenCvCapture
    raise SourceError(f"{source.shown}: needs GStreamer: {_GET_GSTREAMER}")


def _has_pyav() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _pipeline(gst: Any, source: SourceUri, config: SourceConfig) -> Capture:
    """Open a source by GStreamer; of a USB camera its JPEGs if it has any."""
    if source.scheme == "v4l2" and config.v4l2_format == "auto":
        sends_jpeg = camera_sends_jpeg(gst, source.target)
        config = replace(config, v4l2_format="mjpeg" if sends_jpeg else "raw")
    text = pipeline_text(source, config, ElementRegistry(gst))
    # Argus stamps from a zero of its own, MPEG-TS with when to show a frame; every other live
    # element with the pipeline's clock when it came.
    is_monotonic = source.scheme not in ("csi", "udp")
    clock = ExposureClock(is_monotonic=is_monotonic, delay_s=config.delay_s)
    return GstreamerCapture(gst, text, clock)


def _path(source: SourceUri) -> Path:
    """A file's path, with or without %20 in the place of its spaces."""
    path = Path(source.target)
    return path if path.exists() else Path(unquote(source.target))
