"""Pictures from OpenCV's own capture: where GStreamer's Python bindings are missing."""

from __future__ import annotations

import time

import cv2
import numpy as np

from edge_runtime.sources.capture import JPEG, CapturedPicture, CaptureLostError
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.exposure_clock import ExposureClock
from edge_runtime.sources.uri import SourceUri

OPENCV_SCHEMES = frozenset({"v4l2", "rtsp", "rtsps", "udp"})
_LEAST_STAMP_MS = 1.0


class OpenCvCapture:
    """A camera or stream that OpenCV reads, by V4L2 or its FFmpeg.

    `read` waits for as long as the camera does, up to the watchdog's limit; OpenCV cannot wait
    for less. A stream's age is known only as far as it changes: its promptest frame counts as
    fresh.

    Raises:
        CaptureLostError: If the camera or stream does not open.
    """

    def __init__(self, uri: SourceUri, config: SourceConfig) -> None:
        is_camera = uri.scheme == "v4l2"
        self._clock = ExposureClock(is_monotonic=is_camera, delay_s=config.delay_s)
        self._is_camera = is_camera
        self._capture = _camera(uri, config) if is_camera else _stream(uri, config)
        if not self._capture.isOpened():
            self._capture.release()
            raise CaptureLostError("OpenCV cannot open it")

    def read(self, timeout_s: float) -> CapturedPicture | None:
        """The next picture, waited for by OpenCV's own limits."""
        read, picture = self._capture.read()
        arrival_s = time.monotonic()
        if not read or picture is None:
            raise CaptureLostError("no frame came")
        stamp_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        is_stamped = stamp_ms >= _LEAST_STAMP_MS or not self._is_camera
        pixels = np.ascontiguousarray(picture, np.uint8)
        is_jpeg = self._is_camera and (pixels.ndim == 2 or pixels.shape[0] == 1)
        return CapturedPicture(
            data=pixels.tobytes(),
            pixel_format=JPEG if is_jpeg else "BGR",
            width=0 if is_jpeg else pixels.shape[1],
            height=0 if is_jpeg else pixels.shape[0],
            time_s=self._clock.exposure_s(stamp_ms * 1e-3 if is_stamped else None, arrival_s),
            arrival_s=arrival_s,
            is_timed=self._clock.is_settled,
        )

    def close(self) -> None:
        """Release the camera or connection."""
        self._capture.release()


def _camera(uri: SourceUri, config: SourceConfig) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(uri.target, cv2.CAP_V4L2)
    if config.v4l2_format != "raw" and capture.set(
        cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")
    ):
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)  # the JPEGs themselves
    wishes = (
        (cv2.CAP_PROP_FRAME_WIDTH, config.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, config.height),
        (cv2.CAP_PROP_FPS, config.rate_hz),
    )
    for setting, wish in wishes:
        if wish is not None:
            capture.set(setting, wish)
    return capture


def _stream(uri: SourceUri, config: SourceConfig) -> cv2.VideoCapture:
    location = uri.target or f"udp://{uri.host}:{uri.port}"
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(config.open_s * 1e3),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(config.stall_s * 1e3),
    ]
    return cv2.VideoCapture(location, cv2.CAP_FFMPEG, limits)
