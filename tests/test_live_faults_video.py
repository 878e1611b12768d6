"""Live flights whose camera, disk or map is not what it should be, as in `test_live_faults`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
import pytest

from edge_runtime.cli import main
from edge_runtime.contract.fix import IntegrityState
from edge_runtime.flight_log.reader import LoggedFrame, open_flight_log
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_FLIGHT, SAMPLE_MAP
from tests.free_ports import free_port
from tests.live_flight import LiveFlight, scored_fixes
from tests.simulated_aircraft import (
    NEEDED,
    FlightPlan,
    FlightTime,
    Shot,
    SimulatedAircraft,
    SimulatedAutopilot,
)
from tests.test_live_faults import (
    CLIMB_S,
    OPTIONS,
    SPEED_UP,
    false_fixes,
    scored,
    states_between,
    wait_for_frames,
    wait_for_state,
)
from tests.waiting import PATIENCE_S, wait_until

pytestmark = NEEDED
TRUTH = SAMPLE_FLIGHT / "truth.csv"


@contextmanager
def flying(folder: Path, options: list[str]) -> Iterator[LiveFlight]:
    flight = LiveFlight(folder, options)
    try:
        yield flight
    finally:
        if flight.process is not None and flight.process.poll() is None:
            flight.kill()


@contextmanager
def aircraft_of(flight: LiveFlight) -> Iterator[SimulatedAircraft]:
    aircraft = SimulatedAircraft(
        SAMPLE_FLIGHT,
        flight.rtp_port,
        flight.mavlink_port,
        SPEED_UP,
        CLIMB_S,
        flight.bytes_of_fixes,
    )
    try:
        yield aircraft
    finally:
        aircraft.land()


# An RTSP server that is killed and comes back

# Its process does not know how busy the flight is: it flies slowly enough for any machine.
RTSP_SPEED_UP = SPEED_UP / 2


@contextmanager
def rtsp_camera(port: int, started_s: float) -> Iterator[subprocess.Popen[str]]:
    arguments = [port, SAMPLE_FLIGHT, RTSP_SPEED_UP, CLIMB_S, started_s]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rtsp_camera", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.skip("needs GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0)")
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_an_rtsp_server_killed_and_back_costs_no_false_fix(tmp_path: Path) -> None:
    port = free_port()
    uri = f"rtsp://127.0.0.1:{port}/live"
    options = [*OPTIONS, f"--source={uri}", "--source.stall_s=1.5", "--source.longest_wait_s=0.5"]
    stop = threading.Event()
    with flying(tmp_path, options) as flight:
        flight.start()
        started_s = time.monotonic() + 2.0
        plan = FlightPlan(SAMPLE_FLIGHT, RTSP_SPEED_UP, CLIMB_S)
        autopilot = SimulatedAutopilot(plan, flight.mavlink_port)
        flown = FlightTime(started_s)
        player = threading.Thread(target=autopilot.play, args=(flown, stop), daemon=True)
        player.start()
        try:
            with rtsp_camera(port, started_s) as server:
                wait_for_state(flight, IntegrityState.TRACKING)
                server.send_signal(signal.SIGKILL)
                server.wait()
                killed_s = time.monotonic()
                time.sleep(3.0)
                assert wait_until(lambda: flight.is_healthy() is False)
            with rtsp_camera(port, started_s):
                back_s = time.monotonic()
                time.sleep(1.0)
                wait_for_state(flight, IntegrityState.TRACKING)
                metrics = flight.metrics()
                assert flight.stop() == 0
        finally:
            stop.set()
            player.join(PATIENCE_S)
            autopilot.close()
        shots = [
            Shot(started_s + due_s, name, True)
            for due_s, name in zip(plan.times_s, plan.frames, strict=True)
        ]
        fixes = scored_fixes(flight.output, shots, TRUTH)
    assert false_fixes(fixes) == []
    # A position may coast for a moment; a second on it no longer is one of a view.
    assert IntegrityState.TRACKING not in states_between(fixes, killed_s + 1.2, back_s)
    assert any(one.fix.time_s > back_s and one.error_m is not None for one in fixes)
    assert metrics["dmnil_source_reconnects_total"] >= 1.0


# Lines on which anybody may speak


def garbage(port: int, seeds: list[bytes], stop: threading.Event) -> int:
    """Send random bytes and altered packets to a port until told to stop; how many."""
    rng, sent = Random(1), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        while not stop.is_set():
            data = bytearray(rng.choice(seeds) if rng.random() < 0.7 else rng.randbytes(60))
            data[rng.randrange(len(data))] ^= 1 + rng.randrange(255)
            with suppress(OSError):
                line.sendto(bytes(data[: rng.randrange(1, len(data) + 1)]), ("127.0.0.1", port))
            sent += 1
            time.sleep(0.001)
    return sent


def test_garbage_on_the_lines_of_autopilot_and_camera_costs_no_fix(tmp_path: Path) -> None:
    from pymavlink.dialects.v20 import common

    codec = common.MAVLink(None, srcSystem=1, srcComponent=1)
    frames = [
        bytes(message.pack(codec))
        for message in (
            common.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3),
            common.MAVLink_attitude_message(1000, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0),
            common.MAVLink_global_position_int_message(1000, 0, 0, 0, 10**6, 0, 0, 0, 0),
            common.MAVLink_timesync_message(5, 7),
        )
    ]
    # Version 2, JPEG (payload type 26), a sequence number, a time, a source; then JPEG's own head.
    packet = bytes((0x80, 26, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7)) + bytes(8) + bytes(range(200))
    stop = threading.Event()
    with flying(tmp_path, list(OPTIONS)) as flight, aircraft_of(flight) as aircraft:
        flight.start()
        aircraft.take_off()
        wait_for_state(flight, IntegrityState.TRACKING)
        lines = [(flight.mavlink_port, frames), (flight.rtp_port, [packet])]
        began_s = time.monotonic()
        speakers = [
            threading.Thread(target=garbage, args=(port, seeds, stop), daemon=True)
            for port, seeds in lines
        ]
        for speaker in speakers:
            speaker.start()
        time.sleep(6.0)
        read = "dmnil_loop_mavlink_garbage_bytes"
        assert wait_until(lambda: flight.metrics()[read] > 10_000.0, look_each_s=0.1)
        stop.set()
        for speaker in speakers:
            speaker.join(PATIENCE_S)
        ended_s = time.monotonic()
        time.sleep(1.0)
        wait_for_state(flight, IntegrityState.TRACKING)
        assert flight.stop() == 0
        fixes = scored(flight, aircraft)
        frames_logged = [
            one for one in open_flight_log(flight.output).entries() if isinstance(one, LoggedFrame)
        ]
    assert false_fixes(fixes) == []
    assert states_between(fixes, began_s, ended_s)
    assert len(frames_logged) >= sum(one.shot is not None for one in fixes)


# A disk that fills up


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") is not None and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("needs leave to mount a small tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as stream, suppress(OSError):
        while True:
            os.write(stream.fileno(), bytes(4096))
    return ballast


def test_a_full_disk_costs_the_log_and_not_the_flight(tmp_path: Path, small_disk: Path) -> None:
    options = [*OPTIONS, "--log.min_free_mb=0", "--outputs.mavlink.feed=px4"]
    with flying(tmp_path, options) as flight, aircraft_of(flight) as aircraft:
        flight.disk = small_disk
        flight.start()
        output = flight.output
        aircraft.take_off()
        wait_for_state(flight, IntegrityState.TRACKING)

        def logged_frames() -> list[LoggedFrame]:
            entries = open_flight_log(output).entries()
            return [entry for entry in entries if isinstance(entry, LoggedFrame)]

        assert wait_until(lambda: len(logged_frames()) > 5, look_each_s=0.2)
        aircraft.camera.progress = None
        fill(small_disk)
        assert wait_until(lambda: "the flight log pauses" in flight.errors)
        ballast = fill(small_disk)  # what the log gave back of its last piece is taken too
        assert wait_until(lambda: "fixes are not written" in flight.errors)
        filled_s = time.monotonic()

        def fed_since() -> list[Any]:
            messages = list(aircraft.autopilot.messages)
            fed = [one for one in messages if one[1].get_type() == "GLOBAL_POSITION_SENSOR"]
            return [message for received_s, message in fed if received_s > filled_s]

        assert wait_until(lambda: len(fed_since()) > 8)
        wait_for_state(flight, IntegrityState.TRACKING)
        status = flight.stop()
        told = messages_of(flight)
        assert sum("fixes are not written" in line for line in told) == 1
        assert sum("the flight log pauses" in line for line in told) == 1
        assert status == 2
        assert any(f"edge_runtime recover {output}" in line for line in told)
        ballast.unlink()
        # What was written is there and can be read, as of a flight that was cut off.
        kept = read_fixes(output)
        # A short line may still find room behind the last one.
        assert sum(fix.time_s > filled_s for fix in kept) <= 2
        assert any(fix.state is IntegrityState.TRACKING for fix in kept)
        assert len(logged_frames()) > 5
        assert main(["recover", str(output)]) == 0
        assert (output / "manifest.json").is_file()
        fixes = scored_fixes(output, aircraft.camera.shots, TRUTH)
    assert false_fixes(fixes) == []


def messages_of(flight: LiveFlight) -> list[str]:
    lines = []
    for line in flight.errors.splitlines():
        try:
            lines.append(json.loads(line)["message"])
        except ValueError:  # the command's own last line
            lines.append(line)
    return lines


# A map of another place, and pictures of another place


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small map of another generated place, said to lie where the sample's lies."""
    pytest.importorskip("rasterio", reason="building a map needs the maps extra")
    from dmnil_maps.build import build_map
    from dmnil_maps.build_config import BuildConfig
    from dmnil_maps.sample_world.appearance import SATELLITE
    from dmnil_maps.sample_world.satellite import render_satellite, write_geotiff
    from dmnil_maps.sample_world.world import generate_world

    folder = tmp_path_factory.mktemp("elsewhere")
    picture = render_satellite(generate_world(7, 600.0), SATELLITE, 0.8)
    write_geotiff(folder / "satellite.tif", picture, 47.2, 9.6, 0.8)
    config = BuildConfig(
        folder / "satellite.tif", SAMPLE_ENCODER, folder / "elsewhere.map", threads=1
    )
    return build_map(config)


