"""The GStreamer pipeline that a source's URI becomes, as text that `gst-launch-1.0` takes too."""

from __future__ import annotations

import re
from collections.abc import Container
from fractions import Fraction

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.uri import SourceUri, parse_source_uri

SINK_NAME = "frames"
RTSP_NAME = "camera"
_SINK = f"appsink name={SINK_NAME} drop=true max-buffers=1 sync=false"
_CSI_DEFAULT = (1280, 720, 30.0)
_SHORTEST_EXPOSURE_NS = 13_000
_DEPAYLOADERS = {
    "h264": "rtph264depay ! h264parse",
    "h265": "rtph265depay ! h265parse",
    "mjpeg": "rtpjpegdepay",
}
_DECODERS = {
    "h264": ("nvv4l2decoder", "avdec_h264", "openh264dec"),
    "h265": ("nvv4l2decoder", "avdec_h265", "libde265dec"),
}
_ENCODING_NAMES = {"h264": "H264", "h265": "H265", "mjpeg": "JPEG"}
_ENDS_IN_JPEG = re.compile(r"(?:^|!)\s*(?:[\"']?image/jpeg|jpegenc|nvjpegenc|jpegparse)[^!]*$")
_OWN_APPSINK = re.compile(r"(?:^|!)\s*appsink\b[^!]*$")


def pipeline_text(uri: str | SourceUri, config: SourceConfig, elements: Container[str]) -> str:
    """The pipeline from a source to an appsink that keeps the newest picture alone.

    It ends in JPEG where the source sends JPEGs, so that they can be kept as they are, else in
    packed RGB. NVIDIA's elements are taken where there are any.

    Args:
        elements: Names of the elements that the GStreamer registry has.
    Raises:
        SourceError: If the URI is none, or GStreamer lacks what it needs.
    """
    source = parse_source_uri(uri) if isinstance(uri, str) else uri
    if source.scheme == "v4l2":
        return _v4l2(source, config)
    if source.scheme == "csi":
        return _csi(source, config, elements)
    if source.scheme in ("rtsp", "rtsps"):
        return _rtsp(source, config, elements)
    if source.scheme == "rtp":
        return _rtp(source, config, elements)
    if source.scheme == "udp":
        receive = _udpsrc(source, "video/mpegts,systemstream=(boolean)true,packetsize=188")
        return _joined(receive, "decodebin", _to_rgb(config, elements, nvidia=True))
    if source.scheme == "gst":
        return _given(source.target, config, elements)
    raise SourceError(f"{source.shown}: is played back, not captured by a pipeline")


def _v4l2(source: SourceUri, config: SourceConfig) -> str:
    camera = f"v4l2src device={_quoted(source.target)}"
    if config.v4l2_format == "raw":
        mode = _mode("video/x-raw", config.width, config.height, config.rate_hz)
        return _joined(camera, mode, "videoconvert ! video/x-raw,format=RGB")
    return _joined(camera, _mode("image/jpeg", config.width, config.height, config.rate_hz))


def _csi(source: SourceUri, config: SourceConfig, elements: Container[str]) -> str:
    width, height, rate_hz = (
        config.width or _CSI_DEFAULT[0],
        config.height or _CSI_DEFAULT[1],
        config.rate_hz or _CSI_DEFAULT[2],
    )
    if "nvarguscamerasrc" in elements:
        camera = f"nvarguscamerasrc sensor-id={source.target}"
        if config.longest_exposure_ms is not None:
            longest_ns = round(config.longest_exposure_ms * 1e6)
            camera += f' exposuretimerange="{_SHORTEST_EXPOSURE_NS} {longest_ns}"'
        mode = _mode("video/x-raw(memory:NVMM)", width, height, rate_hz)
        return _joined(camera, mode, "nvvidconv ! video/x-raw,format=BGRx")
    if "libcamerasrc" in elements and source.target == "0":
        mode = _mode("video/x-raw", width, height, rate_hz)
        return _joined("libcamerasrc", mode, "videoconvert ! video/x-raw,format=RGB")
    raise SourceError(
        f"{source.shown}: needs GStreamer's nvarguscamerasrc, which JetPack brings, or, for the "
        "first camera of other boards, libcamerasrc"
    )


