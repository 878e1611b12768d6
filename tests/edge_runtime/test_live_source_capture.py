"""Capture, watchdogs and reconnection, with cameras that do as they are told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.errors import SourceError
from edge_runtime.sources.capture import (
    JPEG,
    Capture,
    CapturedPicture,
    CaptureEndedError,
    CaptureLostError,
)
from edge_runtime.sources.capture_watch import CaptureWatch
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.exposure_clock import ExposureClock
from edge_runtime.sources.jpeg import jpeg_size
from edge_runtime.sources.live import CaptureSource
from edge_runtime.sources.newest_frame import NewestSlot
from tests.waiting import PATIENCE_S, wait_until

NEVER_S = 10 * PATIENCE_S
PATIENT = SourceConfig(
    open_s=NEVER_S,
    stall_s=NEVER_S,
    stuck_s=NEVER_S,
    longest_age_s=NEVER_S,
    first_wait_s=0.02,
    longest_wait_s=0.05,
)
"""Opens a lost camera again at once, and takes none for lost that a busy machine holds up."""
WHOLE_JPEG = cv2.imencode(".jpg", np.random.default_rng(3).integers(0, 255, (16, 24, 3), np.uint8))[
    1
].tobytes()


def picture(number: int, time_s: float | None = None, *, skipped: int = 0) -> CapturedPicture:
    now_s = time.monotonic()
    data = np.full((6, 8, 3), number % 256, np.uint8).tobytes()
    exposure_s = now_s if time_s is None else time_s
    return CapturedPicture(data, "RGB", 8, 6, exposure_s, now_s, skipped)


class FakeCapture:
    """Delivers what it is given, one at a time: pictures, silence (None) or an error."""

    def __init__(self, script: Iterator[CapturedPicture | Exception | None]) -> None:
        self._script = script
        self.is_closed = False

    def read(self, timeout_s: float) -> CapturedPicture | None:
        event = next(self._script, None)
        if isinstance(event, Exception):
            raise event
        if event is None:
            time.sleep(min(timeout_s, 0.01))
        return event

    def close(self) -> None:
        self.is_closed = True


@contextmanager
def running(
    open_capture: Callable[[], Capture], config: SourceConfig = PATIENT, *, ends: bool = False
) -> Iterator[CaptureSource]:
    source = CaptureSource(open_capture, config, "test://camera", "a test", ends=ends)
    try:
        yield source
    finally:
        source.close()


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    script = [picture(number, 100.0 + number) for number in range(5)]
    with running(lambda: FakeCapture(iter(script))) as source:
        assert wait_until(lambda: source.counters.captured == 5)
        frame = source.newest(0.0)
        assert frame is not None
        assert (frame.name, frame.number, frame.time_s) == ("000005", 5, 104.0)
        assert frame.image is not None
        assert frame.image.tolist() == np.full((6, 8, 3), 4).tolist()
        assert source.newest(0.0) is None
        assert source.counters.dropped == 4
        assert source.fault == ""


def test_frames_that_the_pipeline_replaced_are_counted_too() -> None:
    script = [picture(1), picture(2, skipped=3)]
    with running(lambda: FakeCapture(iter(script))) as source:
        assert wait_until(lambda: source.counters.captured == 5)
        frame = source.newest(0.0)
        assert frame is not None
        assert frame.name == "000005"
        assert source.counters.dropped == 4


def test_a_frame_is_waited_for() -> None:
    slot: NewestSlot[int] = NewestSlot()
    threading.Timer(0.05, slot.put, (7,)).start()
    started_s = time.monotonic()
    assert slot.take(NEVER_S) == 7
    assert time.monotonic() - started_s < PATIENCE_S
    slot.close()
    assert slot.take(NEVER_S) is None
    assert time.monotonic() - started_s < PATIENCE_S


def test_a_lost_camera_is_opened_again_and_again_until_it_is_back() -> None:
    openings: list[float] = []
    was_seen = threading.Event()

    def open_capture() -> Capture:
        openings.append(time.monotonic())
        if len(openings) == 1:
            return FakeCapture(iter([picture(1), CaptureLostError("unplugged")]))
        was_seen.wait(PATIENCE_S)
        if len(openings) < 5:
            raise CaptureLostError("no such device")
        return FakeCapture(iter([picture(2)]))

    with running(open_capture) as source:
        assert wait_until(lambda: "unplugged; opening again in 0.0 s" in source.fault)
        assert source.fault.startswith("test://camera: ")
        was_seen.set()
        assert wait_until(lambda: source.counters.captured == 2)
        assert wait_until(lambda: source.fault == "")
        assert source.counters.reconnects == 4
        assert not source.has_ended
        frame = source.newest(0.0)
        assert frame is not None
        assert frame.number == 2
    waits_s = np.diff(openings)
    assert waits_s[0] >= 0.02
    assert all(wait_s >= 0.04 for wait_s in waits_s[1:])  # doubled once, then at its end


def test_the_wait_doubles_up_to_its_limit() -> None:
    openings: list[float] = []

    def open_capture() -> Capture:
        openings.append(time.monotonic())
        raise CaptureLostError("no answer")

    with running(open_capture, SourceConfig(first_wait_s=0.02, longest_wait_s=0.08)):
        assert wait_until(lambda: len(openings) == 6)
    waits_s = np.diff(openings)
    for wait_s, least_s in zip(waits_s, (0.02, 0.04, 0.08, 0.08, 0.08), strict=True):
        assert wait_s >= least_s


def test_silence_is_a_stall_and_the_camera_is_opened_again() -> None:
    captures: list[FakeCapture] = []
    was_seen = threading.Event()

    def open_capture() -> Capture:
        if captures:
            was_seen.wait(PATIENCE_S)
        captures.append(FakeCapture(iter([picture(len(captures))])))
        return captures[-1]

    with running(open_capture, replace(PATIENT, stall_s=0.3)) as source:
        assert wait_until(lambda: "no frame for" in source.fault)
        assert source.counters.stalls == 1
        was_seen.set()
        assert wait_until(lambda: source.counters.captured >= 2)
        assert captures[0].is_closed


def test_a_picture_that_repeats_is_no_new_one_and_the_camera_counts_as_stuck() -> None:
    def stuck() -> Iterator[CapturedPicture]:
        while True:
            yield picture(9)
            time.sleep(0.01)

    def all_but_one_repeat() -> bool:
        counters = source.counters
        return counters.captured - counters.repeated == 1

    config = replace(PATIENT, stuck_s=0.2, stall_s=0.3)
    with running(lambda: FakeCapture(stuck()), config) as source:
        assert source.newest(PATIENCE_S) is not None
        assert source.newest(0.0) is None
        assert wait_until(lambda: "has not changed for" in source.fault)
        assert wait_until(lambda: source.counters.reconnects >= 2)
        assert source.newest(0.1) is None  # it is the same picture still
        assert source.counters.stalls == 0
        assert wait_until(all_but_one_repeat)  # one that comes this moment is told apart the next
    assert source.fault == "test://camera: closed"


def test_a_camera_that_is_no_longer_stuck_clears_its_fault() -> None:
    was_seen = threading.Event()

    def stuck_until_seen() -> Iterator[CapturedPicture]:
        while not was_seen.wait(0.01):
            yield picture(9)
        yield picture(10)

    with running(lambda: FakeCapture(stuck_until_seen()), replace(PATIENT, stuck_s=0.2)) as source:
        assert wait_until(lambda: "has not changed" in source.fault)
        was_seen.set()
        assert wait_until(lambda: source.fault == "")
        assert source.counters.reconnects == 0


def test_repeated_pictures_may_be_believed() -> None:
    config = SourceConfig(stuck_s=0.0)
    with running(lambda: FakeCapture(iter([picture(1), picture(1)])), config) as source:
        assert wait_until(lambda: source.counters.captured == 2)
        assert source.counters.repeated == 0
        frame = source.newest(0.0)
        assert frame is not None
        assert frame.number == 2


def test_a_stream_that_lags_is_opened_again() -> None:
    def late() -> Iterator[CapturedPicture]:
        for number in range(10_000):
            yield picture(number, time.monotonic() - 4.0)
            time.sleep(0.01)

    openings: list[int] = []
    was_seen = threading.Event()

    def open_capture() -> Capture:
        openings.append(1)
        if len(openings) > 1:
            was_seen.wait(PATIENCE_S)
        return FakeCapture(late())

    with running(open_capture, replace(PATIENT, longest_age_s=0.5, stall_s=0.3)) as source:
        assert wait_until(lambda: "frames come 4." in source.fault)
        was_seen.set()
        assert wait_until(lambda: len(openings) >= 2)


def test_one_late_frame_is_no_lag() -> None:
    watch = CaptureWatch(replace(PATIENT, longest_age_s=0.5, stall_s=0.3), 0.0)
    for arrival_s, age_s in ((1.0, 0.1), (1.1, 4.0), (1.2, 0.1), (1.4, 4.0)):
        watch.require_prompt(
            CapturedPicture(b"", "RGB", 1, 1, time_s=arrival_s - age_s, arrival_s=arrival_s)
        )
    with pytest.raises(CaptureLostError, match=r"4\.0 s late"):
        watch.require_prompt(CapturedPicture(b"", "RGB", 1, 1, time_s=-2.4, arrival_s=1.6))


def test_a_known_delay_is_no_lag() -> None:
    config = SourceConfig(delay_s=3.0, longest_age_s=0.5, stall_s=0.1)
    watch = CaptureWatch(config, 0.0)
    for step in range(10):
        watch.require_prompt(
            CapturedPicture(b"", "RGB", 1, 1, time_s=step - 3.1, arrival_s=float(step))
        )


def test_a_jpeg_is_kept_as_it_came_and_decoded_from_that() -> None:
    data = WHOLE_JPEG
    cut = data[: len(data) // 2]
    script = [
        CapturedPicture(data, JPEG, 24, 16, 5.0, time.monotonic()),
        CapturedPicture(cut, JPEG, 24, 16, 5.1, time.monotonic()),
    ]
    with running(lambda: FakeCapture(iter(script))) as source:
        assert wait_until(lambda: source.counters.undecodable == 1)
        frame = source.newest(0.0)
        assert frame is not None
        assert frame.image is not None
        assert frame.encoded == data
        assert frame.number == 1
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert np.array_equal(frame.image, decoded[:, :, ::-1])
        assert source.counters.captured == 1


@pytest.mark.parametrize("quality", [10, 95])
@pytest.mark.parametrize("progressive", [0, 1])
def test_the_size_of_a_jpeg_stands_in_its_header(quality: int, progressive: int) -> None:
    wishes = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
    data = cv2.imencode(".jpg", np.zeros((33, 321, 3), np.uint8), wishes)[1].tobytes()
    assert jpeg_size(data) == (321, 33)
    assert jpeg_size(data[:40]) is None
    assert jpeg_size(b"") is None
    assert CapturedPicture(data, JPEG, 321, 33, 0.0, 0.0).is_whole
    assert not CapturedPicture(data, JPEG, 64, 33, 0.0, 0.0).is_whole
    assert CapturedPicture(data, JPEG, 0, 0, 0.0, 0.0).is_whole


@given(st.binary(max_size=64))
def test_the_header_of_no_jpeg_is_read_to_its_end(data: bytes) -> None:
    size = jpeg_size(b"\xff\xd8\xff" + data)
    assert size is None or min(size) >= 0


def test_a_whole_looking_jpeg_that_does_not_decode_is_passed_over() -> None:
    rubbish = WHOLE_JPEG[:20] + b"\xff\xc0\x00\x08\x08\x00\x08\x00\x08\xff\xd9"
    script = [CapturedPicture(rubbish, JPEG, 0, 0, 5.0, time.monotonic())]
    with running(lambda: FakeCapture(iter(script))) as source:
        assert wait_until(lambda: source.counters.captured == 1)
        assert source.newest(0.05) is None
        assert (source.counters.captured, source.counters.undecodable) == (0, 1)


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_damaged_jpeg_is_a_picture_or_none(changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE_JPEG)
    for at, value in changes:
        data[at % len(data)] = value
    image = CapturedPicture(bytes(data), JPEG, 24, 16, 0.0, 0.0).decoded()
    assert image is None or (image.ndim == 3 and image.shape[2] == 3)


@pytest.mark.parametrize(
    ("pixel_format", "pixel"),
    [
        ("RGB", (10, 20, 30)),
        ("BGR", (30, 20, 10)),
        ("BGRx", (30, 20, 10, 99)),
        ("RGBA", (10, 20, 30, 99)),
    ],
)
def test_pixels_become_rgb_whatever_their_order_and_however_long_their_rows(
    pixel_format: str, pixel: tuple[int, ...]
) -> None:
    rows = np.zeros((4, 5 * len(pixel) + 3), np.uint8)
    rows[:, : 5 * len(pixel)] = np.tile(pixel, 5)
    image = CapturedPicture(rows.tobytes(), pixel_format, 5, 4, 0.0, 0.0).decoded()
    assert image is not None
    assert image.shape == (4, 5, 3)
    assert (image == (10, 20, 30)).all()


def test_pixels_that_are_too_few_are_no_picture() -> None:
    assert CapturedPicture(bytes(59), "RGB", 5, 4, 0.0, 0.0).decoded() is None
    assert CapturedPicture(bytes(60), "RGB", 5, 4, 0.0, 0.0).decoded() is not None


def test_the_end_of_a_finite_source_is_its_end_once_the_last_frame_is_taken() -> None:
    script = [picture(1), CaptureEndedError()]
    with running(lambda: FakeCapture(iter(script)), ends=True) as source:
        assert wait_until(lambda: "ended" in source.fault)
        assert not source.has_ended
        assert source.newest(0.0) is not None
        assert source.has_ended
        started_s = time.monotonic()
        assert source.newest(NEVER_S) is None
        assert time.monotonic() - started_s < PATIENCE_S


def test_the_end_of_a_camera_is_a_loss() -> None:
    openings: list[int] = []

    def open_capture() -> Capture:
        openings.append(1)
        return FakeCapture(iter([picture(len(openings)), CaptureEndedError()]))

    with running(open_capture) as source:
        assert wait_until(lambda: len(openings) >= 3)
        assert not source.has_ended


@pytest.mark.parametrize(
    "error", [SourceError("no element"), ValueError("a driver's oddity"), OSError("bus")]
)
def test_no_error_of_a_driver_ends_the_capture(error: Exception) -> None:
    openings: list[int] = []

    def open_capture() -> Capture:
        openings.append(1)
        if len(openings) == 1:
            raise error
        return FakeCapture(iter([picture(1)]))

    with running(open_capture) as source:
        assert source.newest(PATIENCE_S) is not None


# Exposure times


def test_stamps_on_the_monotonic_clock_are_believed_less_the_known_delay() -> None:
    clock = ExposureClock(is_monotonic=True, delay_s=0.25)
    assert clock.exposure_s(99.5, 100.0) == pytest.approx(99.25)
    assert clock.exposure_s(100.01, 100.0) == pytest.approx(99.75)  # never after it came
    assert clock.exposure_s(160.0, 100.0) == pytest.approx(99.75)  # no clock of ours
    assert clock.exposure_s(None, 100.0) == pytest.approx(99.75)


def test_stamps_of_another_zero_are_laid_on_the_promptest_frame() -> None:
    clock = ExposureClock(is_monotonic=False)
    delays_s = (0.30, 0.12, 0.10, 0.18, 0.11, 0.35)
    exposures_s = [
        clock.exposure_s(5000.0 + 0.1 * n, 70.0 + 0.1 * n + delay_s)
        for n, delay_s in enumerate(delays_s)
    ]
    errors_s = [exposure_s - (70.1 + 0.1 * n) for n, exposure_s in enumerate(exposures_s)]
    assert errors_s == pytest.approx([0.2, 0.02, 0.0, 0.0, 0.0, 0.0])


def test_the_backlog_of_a_stream_is_not_relied_on() -> None:
    clock = ExposureClock(is_monotonic=False)
    settled = []
    for n in range(25):
        arrival_s = max(1.5 + 0.001 * n, 0.1 * n + 0.05)  # fourteen frames come at once
        clock.exposure_s(0.1 * n, arrival_s)
        settled.append(clock.is_settled)
    assert settled.index(True) == 20
    assert all(settled[20:])
    assert clock.exposure_s(2.5, 2.7) == pytest.approx(2.55)


def test_a_source_clock_that_is_set_anew_is_followed() -> None:
    clock = ExposureClock(is_monotonic=False)
    assert clock.exposure_s(10.0, 100.1) == pytest.approx(100.1)
    assert clock.exposure_s(3610.2, 100.2) == pytest.approx(100.2)
    assert clock.exposure_s(3610.3, 100.4) == pytest.approx(100.3)
