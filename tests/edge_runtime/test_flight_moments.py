"""What the flight loop is fed with, and what it keeps of a long flight."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.contract.fix import Fix, IntegrityState
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.kept_state import StateLock, state_before
from edge_runtime.flight.moments import live_moments, sampler_of_log
from edge_runtime.flight.record import FlightRecord
from edge_runtime.flight_camera import FlightCamera
from edge_runtime.flight_lens import FlightLens
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.frame import CaptureCounters, Frame
from edge_runtime.telemetry.log import TelemetrySample, log_of

PICTURE = np.zeros((4, 6, 3), np.uint8)


@dataclass
class ListedSource:
    """A live source that delivers what it is given, None for a wait in vain, and then ends."""

    frames: list[Frame | None]
    fault: str = ""
    counters: CaptureCounters = field(default_factory=CaptureCounters)

    @property
    def has_ended(self) -> bool:
        return not self.frames

    def newest(self, timeout_s: float) -> Frame | None:
        return self.frames.pop(0)

    def close(self) -> None:
        pass


def frames_at(*times_s: float) -> list[Frame | None]:
    return [Frame(f"{number}", PICTURE, time_s=t) for number, t in enumerate(times_s)]


def sample_at(frame: Frame) -> TelemetrySample:
    return TelemetrySample(-1.0, 100.0, 0.0, -90.0)


def names_flown(source: ListedSource, interval_s: float) -> list[str]:
    moments = live_moments(source, sample_at, interval_s, lambda: True)
    return [moment.frame.name for moment in moments if moment.frame is not None]


def test_a_frame_and_its_telemetry_have_the_time_of_exposure() -> None:
    source = ListedSource(frames_at(7.5))
    (moment,) = live_moments(source, sample_at, 0.0, lambda: True)
    assert moment.time_s == 7.5
    assert moment.sample == replace(sample_at(moment.frame), time_s=7.5)


def test_a_wait_in_vain_is_a_moment_too() -> None:
    source = ListedSource([None, *frames_at(1.0)])
    first, second = live_moments(source, sample_at, 0.0, lambda: True, now_s=lambda: 0.9)
    assert (first.frame, first.sample, first.time_s) == (None, None, 0.9)
    assert second.frame is not None


def test_a_rate_leaves_out_what_comes_in_between() -> None:
    at_30_hz = frames_at(*(number / 30 for number in range(30)))
    flown = [int(name) for name in names_flown(ListedSource(at_30_hz), interval_s=0.1)]
    assert len(flown) in (10, 11)
    assert set(np.diff(flown[1:])) == {3}


def test_a_rate_that_the_camera_just_keeps_leaves_nothing_out() -> None:
    times_s = np.arange(20) * 0.1 + np.random.default_rng(1).uniform(-0.02, 0.02, 20)
    assert len(names_flown(ListedSource(frames_at(*times_s)), interval_s=0.1)) == 20


def test_a_machine_that_is_spared_flies_every_other_frame() -> None:
    turns = iter([True, False] * 3)
    moments = live_moments(ListedSource(frames_at(*range(6))), sample_at, 0.0, lambda: next(turns))
    flown = [moment.frame is not None for moment in moments]
    assert flown == [True, False, True, False, True, False]


def test_a_log_is_joined_by_the_recordings_own_time() -> None:
    rows = [TelemetrySample(t, 100.0 + 10.0 * t, 0.0, -90.0) for t in (0.0, 1.0, 2.0)]
    camera = FlightCamera(log_of(rows, "log"), FlightLens(focal_length_35mm=24.0))
    sample_of = sampler_of_log(camera, clock_start_s=500.0)
    sample = sample_of(Frame("x", PICTURE, time_s=501.5))
    assert sample is not None
    assert sample.height_m == pytest.approx(115.0)
    assert sample_of(Frame("x", PICTURE, time_s=503.0)) is None


def test_a_long_flight_keeps_an_even_sample_of_its_track() -> None:
    record = FlightRecord(largest_track=100)
    for number in range(1000):
        record.add(Fix(str(number), float(number), IntegrityState.TRACKING, ""))
    kept = [int(fix.frame) for fix in record.track]
    assert 50 <= len(kept) <= 100
    assert len(set(np.diff(kept))) == 1
    assert (record.frames, kept[0]) == (1000, 0)


def test_a_short_flight_keeps_all_of_its_track() -> None:
    record = FlightRecord(largest_track=100)
    for number in range(100):
        record.add(Fix(str(number), float(number), IntegrityState.LOST, ""))
    assert [int(fix.frame) for fix in record.track] == list(range(100))


def test_a_damaged_state_does_not_keep_a_drone_on_the_ground(
    tmp_path: Path, region_map, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "localiser.state"
    assert state_before(path, region_map) is None
    path.write_text("{")
    assert state_before(path, region_map) is None
    assert "starting anew" in caplog.text


def test_two_flights_never_keep_their_state_in_one_file(tmp_path: Path) -> None:
    first = StateLock(tmp_path / "flights" / "localiser.state")
    assert first.is_held
    assert not StateLock(tmp_path / "flights" / "localiser.state").is_held
    first.close()
    again = StateLock(tmp_path / "flights" / "localiser.state")
    assert again.is_held
    again.close()


def test_what_is_logged_of_a_flight_names_no_password(tmp_path: Path) -> None:
    source = SourceConfig(uri="rtsp://pilot:secret@camera/stream")
    config = FlightConfig(tmp_path, tmp_path, tmp_path / "x.flight", source=source)
    assert config.shown.source.uri == "rtsp://pilot:***@camera/stream"
    assert config.source.uri == "rtsp://pilot:secret@camera/stream"