def _rtsp(source: SourceUri, config: SourceConfig, elements: Container[str]) -> str:
    stall_us = round(config.stall_s * 1e6)
    receive = (
        f"rtspsrc name={RTSP_NAME} location={_quoted(source.target)} "
        f"protocols={config.rtsp_transport} latency={round(config.jitter_s * 1e3)} "
        f"drop-on-latency=true timeout={stall_us} tcp-timeout={stall_us}"
    )
    if config.codec == "auto":
        # The filter keeps sound from being taken for the picture where this text runs elsewhere.
        video = "application/x-rtp,media=video ! decodebin"
        return _joined(receive, video, _to_rgb(config, elements, nvidia=True))
    return _joined(receive, *_decoded(config.codec, config, elements))


def _rtp(source: SourceUri, config: SourceConfig, elements: Container[str]) -> str:
    codec = "h264" if config.codec == "auto" else config.codec
    receive = _udpsrc(
        source,
        f"application/x-rtp,media=video,clock-rate=90000,encoding-name={_ENCODING_NAMES[codec]}",
    )
    jitter = f"rtpjitterbuffer latency={round(config.jitter_s * 1e3)} drop-on-latency=true"
    return _joined(receive, jitter, *_decoded(codec, config, elements))


def _given(pipeline: str, config: SourceConfig, elements: Container[str]) -> str:
    """A user's own pipeline, with our end; an appsink of theirs makes way for ours."""
    pipeline = _OWN_APPSINK.sub("", pipeline).strip().rstrip("!").rstrip()
    if not pipeline:
        raise SourceError("gst:// takes a pipeline, as in gst://videotestsrc is-live=true")
    if _ENDS_IN_JPEG.search(pipeline):
        return _joined(pipeline)
    return _joined(pipeline, _to_rgb(config, elements, nvidia="memory:NVMM" in pipeline))


def _decoded(codec: str, config: SourceConfig, elements: Container[str]) -> tuple[str, ...]:
    """From packets to pictures; JPEGs stay as they are."""
    if codec == "mjpeg":
        return (_DEPAYLOADERS[codec],)
    decoder = next((name for name in _DECODERS[codec] if name in elements), "decodebin")
    nvidia = decoder in ("nvv4l2decoder", "decodebin")
    return _DEPAYLOADERS[codec], decoder, _to_rgb(config, elements, nvidia=nvidia)


def _to_rgb(config: SourceConfig, elements: Container[str], *, nvidia: bool) -> str:
    """Convert to packed pixels, and scale where a size is wished.

    Args:
        nvidia: Whether the pictures may lie in the GPU's memory, which nvvidconv alone reads.
    """
    if nvidia and "nvvidconv" in elements:
        return f"nvvidconv ! {_mode('video/x-raw,format=BGRx', config.width, config.height)}"
    scale = "" if config.width is None else "videoscale add-borders=false ! "
    size = _mode("video/x-raw,format=RGB", config.width, config.height)
    return f"{scale}videoconvert ! {size}"


def _udpsrc(source: SourceUri, caps: str) -> str:
    return f'udpsrc address={_quoted(source.host)} port={source.port} caps="{caps}"'


def _mode(media: str, width: int | None, height: int | None, rate_hz: float | None = None) -> str:
    """Caps with as much of a camera's mode as is wished."""
    caps = [media]
    if width is not None and height is not None:
        caps += [f"width={width}", f"height={height}"]
    if rate_hz is not None:
        rate = Fraction(rate_hz).limit_denominator(1001)
        caps.append(f"framerate={rate.numerator}/{rate.denominator}")
    return ",".join(caps)


def _joined(*parts: str) -> str:
    return " ! ".join([*parts, _SINK])


def _quoted(value: str) -> str:
    """A property's value that no character of it can end: locations hold ! and spaces too."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