def test_over_a_map_of_another_place_no_position_is_ever_published(
    tmp_path: Path, elsewhere: Path
) -> None:
    options = [elsewhere_for(option, elsewhere) for option in OPTIONS]
    with flying(tmp_path, options) as flight, aircraft_of(flight) as aircraft:
        flight.start()
        aircraft.take_off()
        wait_for_frames(flight, 16)
        aircraft.wait(14.0)
        assert flight.stop() == 0
        fixes = scored(flight, aircraft)
    assert sum(one.shot is not None for one in fixes) > 10
    assert [one.fix for one in fixes if one.fix.position is not None] == []


def elsewhere_for(option: str, elsewhere: Path) -> str:
    return f"--map={elsewhere}" if option == f"--map={SAMPLE_MAP}" else option


def mirrored(picture: bytes) -> bytes:
    """A place that looks like the town and is nowhere in it."""
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    # No larger than the flight's own, or their packets flood the loopback.
    return bytes(cv2.imencode(".jpg", pixels[:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 55])[1])


def test_pictures_of_a_place_off_the_map_end_the_position_without_a_false_fix(
    tmp_path: Path,
) -> None:
    with flying(tmp_path, list(OPTIONS)) as flight, aircraft_of(flight) as aircraft:
        flight.start()
        pictures = aircraft.plan.pictures
        foreign = [mirrored(picture) for picture in pictures]
        aircraft.take_off()
        wait_for_state(flight, IntegrityState.TRACKING)
        time.sleep(1.0)
        left_s = time.monotonic()
        pictures[:] = foreign
        time.sleep(2.0)
        wait_for_frames(flight, 15)  # a search of the whole map is slow: frames are left out
        time.sleep(max(0.0, left_s + 14.0 - time.monotonic()))
        assert flight.stop() == 0
        shots = [replace(shot, as_usual=shot.exposed_s < left_s) for shot in aircraft.camera.shots]
        fixes = scored_fixes(flight.output, shots, TRUTH)
    assert false_fixes(fixes) == []
    after = [one for one in fixes if one.fix.time_s > left_s + 1.5]
    assert len(after) > 10
    assert IntegrityState.TRACKING not in {one.fix.state for one in after}
    assert [one for one in after if one.fix.time_s > left_s + 12.0 and one.fix.position] == []


def test_a_whole_flight_of_mirrored_pictures_publishes_nothing(tmp_path: Path) -> None:
    with flying(tmp_path, list(OPTIONS)) as flight, aircraft_of(flight) as aircraft:
        aircraft.plan.pictures[:] = [mirrored(picture) for picture in aircraft.plan.pictures]
        flight.start()
        aircraft.take_off()
        wait_for_frames(flight, 16)
        aircraft.wait(14.0)
        assert flight.stop() == 0
        fixes = scored(flight, aircraft)
    assert sum(one.shot is not None for one in fixes) > 10
    assert [one.fix for one in fixes if one.fix.position is not None] == []
