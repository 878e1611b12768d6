"""Pictures from a GStreamer pipeline, through its Python bindings (PyGObject)."""

from __future__ import annotations

import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Container
from typing import Any

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.capture import (
    JPEG,
    PIXEL_FORMATS,
    CapturedPicture,
    CaptureEndedError,
    CaptureLostError,
)
from edge_runtime.sources.exposure_clock import ExposureClock
from edge_runtime.sources.pipeline import RTSP_NAME, SINK_NAME
from edge_runtime.sources.uri import without_password

_STATE_CHANGE_NS = 5_000_000_000
_REMEMBERED_ARRIVALS = 16
_ERROR_TEXT_LIMIT = 300


def load_gstreamer() -> Any:
    """GStreamer's Python bindings, started.

    Raises:
        ImportError: If they are not there, or GStreamer itself is not.
    """
    # PyGObject 3.42, as of Debian 12, is imported in a way that newer Pythons warn about.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        import gi

        try:
            gi.require_version("Gst", "1.0")
            gi.require_version("GstApp", "1.0")
        except ValueError as error:
            raise ImportError(str(error)) from None
        # GstApp is not named below, but without it an appsink has no methods.
        from gi.repository import Gst, GstApp  # noqa: F401

    if not Gst.is_initialized() and not Gst.init_check(None)[0]:
        raise ImportError("GStreamer does not start")
    return Gst


class ElementRegistry(Container[str]):
    """The elements that this machine's GStreamer has: `"x264enc" in ElementRegistry(Gst)`."""

    def __init__(self, gst: Any) -> None:
        self._gst = gst

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._gst.ElementFactory.find(name) is not None


