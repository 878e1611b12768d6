"""The flight log: written, read back by us and by others, whatever happens to the disk."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader

from edge_runtime.contract.errors import ConfigError, DmnilError, SourceError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.flight_log import log_file, recorder, rotation
from edge_runtime.flight_log.clock import ClockAnchor, FlightClock
from edge_runtime.flight_log.compressed_image import encode_compressed_image, picture_of
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.flight_log.header import FlightHeader
from edge_runtime.flight_log.pictures import encode_jpeg
from edge_runtime.flight_log.reader import (
    FlightLog,
    LoggedCounters,
    LoggedDecision,
    LoggedEvent,
    LoggedFrame,
    open_flight_log,
)
from edge_runtime.flight_log.recorder import FlightRecorder
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.outputs.output import SentMessage
from edge_runtime.sources.decoding import decode_picture
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.log import TelemetrySample
from tests.waiting import PATIENCE_S, wait_until

CAMERA = PinholeCamera(320, 240, 300.5)
ANY_SPACE = FlightLogConfig(min_free_mb=0.0)
STILL = TelemetrySample(12.25, 100.0, None, -90.0, 0.1, 3.0, None)
FIX = Fix(
    "000001",
    12.25,
    IntegrityState.TRACKING,
    "recent views agree",
    Position(47.1, 8.2, 4.0, 9.0, 0.1 + 0.2, 12.5),
    stage_ms={"encode": 1.5},
    latency_ms=25.125,
)
SENT = SentMessage("mavlink", "ODOMETRY", bytes(range(256)), 12.5)


def header_of(*, is_live: bool) -> FlightHeader:
    return FlightHeader(
        is_live=is_live,
        encoder=Path("a.encoder"),
        encoder_sha256="e" * 64,
        map=Path("a.map"),
        map_manifest_sha256="f" * 64,
        precision="fp32",
        engine="onnxruntime",
        threads=1,
        localiser=LocaliserConfig(frame_matches=3),
        prior=(47.0, 8.0, 500.0),
        config={"rate_hz": 10.0},
    )


def picture(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return cv2.resize(coarse, (width, height))


def recorder_in(
    folder: Path, config: FlightLogConfig = ANY_SPACE, *, is_live: bool = False
) -> FlightRecorder:
    folder.mkdir(exist_ok=True, parents=True)
    return FlightRecorder(folder, config, header_of(is_live=is_live))


def write_flight(
    folder: Path, frames: int = 8, config: FlightLogConfig = ANY_SPACE, *, is_live: bool = False
) -> Path:
    log = recorder_in(folder, config, is_live=is_live)
    log.camera(CAMERA)
    start_s = time.monotonic() if is_live else 0.0
    for number in range(frames):
        time_s = start_s + number * 0.5
        frame = log.as_logged(Frame(f"{number:06d}", picture(number), number, time_s))
        log.frame(frame, replace(STILL, time_s=time_s))
        log.fix(replace(FIX, frame=frame.name, time_s=time_s))
    log.decision(FIX, {"top_tiles": [{"score": 4.5}]})
    log.decision(FIX, {})
    log.sent([SENT])
    log.event("the camera is gone", "warning")
    log.counters_now({"captured": np.int64(5)})
    log.close()
    return folder


def entries_of(log: FlightLog, kind: Any) -> list[Any]:
    return [entry for entry in log.entries() if isinstance(entry, kind)]


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_flight(tmp_path_factory.mktemp("flown") / "a.flight")


def test_everything_is_read_back_as_it_was_given(flown: Path) -> None:
    log = open_flight_log(flown)
    frames = entries_of(log, LoggedFrame)
    assert [frame.name for frame in frames] == [f"{n:06d}" for n in range(8)]
    assert [frame.sequence for frame in frames] == list(range(8))
    assert frames[3].sample == replace(STILL, time_s=1.5)
    assert frames[3].is_as_flown
    assert log.fixes[3] == replace(FIX, frame="000003", time_s=1.5)
    (decision,) = entries_of(log, LoggedDecision)
    assert (decision.frame, decision.values["top_tiles"]) == ("000001", [{"score": 4.5}])
    assert entries_of(log, SentMessage) == [SENT]
    assert [(event.text, event.level) for event in entries_of(log, LoggedEvent)] == [
        ("the camera is gone", 3)
    ]
    assert [counters.values for counters in entries_of(log, LoggedCounters)] == [{"captured": 5}]
    assert log.camera == CAMERA
    assert log.damage == []


def test_the_header_tells_what_flew_from_anywhere(flown: Path) -> None:
    header = open_flight_log(flown).header
    assert header.localiser == LocaliserConfig(frame_matches=3)
    assert header.encoder == Path("a.encoder").absolute()
    assert header.prior == (47.0, 8.0, 500.0)
    assert header.versions["numpy"] == np.__version__
    assert header.config == {"rate_hz": 10.0}


def test_what_is_flown_is_what_is_logged(tmp_path: Path) -> None:
    log = recorder_in(tmp_path)
    raw = Frame("a", picture(1), 1, 0.0)
    flown = log.as_logged(raw)
    assert flown.image is not None
    assert not np.array_equal(flown.image, raw.image)  # JPEG is not what the camera gave
    log.frame(flown, STILL)
    log.close()
    (frame,) = entries_of(open_flight_log(tmp_path), LoggedFrame)
    assert np.array_equal(decode_picture(frame.picture), flown.image)


def test_a_cameras_own_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    coded = encode_jpeg(picture(1), 70)
    frame = Frame("a", decode_picture(coded), 1, 0.0, coded)
    log = recorder_in(tmp_path)
    assert log.as_logged(frame) is frame
    log.frame(frame, STILL)
    log.close()
    assert entries_of(open_flight_log(tmp_path), LoggedFrame)[0].picture == coded


def test_bytes_that_decode_to_another_picture_here_are_what_is_flown(tmp_path: Path) -> None:
    coded = encode_jpeg(picture(1), 70)
    by_another_decoder = np.asarray(decode_picture(coded), np.int16) + 1
    frame = Frame("a", by_another_decoder.clip(0, 255).astype(np.uint8), 1, 0.0, coded)
    log = recorder_in(tmp_path)
    for _ in range(2):
        assert np.array_equal(log.as_logged(frame).image, decode_picture(coded))
    log.close()


def test_a_flight_without_pictures_is_flown_on_the_camera_s_own(tmp_path: Path) -> None:
    log = recorder_in(tmp_path, replace(ANY_SPACE, pictures="none"))
    frame = Frame("a", picture(1), 1, 0.0)
    assert log.as_logged(frame) is frame
    log.frame(frame, STILL)
    log.close()
    (logged,) = entries_of(open_flight_log(tmp_path), LoggedFrame)
    assert logged.picture is None
    assert logged.sample == STILL


def test_few_pictures_a_second_are_an_even_choice(tmp_path: Path) -> None:
    write_flight(tmp_path, 8, replace(ANY_SPACE, pictures_per_s=1.0))  # frames come at 2 Hz
    kept = [
        frame.picture is not None for frame in entries_of(open_flight_log(tmp_path), LoggedFrame)
    ]
    assert kept == [True, False] * 4


# Peers


def test_the_mcap_package_reads_a_finished_file_by_its_summary(flown: Path) -> None:
    with (flown / "log-0001.mcap").open("rb") as stream:
        reader = make_reader(stream)
        summary = reader.get_summary()
        assert summary is not None
        topics = {channel.topic for channel in summary.channels.values()}
        assert {"/camera/image", "/position", "/fix", "/event"} <= topics
        messages = list(reader.iter_messages(topics=["/position"]))
    schema, _, first = messages[0]
    assert schema is not None
    assert (schema.name, schema.encoding) == ("foxglove.LocationFix", "jsonschema")
    place = json.loads(first.data)
    assert (place["latitude"], place["longitude"]) == (47.1, 8.2)
    assert place["position_covariance"][:2] == [4.0, 0.1 + 0.2]
    assert len(messages) == 8


def test_protobuf_decodes_a_picture_by_the_schema_in_the_file(flown: Path) -> None:
    with (flown / "log-0001.mcap").open("rb") as stream:
        schema, _, message = next(iter(make_reader(stream).iter_messages(topics=["/camera/image"])))
    assert schema is not None
    assert schema.name == "foxglove.CompressedImage"
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema.data).file:
        pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
    image: Any = kind.FromString(message.data)
    assert image.format == "jpeg"
    assert image.frame_id == "camera"
    assert decode_picture(image.data).shape == (240, 320, 3)
    assert image.timestamp.seconds * 10**9 + image.timestamp.nanos == message.log_time


@given(st.integers(0, 2**62), st.text(max_size=20), st.binary(max_size=300))
def test_any_picture_survives_its_message(time_ns: int, frame_id: str, data: bytes) -> None:
    assert picture_of(encode_compressed_image(time_ns, frame_id, data, "png")) == data


@given(st.binary(max_size=60))
def test_any_bytes_are_a_picture_s_message_or_an_error(data: bytes) -> None:
    with suppress(ValueError):
        picture_of(data)


# Clocks


def test_a_live_flight_knows_utc_and_a_recording_does_not(tmp_path: Path, flown: Path) -> None:
    before = time.time()
    log = open_flight_log(write_flight(tmp_path / "live", 2, is_live=True))
    moment = log.clock.utc(log.fixes[0].time_s)
    assert moment is not None
    assert before - PATIENCE_S < moment.timestamp() < time.time() + PATIENCE_S
    assert open_flight_log(flown).clock.utc(1.0) is None


def test_utc_is_by_the_last_setting_of_the_clock() -> None:
    clock = FlightClock([ClockAnchor(10.0, 1000.0), ClockAnchor(20.0, 4610.0)])
    moment = clock.utc(15.0)
    assert moment is not None
    assert moment.timestamp() == 4605.0
    assert clock.moved_s == 3600.0


# The disk


def test_a_log_goes_on_in_a_new_file_that_stands_alone(tmp_path: Path) -> None:
    write_flight(tmp_path, 30, replace(ANY_SPACE, max_file_mb=0.1))
    files = sorted(tmp_path.glob("log-*.mcap"))
    assert len(files) > 2
    assert max(file.stat().st_size for file in files) < 0.5e6
    log = open_flight_log(tmp_path)
    assert [fix.frame for fix in log.fixes] == [f"{n:06d}" for n in range(30)]
    last = open_flight_log(files[-1])
    assert last.camera == CAMERA
    assert last.header == log.header


class Disk:
    """Stands in for os.write: takes so many bytes, then is full."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes
        self._write = os.write

    def write(self, descriptor: int, data: Any) -> int:
        if self.room_bytes <= 0:
            raise OSError(28, "No space left on device")
        taken = self._write(descriptor, bytes(data)[: self.room_bytes])
        self.room_bytes -= taken
        return taken


