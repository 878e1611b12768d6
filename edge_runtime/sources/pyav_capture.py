"""Pictures from FFmpeg through PyAV: where GStreamer's Python bindings are missing."""

from __future__ import annotations

import base64
import time
from collections import deque
from typing import Any

from edge_runtime.sources.capture import JPEG, CapturedPicture, CaptureEndedError, CaptureLostError
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.exposure_clock import ExposureClock
from edge_runtime.sources.uri import SourceUri, without_password

# FFmpeg must know a payload's number beforehand: JPEG has one of its own, the others usually this.
_PAYLOADS = {
    "auto": (96, "H264"),
    "h264": (96, "H264"),
    "h265": (96, "H265"),
    "mjpeg": (26, "JPEG"),
}
PYAV_SCHEMES = frozenset({"v4l2", "rtsp", "rtsps", "rtp", "udp"})


class PyAvCapture:
    """A camera or stream that FFmpeg reads.

    `read` waits for as long as the camera does, up to the watchdog's limit. A stream's age is
    known only as far as it changes: its promptest frame counts as fresh.

    Raises:
        CaptureLostError: If the camera or stream does not open.
    """

    def __init__(self, uri: SourceUri, config: SourceConfig) -> None:
        import av

        self._errors = (av.FFmpegError, OSError)
        self._ended = av.EOFError
        location, container_format, options = _location(uri, config)
        try:
            self._container: Any = av.open(
                location,
                format=container_format,
                options=options,
                timeout=(config.open_s, config.stall_s),
            )
            stream = self._container.streams.video[0]
        except (*self._errors, IndexError) as error:
            raise CaptureLostError(without_password(str(error))) from None
        stream.codec_context.flags |= av.codec.context.Flags.low_delay
        stream.thread_type = "SLICE"  # a thread a frame would hold frames back
        self._is_jpeg = stream.codec_context.name == "mjpeg"
        self._packets = self._container.demux(stream)
        self._pictures: deque[CapturedPicture] = deque()
        self._clock = ExposureClock(is_monotonic=uri.scheme == "v4l2", delay_s=config.delay_s)

    def read(self, timeout_s: float) -> CapturedPicture | None:
        """The next picture, waited for by FFmpeg's own limits."""
        if not self._pictures:
            try:
                self._decode(next(self._packets))
            except (StopIteration, self._ended):
                raise CaptureEndedError from None
            except self._errors as error:
                raise CaptureLostError(without_password(str(error))) from None
        return self._pictures.popleft() if self._pictures else None

    def close(self) -> None:
        """Release the camera or connection."""
        self._container.close()

    def _decode(self, packet: Any) -> None:
        """Take the pictures that a packet completes; a JPEG stays as it is."""
        arrival_s = time.monotonic()
        if self._is_jpeg:
            if packet.size:
                stamp_s = None if packet.pts is None else float(packet.pts * packet.time_base)
                data = bytes(packet)
                self._pictures.append(self._picture(data, JPEG, 0, 0, stamp_s, arrival_s))
            return
        for frame in packet.decode():
            pixels = frame.to_ndarray(format="rgb24")
            height, width = pixels.shape[:2]
            data = pixels.tobytes()
            self._pictures.append(
                self._picture(data, "RGB", width, height, frame.time, arrival_s, frame.is_corrupt)
            )

    def _picture(
        self,
        data: bytes,
        pixel_format: str,
        width: int,
        height: int,
        stamp_s: float | None,
        arrival_s: float,
        is_corrupt: bool = False,
    ) -> CapturedPicture:
        time_s = self._clock.exposure_s(stamp_s, arrival_s)
        return CapturedPicture(
            data=data,
            pixel_format=pixel_format,
            width=width,
            height=height,
            time_s=time_s,
            arrival_s=arrival_s,
            is_timed=self._clock.is_settled,
            is_corrupt=is_corrupt,
        )


def _location(uri: SourceUri, config: SourceConfig) -> tuple[str, str | None, dict[str, str]]:
    """What FFmpeg is to open, as which format, with which options."""
    if uri.scheme == "v4l2":
        options = {} if config.v4l2_format == "raw" else {"input_format": "mjpeg"}
        if config.width is not None:
            options["video_size"] = f"{config.width}x{config.height}"
        if config.rate_hz is not None:
            options["framerate"] = f"{config.rate_hz:g}"
        return uri.target, "v4l2", options
    low_delay = {"fflags": "nobuffer", "flags": "low_delay"}
    if uri.scheme == "rtp":
        number, name = _PAYLOADS[config.codec]
        description = (
            f"v=0\no=- 0 0 IN IP4 {uri.host}\ns=-\nc=IN IP4 {uri.host}\nt=0 0\n"
            f"m=video {uri.port} RTP/AVP {number}\na=rtpmap:{number} {name}/90000\n"
        )
        allowed = {"protocol_whitelist": "data,rtp,udp", "localrtcpport": str(uri.port + 1)}
        encoded = base64.b64encode(description.encode("ascii")).decode("ascii")
        return f"data:application/sdp;base64,{encoded}", "sdp", {**low_delay, **allowed}
    if uri.scheme == "udp":
        return f"udp://{uri.host}:{uri.port}", "mpegts", low_delay
    wait = f"{round(config.stall_s * 1e6)}"
    transport = {"rtsp_transport": config.rtsp_transport, "timeout": wait}
    return uri.target, None, {**low_delay, **transport}
