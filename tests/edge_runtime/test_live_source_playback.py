"""Folders and videos that are played as if they were cameras."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.contract.errors import SourceError
from edge_runtime.doctor.artefacts import check_source
from edge_runtime.doctor.finding import Status
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.folder import FolderSource
from edge_runtime.sources.frame import Frame
from edge_runtime.sources.open import open_live_source
from edge_runtime.sources.playback import PlaybackSource, Recording
from tests.waiting import PATIENCE_S, wait_until

NAMES = ["view_2.jpg", "view_3.png", "view_10.jpg", "view_11.jpg"]
FAST = SourceConfig(pacing="fast")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        assert cv2.imwrite(str(tmp_path / name), np.full((24, 32, 3), 50 * number, np.uint8))
    return tmp_path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.8 s of ever brighter grey at 20 Hz."""
    path = tmp_path_factory.mktemp("video") / "a flight.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for number in range(16):
        writer.write(np.full((48, 64, 3), 15 * number, np.uint8))
    writer.release()
    return path


def test_played_fast_every_picture_comes_under_its_own_name(folder: Path) -> None:
    with closing(open_live_source(f"dir://{folder}", FAST)) as source:
        frames = [source.newest(0.0) for _ in NAMES]
        assert not source.has_ended
        assert source.newest(0.0) is None
        assert source.has_ended
        assert "played to its end" in source.fault
        assert source.counters.captured == 4
        assert source.counters.dropped == 0
    found = [frame for frame in frames if frame is not None]
    assert [frame.name for frame in found] == NAMES
    assert [frame.number for frame in found] == [2, 3, 10, 11]
    start_s = found[0].time_s
    assert start_s is not None
    times_s = [frame.time_s for frame in found]
    assert times_s == pytest.approx([start_s + 0.1 * n for n in range(4)])


def test_a_picture_comes_with_the_bytes_it_was_decoded_from(folder: Path) -> None:
    (folder / "view_12.jpg").write_bytes(b"\xff\xd8 cut short")
    frames = list(FolderSource(folder))
    for frame in frames[:-1]:
        assert frame.encoded == (folder / frame.name).read_bytes()
    assert (frames[-1].image, frames[-1].encoded) == (None, None)
    assert [frame.encoded for frame in FolderSource(folder)] == [f.encoded for f in frames]


def test_a_picture_that_does_not_decode_comes_without_one(folder: Path) -> None:
    (folder / "view_1.jpg").write_bytes(b"no picture")
    with closing(open_live_source(f"dir://{folder}", FAST)) as source:
        frame = source.newest(0.0)
        assert frame is not None
        assert (frame.name, frame.image) == ("view_1.jpg", None)
        assert source.counters.undecodable == 1


def test_played_in_real_time_pictures_come_when_they_are_due(folder: Path) -> None:
    config = SourceConfig(rate_hz=20.0)
    with closing(open_live_source(f"dir://{folder}", config)) as source:
        names = []
        while not source.has_ended:
            frame = source.newest(PATIENCE_S)
            if frame is not None:
                names.append(frame.name)
                assert frame.time_s is not None
                assert 0.0 <= time.monotonic() - frame.time_s < PATIENCE_S
        assert time.monotonic() - source.clock_start_s >= 0.15  # type: ignore[attr-defined]
        counters = source.counters
    assert names == [name for name in NAMES if name in names]
    assert counters.captured == len(NAMES) == len(names) + counters.dropped


def test_a_slow_consumer_gets_the_newest_picture_and_the_rest_is_counted(tmp_path: Path) -> None:
    for number in range(1, 4):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((9, 9), number, np.uint8))
    config = SourceConfig(rate_hz=1.0)  # one that the player comes to a second late is left out
    with closing(open_live_source(f"dir://{tmp_path}", config)) as source:
        assert wait_until(lambda: "played to its end" in source.fault)
        assert not source.has_ended
        frame = source.newest(0.0)
        assert frame is not None
        assert frame.name == "3.png"
        assert source.newest(0.0) is None
        assert source.has_ended
        assert (source.counters.captured, source.counters.dropped) == (3, 2)


