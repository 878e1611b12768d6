"""URIs of live sources, and the GStreamer pipelines that they become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError, DmnilError, SourceError
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.open import open_live_source
from edge_runtime.sources.pipeline import pipeline_text
from edge_runtime.sources.uri import is_source_uri, parse_source_uri, without_password

JETSON = {"nvarguscamerasrc", "nvvidconv", "nvv4l2decoder", "nvjpegdec", "avdec_h264"}
LAPTOP = {"avdec_h264", "avdec_h265"}
END = "appsink name=frames drop=true max-buffers=1 sync=false"
RGB = "videoconvert ! video/x-raw,format=RGB"
MODE = SourceConfig(width=1280, height=720, rate_hz=30.0)


@pytest.mark.parametrize(
    ("uri", "config", "elements", "expected"),
    [
        (
            "v4l2:///dev/video0",
            MODE,
            LAPTOP,
            'v4l2src device="/dev/video0" ! image/jpeg,width=1280,height=720,framerate=30/1',
        ),
        ("v4l2://2", SourceConfig(), JETSON, 'v4l2src device="/dev/video2" ! image/jpeg'),
        (
            "v4l2:///dev/v4l/by-id/usb-Cam",
            SourceConfig(v4l2_format="raw", rate_hz=29.97),
            JETSON,
            f'v4l2src device="/dev/v4l/by-id/usb-Cam" ! video/x-raw,framerate=2997/100 ! {RGB}',
        ),
        (
            "csi://1",
            SourceConfig(longest_exposure_ms=2.0),
            JETSON,
            'nvarguscamerasrc sensor-id=1 exposuretimerange="13000 2000000" '
            "! video/x-raw(memory:NVMM),width=1280,height=720,framerate=30/1 "
            "! nvvidconv ! video/x-raw,format=BGRx",
        ),
        (
            "csi://0",
            SourceConfig(width=640, height=480, rate_hz=15.0),
            {"libcamerasrc"},
            f"libcamerasrc ! video/x-raw,width=640,height=480,framerate=15/1 ! {RGB}",
        ),
        (
            "rtsp://cam:8554/live",
            SourceConfig(codec="h264"),
            JETSON,
            'rtspsrc name=camera location="rtsp://cam:8554/live" protocols=tcp latency=100 '
            "drop-on-latency=true timeout=3000000 tcp-timeout=3000000 ! rtph264depay ! h264parse "
            "! nvv4l2decoder ! nvvidconv ! video/x-raw,format=BGRx",
        ),
        (
            "rtsp://cam/live",
            SourceConfig(rtsp_transport="udp", jitter_s=0.05, stall_s=1.5, width=640, height=360),
            LAPTOP,
            'rtspsrc name=camera location="rtsp://cam/live" protocols=udp latency=50 '
            "drop-on-latency=true timeout=1500000 tcp-timeout=1500000 "
            "! application/x-rtp,media=video ! decodebin "
            f"! videoscale add-borders=false ! {RGB},width=640,height=360",
        ),
        (
            "rtsp://cam/live",
            SourceConfig(codec="mjpeg"),
            JETSON,
            'rtspsrc name=camera location="rtsp://cam/live" protocols=tcp latency=100 '
            "drop-on-latency=true timeout=3000000 tcp-timeout=3000000 ! rtpjpegdepay",
        ),
        (
            "rtp://@:5600",
            SourceConfig(),
            LAPTOP,
            'udpsrc address="0.0.0.0" port=5600 caps="application/x-rtp,media=video,'
            'clock-rate=90000,encoding-name=H264" ! rtpjitterbuffer latency=100 '
            f"drop-on-latency=true ! rtph264depay ! h264parse ! avdec_h264 ! {RGB}",
        ),
        (
            "rtp://239.1.2.3:5600",
            SourceConfig(codec="h265"),
            set(),
            'udpsrc address="239.1.2.3" port=5600 caps="application/x-rtp,media=video,'
            'clock-rate=90000,encoding-name=H265" ! rtpjitterbuffer latency=100 '
            f"drop-on-latency=true ! rtph265depay ! h265parse ! decodebin ! {RGB}",
        ),
        (
            "udp://:5000",
            SourceConfig(),
            LAPTOP,
            'udpsrc address="0.0.0.0" port=5000 caps="video/mpegts,systemstream=(boolean)true,'
            f'packetsize=188" ! decodebin ! {RGB}',
        ),
        ("gst://videotestsrc ! ", SourceConfig(), JETSON, f"videotestsrc ! {RGB}"),
        ("gst://videotestsrc ! jpegenc", SourceConfig(), LAPTOP, "videotestsrc ! jpegenc"),
        (
            "gst://v4l2src ! image/jpeg,width=640 ! appsink name=mine",
            SourceConfig(),
            LAPTOP,
            "v4l2src ! image/jpeg,width=640",
        ),
        (
            "gst://nvarguscamerasrc ! video/x-raw(memory:NVMM),width=640",
            SourceConfig(),
            JETSON,
            "nvarguscamerasrc ! video/x-raw(memory:NVMM),width=640 "
            "! nvvidconv ! video/x-raw,format=BGRx",
        ),
    ],
)
def test_a_uri_becomes_a_pipeline_that_ends_in_the_newest_picture(
    uri: str, config: SourceConfig, elements: set[str], expected: str
) -> None:
    assert pipeline_text(uri, config, elements) == f"{expected} ! {END}"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://camera/video", "http:// is no kind of source: give v4l2:///dev/video0, csi://0"),
        ("v4l2://", "takes a device"),
        ("v4l2://video0", "takes a device"),
        ("csi://front", "takes the sensor's number"),
        ("csi://", "takes the sensor's number"),
        ("csi://0", "needs GStreamer's nvarguscamerasrc"),
        ("rtsp:///live", "names no host"),
        ("rtsp://camera:99999/live", "[Pp]ort out of range"),
        ("rtsp://[camera/live", "Invalid IPv6"),
        ("rtp://5600", "names no port"),
        ("udp://:0", "names no port"),
        ("gst://  ", "names no pipeline"),
        ("gst://appsink", "takes a pipeline"),
        ("file://", "names no video"),
        ("dir://", "names no folder"),
        ("/dev/video0", "is no source's URI: give v4l2"),
        ("rtsp://camera/live\nlocation=other", "is no source's URI"),
    ],
)
def test_a_bad_uri_is_one_line_that_says_what_to_give(uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        pipeline_text(uri, SourceConfig(), LAPTOP)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60), st.sampled_from(["", "v4l2://", "rtsp://", "rtp://", "gst://"]))
def test_no_text_does_worse_than_a_clear_error(text: str, start: str) -> None:
    try:
        parse_source_uri(start + text)
    except DmnilError as error:
        assert "\n" not in str(error)  # noqa: PT017 - many texts are good URIs


def test_only_what_has_a_scheme_is_a_uri() -> None:
    assert all(is_source_uri(text) for text in ("csi://0", "FILE://a.mp4", "ftp://x"))
    assert not any(is_source_uri(text) for text in ("flight.mp4", "/data/frames", "a:/b", "://x"))


def test_a_password_is_never_shown() -> None:
    uri = "rtsp://pilot:s3:cret@camera:554/live"
    assert parse_source_uri(uri).shown == "rtsp://pilot:***@camera:554/live"
    assert "s3" not in without_password(pipeline_text(uri, SourceConfig(), LAPTOP))
    assert "s3:cret" in pipeline_text(uri, SourceConfig(), LAPTOP)


@pytest.mark.parametrize(
    "wishes",
    [
        {"width": 1280},
        {"width": 0, "height": 720},
        {"rate_hz": 0.0},
        {"rate_hz": float("nan")},
        {"stall_s": 0.0},
        {"delay_s": -1.0},
        {"stuck_s": float("inf")},
        {"longest_exposure_ms": 0.0},
        {"first_wait_s": 20.0},
    ],
)
def test_an_impossible_wish_is_refused_by_its_name(wishes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wishes))):
        SourceConfig(**wishes)  # type: ignore[arg-type]


def test_a_missing_camera_names_those_that_are_there() -> None:
    with pytest.raises(SourceError, match=r"/dev/video97: no such device; there is .*plugged in"):
        open_live_source("v4l2:///dev/video97", SourceConfig())
