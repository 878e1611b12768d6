"""A live flight under a simulated aircraft: what it publishes, and what it does when things fail.

The sample's flight is played five times as fast as it was flown: 4 frames a second, 70 m/s.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_FLIGHT, SAMPLE_MAP
from tests.live_flight import LiveFlight, ScoredFix, scored_fixes
from tests.simulated_aircraft import NEEDED, SimulatedAircraft

pytestmark = NEEDED
SPEED_UP = 5.0
CLIMB_S = 35.0
OPTIONS = [
    f"--encoder={SAMPLE_ENCODER}",
    f"--map={SAMPLE_MAP}",
    "--camera.focal_length_35mm=24",
    "--camera.pitch_deg=-45",
    "--source.stuck_s=0.4",
    "--log_format=json",
    "--localiser.integrity.largest_speed_m_s=150",
]


@pytest.fixture
def flight(tmp_path: Path) -> Iterator[LiveFlight]:
    flying = LiveFlight(tmp_path, OPTIONS)
    yield flying
    if flying.process is not None and flying.process.poll() is None:
        flying.kill()


@pytest.fixture
def aircraft(flight: LiveFlight) -> Iterator[SimulatedAircraft]:
    flown = SimulatedAircraft(
        SAMPLE_FLIGHT, flight.rtp_port, flight.mavlink_port, SPEED_UP, CLIMB_S
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


def wait_for_state(flight: LiveFlight, state: IntegrityState, limit_s: float = 15.0) -> None:
    ends_s = time.monotonic() + limit_s
    while time.monotonic() < ends_s:
        metrics = flight.metrics() or {}
        if metrics.get(f'dmnil_state{{state="{state.value}"}}') == 1.0:
            return
        time.sleep(0.1)
    raise AssertionError(f"it is not {state.value}: {flight.errors[-2000:]}")


def during(
    aircraft: SimulatedAircraft, picture: str, seconds: float, calm_s: float = 2.5
) -> tuple[float, float]:
    """Show a faulty picture for a while, then the usual one; start and end of the fault."""
    started_s = time.monotonic()
    aircraft.camera.picture = picture
    time.sleep(seconds)
    ended_s = time.monotonic()
    aircraft.camera.picture = "usual"
    time.sleep(calm_s)
    return started_s, ended_s


def test_a_camera_that_fails_in_every_way_never_makes_a_false_fix(flight, aircraft) -> None:
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    spans = {
        picture: during(aircraft, picture, seconds)
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
    assert flight.health()["healthy"] is False
    aircraft.autopilot.sends_telemetry = True
    back_s = time.monotonic()
    wait_for_state(flight, IntegrityState.TRACKING)
    aircraft.autopilot.reboot()
    time.sleep(2.5)
    metrics = flight.metrics() or {}
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    assert IntegrityState.TRACKING not in states_between(fixes, lost_s + 2.0, back_s)
    reasons = {one.fix.reason for one in fixes if lost_s + 2.0 <= one.fix.time_s < back_s}
    assert any(reason.startswith("no telemetry for") for reason in reasons)
    assert metrics["dmnil_loop_mavlink_autopilot_restarts"] == 1.0


def test_an_autopilot_that_is_never_heard_is_said(flight, aircraft) -> None:
    aircraft.autopilot.sends_telemetry = False
    flight.start()
    aircraft.take_off()
    time.sleep(6.0)
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
    assert flight.stop() == 0
    kinds = set(aircraft.autopilot.heard)
    assert {"HEARTBEAT", "STATUSTEXT", "TIMESYNC"} <= kinds
    assert kinds.isdisjoint(
        {"GLOBAL_POSITION_SENSOR", "ODOMETRY", "GPS_INPUT", "VISION_POSITION_ESTIMATE"}
    )


def test_px4_is_fed_positions_that_are_new_true_and_stamped_at_exposure(flight, aircraft) -> None:
    flight.options.append("--outputs.mavlink.feed=px4")
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    time.sleep(4.0)
    assert flight.stop() == 0
    sent = [m for _, m in aircraft.autopilot.messages if m.get_type() == "GLOBAL_POSITION_SENSOR"]
    assert len(sent) > 5
    stamps = [message.time_usec for message in sent]
    assert stamps == sorted(set(stamps))
    fixes = [one for one in scored(flight, aircraft) if one.fix.position is not None]
    assert false_fixes(fixes) == []
    booted_us = aircraft.autopilot.booted_s * 1e6
    exposures_us = [round(one.fix.time_s * 1e6 - booted_us) for one in fixes]
    # The double answers TIMESYNC fifty times a second: its clock is known to some 20 ms.
    for message in sent:
        assert min(abs(message.time_usec - exposure) for exposure in exposures_us) < 60_000


def test_a_killed_flight_goes_on_from_what_it_knew_and_says_so(flight, aircraft) -> None:
    flight.options.append(f"--state={flight.folder / 'localiser.state'}")
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    time.sleep(3.0)
    flight.kill()
    flight.start()
    started_s = time.monotonic()
    wait_for_state(flight, IntegrityState.TRACKING, limit_s=10.0)
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    published = [one.fix for one in fixes if one.fix.position is not None]
    assert published[0].time_s - started_s < 10.0
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
    flight.start()
    aircraft.take_off()
    time.sleep(15.0)
    metrics = flight.metrics() or {}
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    assert metrics["dmnil_frames_dropped_total"] > 10.0
    latencies_ms = [one.fix.latency_ms for one in fixes if one.fix.latency_ms is not None]
    # A frame that waits while another is encoded is the newest: it never waits for two.
    assert max(latencies_ms[5:]) < 3000.0


def test_a_flooded_live_page_costs_the_flight_nothing(flight, aircraft) -> None:
    flight.start()
    aircraft.take_off()
    wait_for_state(flight, IntegrityState.TRACKING)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            flight.metrics()

    floods = [threading.Thread(target=flood, daemon=True) for _ in range(8)]
    for thread in floods:
        thread.start()
    began_s = time.monotonic()
    time.sleep(4.0)
    stop.set()
    ended_s = time.monotonic()
    for thread in floods:
        thread.join(5.0)
    assert flight.stop() == 0
    fixes = scored(flight, aircraft)
    assert false_fixes(fixes) == []
    exposed = [shot for shot in aircraft.camera.shots if began_s <= shot.exposed_s < ended_s]
    flown = [one for one in fixes if one.shot is not None and began_s <= one.fix.time_s < ended_s]
    assert len(flown) > 0.7 * len(exposed)


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
    assert states.count(IntegrityState.TRACKING) > 0.8 * len(states)