def test_a_video_is_played_by_its_own_clock(video: Path) -> None:
    with closing(open_live_source(f"file://{video}".replace(" ", "%20"))) as source:
        frames = []
        while not source.has_ended:
            frame = source.newest(PATIENCE_S)
            if frame is not None:
                frames.append(frame)
        start_s = source.clock_start_s  # type: ignore[attr-defined]
        assert time.monotonic() - start_s >= 15 / 20.0
        assert len(frames) + source.counters.dropped == source.counters.captured == 16
    for frame in frames:
        assert frame.time_s is not None
        assert frame.number == int(frame.name)
        assert frame.image is not None
        assert float(frame.image.mean()) == pytest.approx(15 * (frame.number - 1), abs=3)
    last = frames[-1]
    assert (last.number, last.time_s) == (16, pytest.approx(start_s + 15 / 20.0))


def test_a_video_may_be_thinned_out_and_played_fast(video: Path) -> None:
    config = SourceConfig(pacing="fast", rate_hz=5.0)
    with closing(open_live_source(f"file://{video}", config)) as source:
        names = [frame.name for frame in iter(lambda: source.newest(0.0), None)]
    assert names == ["000001", "000005", "000009", "000013"]


def test_a_loop_begins_again_and_its_clock_goes_on(folder: Path) -> None:
    config = SourceConfig(pacing="fast", rate_hz=5.0, loop=True)
    with closing(open_live_source(f"dir://{folder}", config)) as source:
        frames = [source.newest(0.0) for _ in range(6)]
        assert not source.has_ended
    found = [frame for frame in frames if frame is not None]
    assert [frame.name for frame in found] == [*NAMES, *NAMES[:2]]
    times_s = np.array([frame.time_s for frame in found])
    assert np.diff(times_s) == pytest.approx(0.2)


def slow_frames(may_skip: bool) -> Recording:
    """A frame each 10 ms, of which each takes 40 ms to decode."""

    def decoded(number: int) -> Frame:
        time.sleep(0.04)
        return Frame(f"{number:06d}", np.zeros((2, 2, 3), np.uint8))

    return Recording(
        lambda: ((0.01 * n, lambda n=n: decoded(n)) for n in range(60)), 0.01, 0.6, may_skip
    )


@pytest.mark.parametrize("may_skip", [True, False])
def test_what_does_not_decode_in_real_time_never_lags_ever_further(may_skip: bool) -> None:
    ages_s = []
    with closing(PlaybackSource(slow_frames(may_skip), SourceConfig(), "test://slow")) as source:
        while not source.has_ended:
            frame = source.newest(PATIENCE_S)
            if frame is not None and frame.time_s is not None:
                ages_s.append(time.monotonic() - frame.time_s)
        counters = source.counters
    assert counters.captured == 60
    assert len(ages_s) + counters.dropped == 60
    if may_skip:
        assert counters.dropped >= 30
        assert np.median(ages_s) < 0.5
    else:
        # 60 frames of 40 ms end 1.8 s late by the recording's clock, their last quarter 1.6 s.
        assert np.median(ages_s[-15:]) < 1.2


def test_closing_stops_a_recording_at_once(folder: Path) -> None:
    source = open_live_source(f"dir://{folder}", SourceConfig(rate_hz=0.01))
    assert source.newest(PATIENCE_S) is not None
    started_s = time.monotonic()
    source.close()
    assert source.newest(PATIENCE_S) is None
    assert time.monotonic() - started_s < PATIENCE_S  # the next picture is due after 100 s
    assert source.has_ended


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("dir:///nowhere", "dir:///nowhere: no such folder"),
        ("file:///nowhere.mp4", "file:///nowhere.mp4: no such video"),
    ],
)
def test_what_is_not_there_is_one_line(uri: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_live_source(uri)


def test_a_file_that_is_no_video_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "flight.mp4").write_bytes(b"no video at all")
    with pytest.raises(SourceError, match="cannot be opened as a video"):
        open_live_source(f"file://{tmp_path / 'flight.mp4'}")
    with pytest.raises(SourceError, match="holds no picture"):
        open_live_source(f"dir://{tmp_path}")


def test_the_doctor_looks_at_a_recording_by_its_uri(folder: Path) -> None:
    finding = check_source(f"dir://{folder}")
    assert finding.status is Status.OK
    assert "first frame view_2.jpg is 32 x 24" in finding.what
    finding = check_source("csi://front")
    assert finding.status is Status.FAIL
    assert "takes the sensor's number" in finding.what
