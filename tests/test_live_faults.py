"""A live flight under a simulated aircraft: what it publishes, and what it does when things fail.

The sample's flight is played five times as fast as it was flown: 4 frames a second, 70 m/s.
"""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_FLIGHT, SAMPLE_MAP
from tests.live_flight import LiveFlight, ScoredFix, scored_fixes
from tests.simulated_aircraft import NEEDED, SimulatedAircraft
from tests.waiting import PATIENCE_S, wait_until

pytestmark = NEEDED
SPEED_UP = 5.0
CLIMB_S = 35.0
OPTIONS = (
    f"--encoder={SAMPLE_ENCODER}",
    f"--map={SAMPLE_MAP}",
    "--camera.focal_length_35mm=24",
    "--camera.pitch_deg=-45",
    "--source.stuck_s=0.4",
    "--log_format=json",
    "--localiser.integrity.largest_speed_m_s=150",
)


@pytest.fixture
def flight(tmp_path: Path) -> Iterator[LiveFlight]:
    flying = LiveFlight(tmp_path, list(OPTIONS))
    yield flying
    if flying.process is not None and flying.process.poll() is None:
        flying.kill()


@pytest.fixture
def aircraft(flight: LiveFlight) -> Iterator[SimulatedAircraft]:
    flown = SimulatedAircraft(
        SAMPLE_FLIGHT,
        flight.rtp_port,
        flight.mavlink_port,
        SPEED_UP,
        CLIMB_S,
        flight.bytes_of_fixes,
    )
    yield flown
    flown.land()


def false_fixes(scored: list[ScoredFix]) -> list[ScoredFix]:
    return [
        one
        for one in scored
        if one.fix.position is not None
        and one.error_m is not None
        and one.fix.state is IntegrityState.TRACKING
        and one.error_m > max(100.0, 2 * one.fix.position.radius95_m)
    ]


def scored(flight: LiveFlight, aircraft: SimulatedAircraft) -> list[ScoredFix]:
    return scored_fixes(flight.output, aircraft.camera.shots, SAMPLE_FLIGHT / "truth.csv")


def states_between(fixes: list[ScoredFix], start_s: float, end_s: float) -> list[IntegrityState]:
    return [one.fix.state for one in fixes if start_s <= one.fix.time_s < end_s]


def is_in_state(flight: LiveFlight, state: IntegrityState) -> bool:
    return flight.metrics().get(f'dmnil_state{{state="{state.value}"}}') == 1.0


def wait_for_state(flight: LiveFlight, state: IntegrityState) -> None:
    it_is = wait_until(lambda: is_in_state(flight, state), look_each_s=0.1)
    assert it_is, f"it is not {state.value}: {flight.errors[-2000:]}"


def wait_for_frames(flight: LiveFlight, count: int) -> None:
    """Until the flight has taken up so many frames more: a busy machine takes its time."""
    key = "dmnil_frames_taken_total"
    until = flight.metrics().get(key, 0.0) + count
    assert wait_until(lambda: flight.metrics().get(key, 0.0) >= until, look_each_s=0.1)


def tells_of_silence(flight: LiveFlight, since_s: float) -> bool:
    fixes = read_fixes(flight.output)
    return any(fix.time_s >= since_s + 1.2 and not fix.frame for fix in fixes)


def during(
    flight: LiveFlight, aircraft: SimulatedAircraft, picture: str, seconds: float
) -> tuple[float, float]:
    """Show a faulty picture for a while, then the usual one; start and end of the fault."""

    def exposed() -> int:
        shots = list(aircraft.camera.shots)
        return sum(shot.exposed_s > started_s and not shot.as_usual for shot in shots)

    started_s = time.monotonic()
    aircraft.camera.picture = picture
    time.sleep(seconds)
    if picture == "none":
        assert wait_until(lambda: tells_of_silence(flight, started_s), look_each_s=0.2)
    elif picture != "stuck":  # at the third the second has been flown
        assert wait_until(lambda: exposed() >= 3)
    ended_s = time.monotonic()
    aircraft.camera.picture = "usual"
    wait_until(lambda: is_in_state(flight, IntegrityState.TRACKING), 2.5, look_each_s=0.1)
    return started_s, ended_s


