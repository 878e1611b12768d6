"""Real GStreamer pipelines, and real streams from a process that can be killed."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.errors import SourceError
from edge_runtime.doctor.artefacts import check_source
from edge_runtime.doctor.finding import Finding, Status
from edge_runtime.sources.capture import CaptureLostError
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.exposure_clock import ExposureClock
from edge_runtime.sources.frame import Frame, LiveSource
from edge_runtime.sources.gstreamer import (
    ElementRegistry,
    GstreamerCapture,
    camera_sends_jpeg,
    load_gstreamer,
)
from edge_runtime.sources.open import open_live_source
from edge_runtime.sources.pipeline import pipeline_text
from tests.edge_runtime.clock_picture import HEIGHT, WIDTH, shown_time_s
from tests.free_ports import free_port
from tests.waiting import PATIENCE_S, wait_until

SENDER = Path(__file__).with_name("stream_sender.py")
FRAME_S = 0.05
LOST_SHARE = 2.0
"""Of torn frames to whole ones: the kernel keeps few packets for a thread that waits its turn."""
NEEDED = (
    "videotestsrc",
    "appsink",
    "rtspsrc",
    "rtpjitterbuffer",
    "mpegtsmux",
    "jpegenc",
    "x264enc",
    "avdec_h264",
)
QUICK = SourceConfig(stall_s=0.6, first_wait_s=0.1, longest_wait_s=0.3)
BALL = "gst://videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240"


def _gstreamer() -> tuple[Any, str]:
    """GStreamer, or why these tests cannot run."""
    try:
        gst = load_gstreamer()
        import gi

        gi.require_version("GstRtspServer", "1.0")
    except ImportError as error:
        return None, f"GStreamer's Python bindings are missing: {error}"
    except ValueError as error:
        return None, f"gir1.2-gst-rtsp-server-1.0 is missing: {error}"
    missing = [name for name in NEEDED if name not in ElementRegistry(gst)]
    return gst, f"GStreamer has no {', '.join(missing)}" if missing else ""


GST, REASON = _gstreamer()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@contextmanager
def sender(kind: str, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A camera on loopback, in a process of its own."""
    command = [sys.executable, str(SENDER), kind, str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def port() -> int:
    return free_port()


def frames_of(source: LiveSource, count: int) -> list[Frame]:
    """The next frames; fails with the source's own words if they do not come."""
    until_s = time.monotonic() + PATIENCE_S
    frames: list[Frame] = []
    while len(frames) < count and time.monotonic() < until_s:
        frame = source.newest(0.2)
        if frame is not None:
            frames.append(frame)
    assert len(frames) == count, source.fault or f"only {len(frames)} frames came"
    return frames


@dataclass(frozen=True)
class Stamps:
    """Times of frames beside those that their pictures show, seconds."""

    errors_s: list[float]
    """How far the frames' times are from the moments that their pictures show."""
    way_s: float
    """What the promptest picture took to come: a busy machine's part in the errors."""

    @property
    def middle_s(self) -> float:
        return statistics.median(self.errors_s)

    def are_of_exposure(self) -> bool:
        return abs(self.middle_s) < FRAME_S / 2 + self.way_s

    def are_of_exposure_or_some_frames_later(self) -> bool:
        """Where a decoder knows only at a later frame that one is whole."""
        return -0.01 < self.middle_s < 4 * FRAME_S + self.way_s


def stamps_of(source: LiveSource, count: int, largest_torn_share: float = 0.1) -> Stamps:
    """The stamps of the next whole frames; fails where too many are torn."""
    errors_s: list[float] = []
    ways_s: list[float] = []
    seen = 0
    while len(errors_s) < count:
        (frame,) = frames_of(source, 1)
        taken_s = time.monotonic()
        seen += 1
        assert frame.image is not None
        assert frame.time_s is not None
        shown_s = shown_time_s(frame.image, frame.time_s)
        if shown_s is not None:
            errors_s.append(frame.time_s - shown_s)
            ways_s.append(taken_s - shown_s)
        assert seen - len(errors_s) <= max(1, largest_torn_share * count), "pictures are torn"
    return Stamps(errors_s, min(ways_s))


# Pipelines


def test_a_slow_consumer_gets_the_newest_frame_of_a_pipeline_and_drops_are_counted() -> None:
    with closing(open_live_source(f"{BALL},framerate=50/1")) as source:
        frames = frames_of(source, 1)
        until_s = time.monotonic() + PATIENCE_S
        while source.counters.dropped < 20 and time.monotonic() < until_s:
            time.sleep(0.1)
            frames += frames_of(source, 1)
        counters = source.counters
        assert wait_until(lambda: source.fault == "")
        assert "videotestsrc is-live=true" in source.description
    numbers = [frame.number for frame in frames if frame.number is not None]
    assert numbers == sorted(set(numbers))
    assert [frame.name for frame in frames] == [f"{number:06d}" for number in numbers]
    assert counters.dropped >= 20
    still_waiting = counters.captured - counters.dropped - counters.repeated - len(frames)
    assert still_waiting in (0, 1, 2)  # one that is counted is laid down a moment later
    # Live sources stamp frames with the moment that their clock gave: 20 ms apart, dropped or not.
    times_s = np.array([frame.time_s for frame in frames])
    assert np.diff(times_s) == pytest.approx(np.diff(numbers) * 0.02, abs=0.002)


def test_pixels_and_jpegs_of_a_pipeline_come_through() -> None:
    red = "gst://videotestsrc is-live=true pattern=red ! video/x-raw,width=322,height=50"
    config = SourceConfig(stuck_s=0.0)
    with closing(open_live_source(red, config)) as source:
        (frame,) = frames_of(source, 1)
        assert frame.image is not None
        assert frame.image.shape == (50, 322, 3)  # rows of 966 bytes are padded to 968
        assert np.abs(frame.image.astype(int) - (255, 0, 0)).max() < 6
        assert frame.encoded is None
    with closing(open_live_source(f"{red} ! jpegenc", config)) as source:
        (frame,) = frames_of(source, 1)
        assert frame.image is not None
        assert frame.encoded is not None
        decoded = cv2.imdecode(np.frombuffer(frame.encoded, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert np.array_equal(frame.image, decoded[:, :, ::-1])


def test_a_camera_that_sends_one_picture_for_ever_is_stuck() -> None:
    frozen = (
        "gst://videotestsrc num-buffers=1 ! imagefreeze is-live=true ! video/x-raw,framerate=30/1"
    )
    with closing(open_live_source(frozen, SourceConfig(stuck_s=0.3, stall_s=5.0))) as source:
        frames_of(source, 1)
        assert wait_until(lambda: "has not changed for" in source.fault)
        assert source.newest(0.2) is None
        assert wait_until(lambda: source.counters.repeated >= 5)


def test_a_pipeline_that_stalls_is_run_again() -> None:
    # Ten frames from one camera, while the other that shares the way never says anything.
    stalling = (
        "gst://videotestsrc is-live=true pattern=ball num-buffers=10 ! "
        "video/x-raw,width=64,height=48,framerate=50/1 ! funnel name=f "
        "appsrc is-live=true format=time caps=video/x-raw,format=I420,width=64,height=48,"
        "framerate=50/1 ! f. f."
    )
    with closing(open_live_source(stalling, QUICK)) as source:
        frames_of(source, 1)
        assert wait_until(lambda: "no frame for" in source.fault)
        assert wait_until(lambda: source.counters.captured > 10)
        assert source.counters.stalls >= 1
        assert not source.has_ended


def test_a_finite_pipeline_ends() -> None:
    finite = "gst://videotestsrc num-buffers=5 pattern=snow ! video/x-raw,width=64,height=48"
    with closing(open_live_source(finite)) as source:
        assert wait_until(lambda: "ended" in source.fault)
        assert source.newest(0.0) is not None
        assert source.has_ended
        assert source.counters.captured == 5
        assert source.counters.dropped == 4


def test_a_pipeline_that_fails_says_why_and_is_tried_again() -> None:
    failing = f"{BALL} ! identity error-after=3"
    with closing(open_live_source(failing, QUICK)) as source:
        assert wait_until(lambda: "Failed after iterations as requested" in source.fault)
        assert wait_until(lambda: source.counters.reconnects >= 2)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ("nosuchcamera ! videoconvert", 'no element "nosuchcamera"'),
        ("videotestsrc ! ! videoconvert", "GStreamer refuses the pipeline"),
        ("videotestsrc nonsense=3", 'no property "nonsense"'),
        ("rtspsrc location=rtsp://a:secret@b/c ! nosuch", r"rtsp://a:\*\*\*@b/c"),
    ],
)
def test_a_bad_pipeline_is_one_line_at_once(pipeline: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_live_source(f"gst://{pipeline}")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_pipeline_that_ends_in_something_else_says_what_it_should_end_in() -> None:
    text = "videotestsrc ! video/x-raw,format=GRAY16_LE ! appsink name=frames"
    ends_in = r"GRAY16_LE.*: let it end in videoconvert"
    with (
        closing(GstreamerCapture(GST, text, ExposureClock(is_monotonic=True))) as capture,
        pytest.raises(CaptureLostError, match=ends_in),
    ):
        capture.read(PATIENCE_S)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_no_character_of_a_location_leaves_its_quotes(path: str) -> None:
    text = pipeline_text(f"rtsp://camera/{path}", SourceConfig(), {"avdec_h264"})
    pipeline = GST.parse_launch(text)
    assert pipeline.get_by_name("camera").get_property("location") == f"rtsp://camera/{path}"


def test_a_device_that_is_no_camera_is_a_loss_that_names_it(tmp_path: Path) -> None:
    if "v4l2src" not in ElementRegistry(GST):
        pytest.skip("GStreamer has no v4l2src")
    device = tmp_path / "video0"
    device.write_bytes(b"")
    with pytest.raises(CaptureLostError, match="video0 cannot be opened"):
        camera_sends_jpeg(GST, str(device))
    with closing(open_live_source(f"v4l2://{device}", QUICK)) as source:
        assert wait_until(
            lambda: "video0 cannot be opened: is it in use, or no camera?" in source.fault
        )


@pytest.mark.parametrize("name", ["PyAV", "OpenCV"])
def test_without_gstreamer_another_captures_and_says_so(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, port: int
) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    if name == "OpenCV":
        monkeypatch.setitem(sys.modules, "av", None)
    else:
        pytest.importorskip("av")
    with sender("rtsp", port), closing(open_live_source(f"rtsp://127.0.0.1:{port}/live")) as source:
        assert source.description == f"captured by {name}"
        assert "captured without GStreamer" in caplog.text
        assert stamps_of(source, 10).are_of_exposure_or_some_frames_later()


def test_rtp_comes_without_gstreamer_too(port: int) -> None:
    pytest.importorskip("av")
    config = SourceConfig(backend="pyav", codec="h264")
    uri = f"rtp://127.0.0.1:{port}"
    with sender("rtp", port), closing(open_live_source(uri, config)) as source:
        assert stamps_of(source, 10, LOST_SHARE).are_of_exposure_or_some_frames_later()


# Streams


@pytest.mark.parametrize(
    ("kind", "codec", "config"),
    [
        ("rtsp", "h264", SourceConfig()),
        ("rtsp", "h264", SourceConfig(codec="h264", rtsp_transport="udp")),
        ("rtsp", "mjpeg", SourceConfig(codec="mjpeg")),
        ("rtp", "h264", SourceConfig()),
    ],
)
def test_frames_of_a_stream_are_stamped_with_their_exposure(
    kind: str, codec: str, config: SourceConfig, port: int
) -> None:
    uri = f"rtsp://127.0.0.1:{port}/live" if kind == "rtsp" else f"rtp://127.0.0.1:{port}"
    with sender(kind, port, "--codec", codec), closing(open_live_source(uri, config)) as source:
        by_packets = kind == "rtp" or config.rtsp_transport == "udp"
        assert stamps_of(source, 25, LOST_SHARE if by_packets else 0.1).are_of_exposure()
        (frame,) = frames_of(source, 1)
        assert wait_until(lambda: source.fault == "")
    assert (frame.encoded is not None) == (codec == "mjpeg")
    assert frame.image is not None
    assert frame.image.shape == (HEIGHT, WIDTH, 3)


def test_an_mpeg_transport_stream_is_stamped_evenly(port: int) -> None:
    with sender("udp", port), closing(open_live_source(f"udp://127.0.0.1:{port}")) as source:
        stamps = stamps_of(source, 25, LOST_SHARE)
    assert stamps.are_of_exposure_or_some_frames_later()
    quarters_s = statistics.quantiles(stamps.errors_s, n=4)
    assert quarters_s[2] - quarters_s[0] < FRAME_S


def test_a_camera_with_sound_is_not_slowed_by_it(port: int) -> None:
    uri = f"rtsp://127.0.0.1:{port}/live"
    with sender("rtsp", port, "--sound"), closing(open_live_source(uri)) as source:
        assert stamps_of(source, 20).are_of_exposure()


def test_an_rtsp_server_that_is_killed_and_comes_back_is_taken_up_again(port: int) -> None:
    uri = f"rtsp://127.0.0.1:{port}/live"
    with closing(open_live_source(uri, QUICK)) as source:
        assert wait_until(lambda: "Could not" in source.fault)  # nobody there yet
        with sender("rtsp", port) as camera:
            before = frames_of(source, 5)[-1]
            assert wait_until(lambda: source.fault == "")
            lost = source.counters.reconnects
            camera.kill()
            camera.wait()
            assert wait_until(lambda: "opening again" in source.fault)
            source.newest(0.0)  # one that came just before may wait still
            assert source.newest(0.2) is None
        with sender("rtsp", port):
            (after,) = frames_of(source, 1)
            assert stamps_of(source, 10).are_of_exposure()
            assert wait_until(lambda: source.fault == "")
            assert source.counters.reconnects > lost
        assert not source.has_ended
    assert after.number is not None
    assert before.number is not None
    assert after.number > before.number


def test_a_stream_that_falls_silent_is_a_stall_and_is_taken_up_again(port: int) -> None:
    uri = f"rtp://127.0.0.1:{port}"
    with closing(open_live_source(uri, QUICK)) as source:
        with sender("rtp", port) as camera:
            frames_of(source, 5)
            camera.send_signal(signal.SIGSTOP)
            assert wait_until(lambda: "no frame for" in source.fault)
        assert source.counters.stalls >= 1
        with sender("rtp", port):
            frames_of(source, 5)
            assert wait_until(lambda: source.fault == "")


def test_a_server_that_hangs_is_left_and_called_again(port: int) -> None:
    uri = f"rtsp://127.0.0.1:{port}/live"
    with sender("rtsp", port) as camera, closing(open_live_source(uri, QUICK)) as source:
        frames_of(source, 3)
        stalls = source.counters.stalls
        camera.send_signal(signal.SIGSTOP)
        assert wait_until(lambda: "no frame for" in source.fault)
        assert wait_until(lambda: "Timeout while waiting" in source.fault)
        # A server that does not answer is no stall but a failure to open, again and again.
        assert source.counters.stalls == stalls + 1
        camera.send_signal(signal.SIGCONT)
        source.newest(0.0)
        assert stamps_of(source, 5).are_of_exposure()


def test_opening_again_and_again_leaves_nothing_behind() -> None:
    def threads_and_files() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    def open_once() -> None:
        with closing(open_live_source(f"{BALL},framerate=100/1")) as source:
            frames_of(source, 1)

    open_once()
    before = threads_and_files()
    for _ in range(10):
        open_once()

    def nothing_is_left() -> bool:
        threads, files = threads_and_files()
        return threads <= before[0] and files <= before[1] + 2

    assert wait_until(nothing_is_left), (before, threads_and_files())


def test_the_doctor_waits_for_the_first_frame_of_a_stream(port: int) -> None:
    findings: list[Finding] = []

    def a_frame_came() -> bool:  # in the ten seconds that a flight would give it
        findings.append(check_source(f"rtsp://pilot:secret@127.0.0.1:{port}/live"))
        return findings[-1].status is Status.OK

    with sender("rtsp", port):
        assert wait_until(a_frame_came), findings
    finding = findings[-1]
    assert f"{WIDTH} x {HEIGHT}" in finding.what
    assert "rtspsrc" in finding.what
    assert "secret" not in finding.what
