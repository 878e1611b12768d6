"""What a user may wish of a live source."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from edge_runtime.contract.errors import ConfigError


@dataclass(frozen=True)
class SourceConfig:
    """How a live source of frames is opened, watched and, if recorded, played."""

    uri: str | None = None
    """Camera or stream: v4l2:///dev/video0, csi://0, rtsp://HOST/PATH, rtp://:PORT, gst://PIPELINE;
    file:///VIDEO and dir:///FOLDER play a recording as if it were live."""
    backend: Literal["auto", "gstreamer", "pyav", "opencv"] = "auto"
    """What captures; auto takes the first of these that is installed: GStreamer's Python bindings,
    PyAV, OpenCV."""
    width: int | None = None
    """Pixels: the camera's mode; a stream's pictures are scaled to it. Give the height too."""
    height: int | None = None
    """Pixels, together with the width."""
    rate_hz: float | None = None
    """Frames a second: of the camera's mode, of a folder (10 if left out); thins out a video."""
    v4l2_format: Literal["auto", "mjpeg", "raw"] = "auto"
    """What a USB camera sends; auto takes its JPEGs, which the flight log keeps as they are."""
    codec: Literal["auto", "h264", "h265", "mjpeg"] = "auto"
    """Of RTSP and RTP; auto is what the RTSP server says, and H.264 for rtp://."""
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    """UDP is faster over good links; over bad ones pictures tear."""
    jitter_s: float = 0.1
    """How long packets of RTSP over UDP, and of RTP, may wait for one that comes late."""
    delay_s: float = 0.0
    """From exposure to where the source stamps a frame: a camera's readout, a network camera's
    encoder and radio link. Subtracted from every stamp."""
    longest_exposure_ms: float | None = None
    """Of CSI cameras: a short one keeps turns from blurring."""
    open_s: float = 10.0
    """How long the first frame may take after opening."""
    stall_s: float = 3.0
    """Silence after which a source counts as lost and is opened again."""
    stuck_s: float = 1.0
    """How long the same picture may repeat, byte for byte, before the camera counts as stuck; 0
    believes repeated pictures, as of simulators without noise."""
    longest_age_s: float = 2.0
    """Frames that come later than this after exposure, for `stall_s`, have the source opened
    again: a stream that lags never catches up."""
    first_wait_s: float = 0.5
    """Before a lost source is opened again; doubled with every failure."""
    longest_wait_s: float = 10.0
    """What doubling ends at."""
    pacing: Literal["realtime", "fast"] = "realtime"
    """Of folders and videos: by their own clock, the newest frame wins; or as fast as frames are
    taken, none dropped."""
    loop: bool = False
    """Play a folder or video again from its start."""

    def __post_init__(self) -> None:
        if (self.width is None) != (self.height is None):
            raise ConfigError("source.width and source.height belong together: give both or none")
        for name in ("width", "height"):
            pixels = getattr(self, name)
            if pixels is not None and not 0 < pixels <= 16384:
                raise ConfigError(f"source.{name} must be 1 to 16384 pixels, is {pixels}")
        if self.rate_hz is not None and not 0.01 <= self.rate_hz <= 1000.0:
            raise ConfigError(f"source.rate_hz must be 0.01 to 1000, is {self.rate_hz}")
        if self.longest_exposure_ms is not None and not 0.02 <= self.longest_exposure_ms <= 1000.0:
            raise ConfigError(
                f"source.longest_exposure_ms must be 0.02 to 1000, is {self.longest_exposure_ms}"
            )
        for name in ("jitter_s", "delay_s", "stuck_s"):
            self._check(name, at_least_0=True)
        for name in ("open_s", "stall_s", "longest_age_s", "first_wait_s", "longest_wait_s"):
            self._check(name, at_least_0=False)
        if self.longest_wait_s < self.first_wait_s:
            raise ConfigError("source.longest_wait_s must not be below source.first_wait_s")

    def _check(self, name: str, *, at_least_0: bool) -> None:
        seconds: float = getattr(self, name)
        if not isfinite(seconds) or seconds < 0.0 or (seconds == 0.0 and not at_least_0):
            least = "0 or more" if at_least_0 else "above 0"
            raise ConfigError(f"source.{name} must be {least} seconds, is {seconds}")