def test_a_camera_that_fails_in_every_way_never_makes_a_false_fix(flight, aircraft) -> None:
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    spans = {
        picture: during(flight, aircraft, picture, seconds)
        for picture, seconds in
        {"black": 1.5, "white": 1.5, "blurred": 1.5, "stuck": 2.0, "none": 2.5}.items()
    }  # fmt: skip
    wait_for_state(flight, IntegrityState.TRACKING)
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    for picture in ("black", "white", "blurred"):
        unusual = [one for one in fixes if one.shot is not None and not one.shot.as_usual]
        within = [one for one in unusual if spans[picture][0] <= one.fix.time_s < spans[picture][1]]
        assert within, picture
        assert IntegrityState.TRACKING not in {one.fix.state for one in within}, picture
    stuck = states_between(fixes, spans["stuck"][0] + 1.5, spans["stuck"][1])
    assert IntegrityState.TRACKING not in stuck
    silent = [
        one.fix
        for one in fixes
        if spans["none"][0] + 1.2 <= one.fix.time_s < spans["none"][1] and one.shot is None
    ]
    assert silent
    assert all("for" in fix.reason and not fix.viewed_matches for fix in silent)
    messages = [json.loads(line)["message"] for line in flight.errors.splitlines()]
    assert any(message.startswith("COASTING") for message in messages)


def test_an_autopilot_that_falls_silent_and_starts_anew_costs_no_false_fix(
    flight, aircraft
) -> None:
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    lost_s = time.monotonic()
    aircraft.autopilot.sends_telemetry = False
    time.sleep(4.0)
    assert wait_until(lambda: flight.is_healthy() is False)
    aircraft.autopilot.sends_telemetry = True
    back_s = time.monotonic()
    wait_for_state(flight, IntegrityState.TRACKING)
    aircraft.autopilot.reboot()
    restarts = "dmnil_loop_mavlink_autopilot_restarts"
    assert wait_until(lambda: flight.metrics()[restarts] >= 1.0, look_each_s=0.1)
    time.sleep(2.0)
    metrics = flight.metrics()
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    assert IntegrityState.TRACKING not in states_between(fixes, lost_s + 2.0, back_s)
    reasons = {one.fix.reason for one in fixes if lost_s + 2.0 <= one.fix.time_s < back_s}
    assert any(reason.startswith("no telemetry for") for reason in reasons)
    assert metrics[restarts] == 1.0


def test_an_autopilot_that_is_never_heard_is_said(flight, aircraft) -> None:
    aircraft.autopilot.sends_telemetry = False
    flight.start()
    aircraft.take_off()
    assert wait_until(lambda: "not flying yet" in flight.errors)
    time.sleep(2.0)
    flight.stop()
    messages = [json.loads(line)["message"] for line in flight.errors.splitlines()]
    waiting = [message for message in messages if message.startswith("not flying yet")]
    assert len(waiting) == 1
    assert "no autopilot heard yet" in waiting[0]


def test_only_what_no_estimator_fuses_leaves_in_shadow_mode(flight, aircraft) -> None:
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    time.sleep(2.0)
    heard = aircraft.autopilot.heard
    assert wait_until(lambda: {"HEARTBEAT", "STATUSTEXT", "TIMESYNC"} <= set(heard))
    assert flight.stop() == 0
    assert set(heard).isdisjoint(
        {"GLOBAL_POSITION_SENSOR", "ODOMETRY", "GPS_INPUT", "VISION_POSITION_ESTIMATE"}
    )


def test_px4_is_fed_positions_that_are_new_true_and_stamped_at_exposure(flight, aircraft) -> None:
    flight.options.append("--outputs.mavlink.feed=px4")
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)

    def sent() -> list[Any]:
        messages = list(aircraft.autopilot.messages)
        return [m for _, m in messages if m.get_type() == "GLOBAL_POSITION_SENSOR"]

    assert wait_until(lambda: len(sent()) > 12)
    assert flight.stop() == 0
    stamps = [message.time_usec for message in sent()]
    assert stamps == sorted(set(stamps))
    fixes = [one for one in scored(flight, aircraft) if one.fix.position is not None]
    assert false_fixes(fixes) == []
    booted_us = aircraft.autopilot.booted_s * 1e6
    exposures_us = {round(one.fix.position.latitude_deg * 1e7): one.fix.time_s for one in fixes}
    errors_us = [
        message.time_usec - message.processing_time - (exposures_us[message.lat] * 1e6 - booted_us)
        for message in sent()
    ]
    # As well as the double's clock is known; of the first answers, a busy machine delays some.
    assert abs(statistics.median(errors_us)) < 20_000
    assert max(map(abs, errors_us)) < 500_000


