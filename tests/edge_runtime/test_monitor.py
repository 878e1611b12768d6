"""Metrics and health of a flight, as a scraper and a supervisor get them over HTTP."""

from __future__ import annotations

import json
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.monitor.exposition import Exposition, Histogram
from edge_runtime.monitor.memory import memory_use
from edge_runtime.monitor.monitor import Monitor, open_monitor
from edge_runtime.telemetry.log import TelemetrySample
from tests.waiting import PATIENCE_S

SAMPLE_MAP = Path(__file__).parents[2] / "edge_runtime" / "sample" / "town.map"
IMAGE = np.full((36, 64, 3), (200, 100, 50), np.uint8)
SAMPLE = TelemetrySample(0.0, 100.0, 20.0, -90.0)
FIX = Fix(
    frame="000001",
    time_s=1.0,
    state=IntegrityState.TRACKING,
    reason="views agree with the map",
    position=Position(47.2005, 9.6005, 20.0, 20.0, 0.0, 12.5),
    in_map_probability=0.99,
    stage_ms={"encode": 20.0, "search": 2.5},
    latency_ms=45.0,
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def town() -> RegionMap:
    return load_region_map(SAMPLE_MAP)


@pytest.fixture
def monitor(town: RegionMap) -> Iterator[Monitor]:
    limits = {f"{what}_limit_s": 10 * PATIENCE_S for what in ("frame", "telemetry", "loop")}
    opened = open_monitor(MonitorConfig(port=0, **limits), town, {"engine": 'a "quoted"\\ one\n'})
    yield opened
    opened.close()


@pytest.fixture
def timed(town: RegionMap) -> tuple[Monitor, Clock]:
    clock = Clock()
    return Monitor(MonitorConfig(), town, {}, None, clock), clock


def get(
    monitor: Monitor, path: str, headers: dict[str, str] | None = None, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"{monitor.url}{path}", headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def metrics_of(text: str) -> dict[str, float]:
    parser = pytest.importorskip(
        "prometheus_client.parser", reason="Prometheus' own parser is not installed"
    )
    return {
        sample.name + "".join(f"{{{name}={value}}}" for name, value in sample.labels.items()): (
            sample.value
        )
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def fly(monitor: Monitor, *fixes: Fix) -> None:
    for fix in fixes:
        monitor.frame(IMAGE, SAMPLE)
        monitor.fix(fix)


def test_metrics_tell_states_frames_stages_and_latencies(monitor: Monitor) -> None:
    silent = replace(FIX, state=IntegrityState.LOST, position=None, latency_ms=2_000.0)
    fly(monitor, FIX, FIX, silent)
    monitor.counters({"captured": 5, "dropped": 2, "own_figure": 1.5, "source_fault": "none"})
    status, headers, body = get(monitor, "metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values = metrics_of(body.decode())
    assert values["dmnil_fixes_total{state=TRACKING}"] == 2
    assert values["dmnil_fixes_published_total"] == 2
    assert values["dmnil_state{state=LOST}"] == 1
    assert values["dmnil_state{state=TRACKING}"] == 0
    assert values["dmnil_frames_taken_total"] == 3
    assert values["dmnil_frames_captured_total"] == 5
    assert values["dmnil_frames_dropped_total"] == 2
    assert values["dmnil_loop_own_figure"] == 1.5
    assert values["dmnil_exposure_to_fix_seconds_bucket{le=0.05}"] == 2
    assert values["dmnil_exposure_to_fix_seconds_bucket{le=2.5}"] == 3
    assert values["dmnil_exposure_to_fix_seconds_sum"] == pytest.approx(2.09)
    assert values["dmnil_stage_seconds_count{stage=encode}"] == 3
    assert values["process_resident_memory_bytes"] > 1e6
    assert "dmnil_radius95_meters" not in values, "the last fix has no position"


def test_labels_with_quotes_and_newlines_arrive_unharmed(monitor: Monitor) -> None:
    names = metrics_of(get(monitor, "metrics")[2].decode())
    (build,) = [name for name in names if name.startswith("dmnil_build_info")]
    assert '{engine=a "quoted"\\ one\n}' in build


@given(value=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\n")))
def test_any_label_survives_the_text_format(value: str) -> None:
    told = Exposition()
    told.family("t", "gauge", value)
    told.sample("t", 1.0, {"label": value})
    assert metrics_of(told.text().replace("\r", " ")) == {f"t{{label={value}}}": 1.0}


def test_a_value_on_a_histogram_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)
    told = Exposition()
    told.family("t", "histogram", "times")
    told.histogram("t", histogram)
    lines = told.text().splitlines()[2:]
    assert lines == [
        't_bucket{le="1"} 1',
        't_bucket{le="2"} 3',
        't_bucket{le="+Inf"} 4',
        "t_sum 13.5",
        "t_count 4",
    ]


def test_health_is_503_until_frames_and_telemetry_come_and_200_from_then_on(
    monitor: Monitor,
) -> None:
    status, _, body = get(monitor, "healthz")
    assert status == 503
    assert set(json.loads(body)["wrong"]) == {"loop", "frames", "telemetry"}
    fly(monitor, FIX)
    status, _, body = get(monitor, "healthz")
    assert (status, json.loads(body)) == (200, {"healthy": True, "wrong": {}, "state": "TRACKING"})


def _no_frames(monitor: Monitor, clock: Clock) -> None:
    clock.now_s += 4.0
    monitor.counters({"telemetry_age_s": 0.1, "source_fault": "camera unplugged"})


def _no_telemetry(monitor: Monitor, clock: Clock) -> None:
    monitor.counters({"telemetry_age_s": 3.1})


def _never_any_telemetry(monitor: Monitor, clock: Clock) -> None:
    monitor.counters({"telemetry_age_s": float("inf")})


def _telemetry_gone_from_frames(monitor: Monitor, clock: Clock) -> None:
    clock.now_s += 3.1
    monitor.frame(IMAGE, None)


def _unsound_engine(monitor: Monitor, clock: Clock) -> None:
    monitor.fix(replace(FIX, engine_fault="cosine 0.4"))


def _failed_engine(monitor: Monitor, clock: Clock) -> None:
    monitor.fix(replace(FIX, state=IntegrityState.FAULT, reason="out of memory", position=None))


def _stuck_loop(monitor: Monitor, clock: Clock) -> None:
    clock.now_s += 5.1


@pytest.mark.parametrize(
    ("happen", "wrong", "words"),
    [
        (_no_frames, {"frames"}, "no frame for 4.0 s: camera unplugged"),
        (_no_telemetry, {"telemetry"}, "no telemetry for 3.1 s"),
        (_never_any_telemetry, {"telemetry"}, "no telemetry has come yet"),
        (_telemetry_gone_from_frames, {"telemetry"}, "no telemetry for 3.1 s"),
        (_unsound_engine, {"engine"}, "cosine 0.4"),
        (_failed_engine, {"engine"}, "out of memory"),
        (_stuck_loop, {"loop", "frames", "telemetry"}, "no sign of life for 5.1 s"),
    ],
)
def test_health_names_what_is_wrong(
    timed: tuple[Monitor, Clock],
    happen: Callable[[Monitor, Clock], None],
    wrong: set[str],
    words: str,
) -> None:
    monitor, clock = timed
    fly(monitor, FIX)
    monitor.metrics()
    assert monitor.health().is_healthy
    happen(monitor, clock)
    monitor.metrics()
    health = monitor.health()
    assert set(health.wrong) == wrong
    assert any(words in reason for reason in health.wrong.values())


def test_a_drone_that_is_lost_has_a_healthy_runtime(timed: tuple[Monitor, Clock]) -> None:
    monitor, _ = timed
    fly(monitor, replace(FIX, state=IntegrityState.LOST, position=None))
    monitor.metrics()
    assert monitor.health().is_healthy


def test_nothing_can_be_changed_from_outside(monitor: Monitor) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        status, headers, _ = get(monitor, "metrics", method=method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_a_web_page_elsewhere_cannot_read_along_under_a_name_of_its_own(monitor: Monitor) -> None:
    assert get(monitor, "metrics", {"Host": "evil.example:8410"})[0] == 421
    for host in ("localhost:1", "127.0.0.1", "192.168.1.5:8410", "[::1]:8410", "LOCALHOST."):
        assert get(monitor, "metrics", {"Host": host})[0] == 200


def test_the_page_lets_in_nothing_but_its_own_script_and_style(monitor: Monitor) -> None:
    _, headers, body = get(monitor, "")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    page = body.decode()
    assert "innerHTML" not in page
    assert "://" not in page.replace("http://www.w3.org/", ""), "nothing comes from elsewhere"


def test_pictures_that_do_not_exist_are_not_found(monitor: Monitor) -> None:
    for path in ("camera.jpg", "view.jpg", "posterior.png", "match-0.jpg", "match-9.jpg", "x"):
        assert get(monitor, path)[0] == 404
    assert get(monitor, "../../../etc/passwd")[0] == 404


def test_a_taken_port_costs_the_monitor_and_not_the_flight(
    town: RegionMap, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with caplog.at_level(logging.WARNING):
            monitor = open_monitor(MonitorConfig(port=port), town)
    assert monitor.url is None
    assert f"port {port}" in caplog.text
    fly(monitor, FIX)
    monitor.close()


def test_listening_to_everybody_is_warned_of(
    town: RegionMap, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        open_monitor(MonitorConfig(port=0, address="0.0.0.0"), town).close()
    assert "sees camera and position" in caplog.text
    with pytest.raises(ConfigError, match="must be an address"):
        open_monitor(MonitorConfig(address="everywhere"), town)


def test_memory_is_what_the_system_counts(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t   30 kB\nVmRSS:\t  20 kB\nRssAnon:\t 8 kB\n")
    use = memory_use(status)
    assert use is not None
    assert (use.resident, use.anonymous, use.peak_resident) == (20480, 8192, 30720)
    assert memory_use(tmp_path / "absent") is None