def test_a_full_disk_is_told_once_and_the_log_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rotation, "_COMMIT_S", 0.01)
    monkeypatch.setattr(rotation, "_DISK_CHECK_S", 0.05)
    disk = Disk(60_000)
    monkeypatch.setattr(log_file.os, "write", disk.write)
    log = recorder_in(tmp_path, is_live=True)
    number = 0

    def fly() -> None:
        nonlocal number
        log.frame(log.as_logged(Frame(f"{number}", picture(number), number, number)), STILL)
        number += 1
        time.sleep(0.005)

    assert wait_until(lambda: fly() or log.counters.fault != "")
    assert "No space" in log.counters.fault
    for _ in range(20):
        fly()
    time.sleep(0.2)
    until_then = open_flight_log(tmp_path / "log-0001.mcap")
    assert 0 < len(entries_of(until_then, LoggedFrame)) < number
    assert "last second" in until_then.damage[0]  # it ends with a whole record
    assert sum("goes on without it" in line for line in caplog.messages) == 1
    disk.room_bytes = 10**9
    assert wait_until(lambda: fly() or log.counters.fault == "")
    fly()
    log.close()
    whole = open_flight_log(tmp_path)
    frames = entries_of(whole, LoggedFrame)
    assert frames[-1].name == f"{number - 1}"
    assert log.counters.dropped > 0
    (event,) = entries_of(whole, LoggedEvent)
    assert "messages are not in it" in event.text