def test_a_killed_flight_goes_on_from_what_it_knew_and_says_so(flight, aircraft) -> None:
    state = flight.folder / "localiser.state"
    flight.options.append(f"--state={state}")
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    tracking_s = time.time()
    assert wait_until(lambda: state.is_file() and state.stat().st_mtime > tracking_s)
    aircraft.camera.progress = None
    flight.kill()
    flight.start()
    aircraft.camera.progress = flight.bytes_of_fixes
    wait_for_state(flight, IntegrityState.TRACKING)
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    published = [one.fix for one in fixes if one.fix.position is not None]
    assert published[0].reset_counter > 0


@pytest.fixture
def slow_engine(tmp_path: Path) -> dict[str, str]:
    """Makes every engine of a process take 0.6 s for each call."""
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(
        "import time\n"
        "from edge_runtime.engines.onnx_runtime import OnnxRuntimeEngine as Engine\n"
        "encode = Engine.encode\n"
        "def slowly(self, images):\n"
        "    time.sleep(0.6)\n"
        "    return encode(self, images)\n"
        "Engine.encode = slowly\n"
    )
    return {"PYTHONPATH": f"{tmp_path / 'slow'}"}


def test_a_slow_engine_drops_frames_and_queues_none(flight, aircraft, slow_engine) -> None:
    flight.environment = slow_engine
    aircraft.camera.progress = None
    flight.start()
    aircraft.take_off()
    time.sleep(8.0)
    dropped = "dmnil_frames_dropped_total"
    assert wait_until(lambda: flight.metrics().get(dropped, 0.0) > 10.0, look_each_s=0.1)
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    seen = [one.fix for one in fixes if one.fix.latency_ms is not None]
    # A frame that waits while another is encoded is the newest: it never waits for two.
    for before, fix in pairwise(seen[3:]):
        processing_ms = sum(before.stage_ms.values()) + sum(fix.stage_ms.values())
        assert fix.latency_ms < processing_ms + 2000.0


def test_a_flooded_live_page_costs_the_flight_nothing(flight, aircraft) -> None:
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    aircraft.camera.progress = None
    calm_s = time.monotonic()
    time.sleep(3.0)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            flight.metrics_or_none()

    floods = [threading.Thread(target=flood, daemon=True) for _ in range(8)]
    for thread in floods:
        thread.start()
    began_s = time.monotonic()
    time.sleep(4.0)
    stop.set()
    ended_s = time.monotonic()
    for thread in floods:
        thread.join(PATIENCE_S)
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []

    def share_flown(start_s: float, end_s: float) -> float:
        exposed = [shot for shot in aircraft.camera.shots if start_s <= shot.exposed_s < end_s]
        flown = [one for one in fixes if one.shot is not None and start_s <= one.fix.time_s < end_s]
        return len(flown) / len(exposed)

    assert share_flown(began_s, ended_s) > 0.5 * share_flown(calm_s, began_s)


@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs libfaketime (faketime)")
def test_a_wall_clock_that_jumps_an_hour_changes_nothing(flight, aircraft) -> None:
    clock = flight.folder / "clock"
    clock.write_text("+0\n")
    library = next(Path("/usr/lib").rglob("libfaketimeMT.so.1"))
    flight.environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    jumped_s = time.monotonic()
    clock.write_text("+3600\n")
    time.sleep(3.0)
    clock.write_text("-3600\n")
    time.sleep(3.0)
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    states = states_between(fixes, jumped_s, jumped_s + 6.0)
    assert states.count(IntegrityState.TRACKING) > 0.5 * len(states)