class GstreamerCapture:
    """A running pipeline whose pictures end in an appsink.

    Args:
        gst: GStreamer's bindings.
        text: The pipeline, as `gst-launch-1.0` takes it.
        clock: Turns the pipeline's time stamps into exposure times.
    Raises:
        SourceError: If the text is no pipeline, or names what this machine lacks.
        CaptureLostError: If it does not start.
    """

    def __init__(self, gst: Any, text: str, clock: ExposureClock) -> None:
        self._gst = gst
        self._clock = clock
        self._pipeline, self._sink = _parsed(gst, text)
        self._take_first_video_alone()
        self._system_clock = gst.SystemClock.obtain()
        self._pipeline.use_clock(self._system_clock)
        self._clock_ahead_s = _ahead_of_monotonic_s(self._system_clock)
        self._bus = self._pipeline.get_bus()
        self._guard = threading.Lock()
        self._arrivals: OrderedDict[int, tuple[int, float]] = OrderedDict()
        self._arrived = 0
        self._read = 0
        probe = gst.PadProbeType.BUFFER
        self._sink_pad = self._sink.get_static_pad("sink")
        self._probe = self._sink_pad.add_probe(probe, self._remember_arrival)
        if self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            try:
                self._raise_what_the_bus_says(_STATE_CHANGE_NS // 5)
                raise CaptureLostError("the pipeline does not start")
            finally:
                self.close()

    def read(self, timeout_s: float) -> CapturedPicture | None:
        """The newest picture that was not read yet; None if none came in time."""
        sample = self._sink.try_pull_sample(round(timeout_s * 1e9))
        if sample is not None:
            return self._picture(sample)
        self._raise_what_the_bus_says(0)
        if self._sink.is_eos():
            raise CaptureEndedError
        return None

    def close(self) -> None:
        """Stop the pipeline and release what it holds."""
        self._pipeline.set_state(self._gst.State.NULL)
        self._pipeline.get_state(_STATE_CHANGE_NS)
        # The probe refers to this object and this object to the pipeline: a ring through
        # GStreamer that Python cannot see and would never free.
        self._sink_pad.remove_probe(self._probe)

    def _take_first_video_alone(self) -> None:
        """Keep an RTSP camera's sound away: to keep in step with it would shift the pictures."""
        camera = self._pipeline.get_by_name(RTSP_NAME)
        if camera is None or camera.get_factory().get_name() != "rtspsrc":
            return
        taken: list[int] = []

        def is_wanted(_camera: Any, number: int, caps: Any) -> bool:
            if caps.get_structure(0).get_string("media") == "video" and not taken:
                taken.append(number)
            return number in taken

        camera.connect("select-stream", is_wanted)

    def _remember_arrival(self, pad: Any, info: Any) -> Any:
        """Note when a buffer came, and as which: the appsink drops without counting."""
        arrival_s = time.monotonic()
        with self._guard:
            self._arrived += 1
            self._arrivals[info.get_buffer().pts] = (self._arrived, arrival_s)
            while len(self._arrivals) > _REMEMBERED_ARRIVALS:
                self._arrivals.popitem(last=False)
        return self._gst.PadProbeReturn.OK

    def _picture(self, sample: Any) -> CapturedPicture:
        buffer = sample.get_buffer()
        with self._guard:
            count, arrival_s = self._arrivals.get(buffer.pts, (self._arrived, time.monotonic()))
        skipped = max(0, count - self._read - 1)
        self._read = max(count, self._read + 1)
        caps = sample.get_caps().get_structure(0)
        pixel_format = JPEG if caps.get_name() == "image/jpeg" else caps.get_string("format")
        if pixel_format not in PIXEL_FORMATS:
            raise CaptureLostError(
                f"the pipeline ends in {caps.to_string().split(';')[0]}: let it end in "
                "videoconvert ! video/x-raw,format=RGB, or in image/jpeg"
            )
        return CapturedPicture(
            data=buffer.extract_dup(0, buffer.get_size()),
            pixel_format=pixel_format,
            width=caps.get_int("width")[1],
            height=caps.get_int("height")[1],
            time_s=self._clock.exposure_s(self._stamp_s(sample, buffer), arrival_s),
            arrival_s=arrival_s,
            is_timed=self._clock.is_settled,
            skipped=skipped,
            is_corrupt=buffer.has_flags(self._gst.BufferFlags.CORRUPTED),
        )

    def _stamp_s(self, sample: Any, buffer: Any) -> float | None:
        """The buffer's time stamp on `time.monotonic()`, as the pipeline's clock tells it."""
        none = self._gst.CLOCK_TIME_NONE
        running = (
            none
            if buffer.pts == none
            else sample.get_segment().to_running_time(self._gst.Format.TIME, buffer.pts)
        )
        if running == none:
            return None
        return float((self._pipeline.get_base_time() + running) * 1e-9 - self._clock_ahead_s)

    def _raise_what_the_bus_says(self, timeout_ns: int) -> None:
        """Raise CaptureLostError if an element reported an error."""
        message = self._bus.timed_pop_filtered(timeout_ns, self._gst.MessageType.ERROR)
        if message is None:
            return
        error, details = message.parse_error()
        # The details' last line is the reason; the first names the element's source file.
        reason = (details or "").strip().splitlines()[-1:]
        texts = [error.message, *(line for line in reason if line not in error.message)]
        raise CaptureLostError(": ".join(text.rstrip(". ") for text in texts)[:_ERROR_TEXT_LIMIT])


def check_pipeline(gst: Any, text: str) -> None:
    """Look at a pipeline without running it.

    Raises:
        SourceError: If it is none, or names what this machine lacks.
    """
    _parsed(gst, text)[0].set_state(gst.State.NULL)


def camera_sends_jpeg(gst: Any, device: str) -> bool:
    """Whether a USB camera has a mode that sends JPEGs; it is opened to be asked.

    Raises:
        CaptureLostError: If it cannot be opened.
    """
    camera = gst.ElementFactory.make("v4l2src")
    if camera is None:
        raise CaptureLostError("GStreamer has no v4l2src: install gstreamer1.0-plugins-good")
    camera.set_property("device", device)
    try:
        if camera.set_state(gst.State.READY) == gst.StateChangeReturn.FAILURE:
            raise CaptureLostError(f"{device} cannot be opened: is it in use, or no camera?")
        caps = camera.get_static_pad("src").query_caps(None)
        names = {caps.get_structure(index).get_name() for index in range(caps.get_size())}
    finally:
        camera.set_state(gst.State.NULL)
    return "image/jpeg" in names


def _ahead_of_monotonic_s(clock: Any) -> float:
    """How far a clock is ahead of `time.monotonic()`: 0 on Linux, elsewhere its zero is another.

    Of several looks the quickest counts: in others this thread may have been kept waiting.
    """
    looks = []
    for _ in range(8):
        before_s = time.monotonic()
        clock_s = clock.get_time() * 1e-9
        after_s = time.monotonic()
        looks.append((after_s - before_s, clock_s - (before_s + after_s) / 2.0))
    return float(min(looks)[1])


def _parsed(gst: Any, text: str) -> tuple[Any, Any]:
    """The pipeline and its appsink."""
    from gi.repository import GLib

    try:
        pipeline = gst.parse_launch(text)
    except GLib.Error as error:
        shown = without_password(text)
        raise SourceError(f"GStreamer refuses the pipeline `{shown}`: {error.message}") from None
    sink = pipeline.get_by_name(SINK_NAME) if isinstance(pipeline, gst.Bin) else None
    if sink is None:
        raise SourceError(f"the pipeline `{without_password(text)}` has no appsink {SINK_NAME}")
    return pipeline, sink