def test_the_disk_is_not_filled_to_the_last_byte(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = recorder_in(tmp_path, FlightLogConfig(min_free_mb=1e9), is_live=True)
    log.fix(FIX)
    log.close()
    assert "log.min_free_mb" in log.counters.fault
    assert list(tmp_path.iterdir()) == []
    assert "goes on without it" in caplog.text


def disk_behind_a_gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The log's disk takes nothing until the gate is set."""
    gate = threading.Event()
    write = os.write

    def slow(descriptor: int, data: Any) -> int:
        gate.wait(PATIENCE_S)
        return write(descriptor, data)

    monkeypatch.setattr(log_file.os, "write", slow)
    return gate


def test_a_live_flight_never_waits_for_a_slow_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_MOST_ENTRIES", 10)
    gate = disk_behind_a_gate(monkeypatch)
    log = recorder_in(tmp_path, is_live=True)
    started = time.monotonic()
    for number in range(200):
        log.fix(replace(FIX, frame=f"{number}"))
    assert time.monotonic() - started < PATIENCE_S / 2
    assert log.counters.dropped >= 180
    gate.set()
    log.close()
    read = open_flight_log(tmp_path)
    assert len(read.fixes) + log.counters.dropped == 200
    assert any("are not in the log" in event.text for event in entries_of(read, LoggedEvent))


def test_pictures_go_first_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_MOST_BYTES", 50_000)
    gate = disk_behind_a_gate(monkeypatch)
    log = recorder_in(tmp_path, is_live=True)
    for number in range(20):
        log.frame(log.as_logged(Frame(f"{number}", picture(number), number, 1.0)), STILL)
    gate.set()
    log.close()
    frames = entries_of(open_flight_log(tmp_path), LoggedFrame)
    assert [frame.name for frame in frames] == [f"{number}" for number in range(20)]
    without = sum(frame.picture is None for frame in frames)
    assert 0 < without == log.counters.dropped_pictures < 20


def test_a_fault_of_the_writer_itself_does_not_end_the_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> bytes:
        raise ZeroDivisionError("bug")

    monkeypatch.setattr(recorder.channels, "fix_content", broken)
    log = recorder_in(tmp_path, is_live=True)
    log.fix(FIX)
    assert wait_until(lambda: "ZeroDivisionError" in log.counters.fault)
    log.fix(FIX)
    log.close()


def test_what_was_written_before_kill_9_is_read(tmp_path: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; import time\n"
        "from tests.edge_runtime.test_flight_log import *\n"
        "log = recorder_in(Path(sys.argv[1]), is_live=True); log.camera(CAMERA); number = 0\n"
        "while True:\n"
        "    now = time.monotonic()\n"
        "    log.frame(log.as_logged(Frame(f'{number}', picture(number), number, now)), STILL)\n"
        "    log.fix(replace(FIX, time_s=now)); number += 1\n"
        "    print(now, flush=True); time.sleep(0.05)\n"
    )
    root = Path(__file__).parents[2]
    folder = tmp_path / ".a.flight.7.part"
    flight = subprocess.Popen(
        [sys.executable, "-c", program, str(folder), str(root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert flight.stdout is not None
    times_s: list[float] = []
    with flight.stdout as told:
        listener = threading.Thread(target=lambda: times_s.extend(map(float, told)))
        listener.start()

        def on_the_disk() -> list[Fix]:
            with suppress(DmnilError):  # there is none yet
                return open_flight_log(tmp_path / "a.flight").fixes
            return []

        def is_written_soon() -> bool:  # half a second later, on a machine with time
            flown_s, fixes = times_s[-1:], on_the_disk()
            return len(fixes) > 30 and flown_s[0] - fixes[-1].time_s < 2.0

        assert wait_until(is_written_soon, look_each_s=0.1)
        before = on_the_disk()
        os.kill(flight.pid, signal.SIGKILL)
        listener.join()
    flight.wait()
    log = open_flight_log(tmp_path / "a.flight")  # by the name that it was to have
    assert log.fixes[: len(before)] == before
    assert abs(times_s[0] - before[0].time_s) < 1e-9
    assert len(log.damage) == 1
    assert "cut off" in log.damage[0]


def is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return path.exists()
    return False


def test_a_file_is_locked_while_it_is_written(tmp_path: Path) -> None:
    log = recorder_in(tmp_path)
    # Whoever looks may hold the lock at the moment that the log wants it: it takes it later.
    assert wait_until(lambda: log.fix(FIX) or is_locked(tmp_path / "log-0001.mcap"))
    log.close()
    assert not is_locked(tmp_path / "log-0001.mcap")


def test_a_file_is_locked_even_if_another_flight_looked_at_it_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    refused: list[int] = []

    def flock_refused_once(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and not refused:
            refused.append(operation)
            raise BlockingIOError
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_refused_once)
    log = recorder_in(tmp_path)
    assert wait_until(lambda: log.fix(FIX) or is_locked(tmp_path / "log-0001.mcap"))
    assert refused
    log.close()


# Damage


def error_of(work: Callable[[], object]) -> str:
    """What a command would print; empty if it goes well."""
    try:
        work()
    except DmnilError as error:
        return str(error) or "an error without words"
    return ""


@pytest.fixture(scope="module")
def file_of(flown: Path) -> bytes:
    return (flown / "log-0001.mcap").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.2, 0.5, 0.9, 0.99, 0.9999])
def test_a_file_cut_anywhere_is_read_as_far_as_it_goes(
    file_of: bytes, tmp_path: Path, share: float
) -> None:
    path = tmp_path / "log-0001.mcap"
    path.write_bytes(file_of[: int(share * len(file_of))])
    told = error_of(lambda: open_flight_log(path))
    if told:
        assert share < 0.1
        assert "\n" not in told
        return
    log = open_flight_log(path)
    assert len(log.fixes) in (0, 8)  # all in one chunk
    assert log.damage


def test_a_damaged_chunk_is_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "_COMMIT_BYTES", 50_000)
    write_flight(tmp_path, 40)
    path = tmp_path / "log-0001.mcap"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    log = open_flight_log(path)
    assert 20 < len(log.fixes) < 40
    assert len(log.damage) == 1
    assert "checksum" in log.damage[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an MCAP file"),
        (b"\x89PNG" * 10, "not an MCAP file"),
        (b"\x89MCAP0\r\n", "far enough"),
        (b"\x89MCAP0\r\n\x05" + b"\xff" * 8, "far enough"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "log-0001.mcap"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        open_flight_log(path)


def test_a_folder_that_is_not_there_or_has_no_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such flight"):
        open_flight_log(tmp_path / "b.flight")
    with pytest.raises(SourceError, match="without a log"):
        open_flight_log(tmp_path)


def read_all(path: Path) -> None:
    """What replay and export do with a log."""
    log = open_flight_log(path)
    for entry in log.entries():
        if isinstance(entry, LoggedFrame) and entry.picture is not None:
            decode_picture(entry.picture)
    _ = log.camera, log.clock.utc(0.0)


MUTATIONS = st.lists(
    st.tuples(st.floats(0.0, 1.0, exclude_max=True), st.binary(min_size=1, max_size=9)),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutations=MUTATIONS, kept=st.floats(0.3, 1.5))
def test_any_damage_ends_in_a_log_or_in_one_error(
    file_of: bytes, tmp_path: Path, mutations: list[tuple[float, bytes]], kept: float
) -> None:
    data = bytearray(file_of)
    for share, replacement in mutations:
        # Half of them where the structure is: at the beginning and the end.
        share = share if len(replacement) % 2 else 0.02 * share if share < 0.5 else 1 - 0.02 * share
        at = int(share * len(data))
        data[at : at + len(replacement)] = replacement
    path = tmp_path / "log-0001.mcap"
    path.write_bytes(data[: int(kept * len(data))])
    assert "\n" not in error_of(lambda: read_all(path))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_entries_of_another_program_end_in_one_error(
    tmp_path: Path, file_of: bytes, data: st.DataObject
) -> None:
    from edge_runtime.flight_log import channels

    header = json.loads(json.dumps({"log_schema_version": 1}))
    path = tmp_path / "log-0001.mcap"
    path.unlink(missing_ok=True)
    whole = log_file.LogFile(path, data.draw(st.just(header) | st.just({}) | st.just([])))
    topic = data.draw(st.sampled_from(channels.TOPICS))
    known = {"frame": "a", "name": "a", "number": 1, "time_s": 1.0, "telemetry": None}
    content = data.draw(JSON_VALUES.map(lambda value: json.dumps(value).encode()) | st.binary())
    if data.draw(st.booleans()):
        changed = {**known, data.draw(st.sampled_from(sorted(known))): data.draw(JSON_VALUES)}
        content = json.dumps(changed).encode()
    whole.add(topic, 5, content)
    whole.finish()
    log = FlightLog(tmp_path, [path])
    assert "\n" not in error_of(lambda: list(log.entries()))
    assert "\n" not in error_of(lambda: read_all(path))


@pytest.mark.parametrize(
    "values",
    [
        {"jpeg_quality": 0},
        {"pictures_per_s": -1.0},
        {"max_file_mb": 0.0},
        {"max_total_mb": float("nan")},
        {"min_free_mb": float("inf")},
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        FlightLogConfig(**values)
