"""A flight's Prometheus metrics."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.monitor.exposition import Exposition
from edge_runtime.monitor.health import Health
from edge_runtime.monitor.http_server import ServerCounts
from edge_runtime.monitor.memory import memory_use
from edge_runtime.monitor.tally import Tally

PREFIX = "dmnil_"


class CounterMetric(NamedTuple):
    """How a value of the flight loop is told to Prometheus."""

    metric: str
    kind: str
    explanation: str


COUNTERS: dict[str, CounterMetric] = {
    "captured": CounterMetric(
        "frames_captured_total", "counter", "Frames that the camera delivered whole."
    ),
    "dropped": CounterMetric(
        "frames_dropped_total", "counter", "Captured frames that a newer one replaced."
    ),
    "undecodable": CounterMetric(
        "frames_undecodable_total", "counter", "Frames that could not be decoded."
    ),
    "repeated": CounterMetric(
        "frames_repeated_total",
        "counter",
        "Pictures equal to the one before, which are never flown.",
    ),
    "without_telemetry": CounterMetric(
        "frames_without_telemetry_total", "counter", "Frames for whose time no telemetry was there."
    ),
    "reconnects": CounterMetric(
        "source_reconnects_total", "counter", "How often the source was lost and opened again."
    ),
    "stalls": CounterMetric(
        "source_stalls_total", "counter", "How often no frame came for the watchdog's limit."
    ),
    "log_queue": CounterMetric("log_queue", "gauge", "Entries waiting for the flight log."),
    "log_dropped": CounterMetric(
        "log_dropped_total", "counter", "Entries that the flight log could not take."
    ),
    "log_bytes": CounterMetric("log_bytes", "gauge", "Size of this flight's log."),
    "log_written": CounterMetric("log_written_total", "counter", "Messages in the flight log."),
    "log_dropped_pictures": CounterMetric(
        "log_dropped_pictures_total", "counter", "Frames logged without their picture."
    ),
    "mavlink_received": CounterMetric(
        "mavlink_received_total", "counter", "Messages of the autopilot that were heard."
    ),
    "mavlink_sent": CounterMetric(
        "mavlink_sent_total", "counter", "Messages sent to the autopilot."
    ),
    "mavlink_unsent": CounterMetric(
        "mavlink_unsent_total", "counter", "Messages that nobody could be reached with."
    ),
    "mavlink_refused": CounterMetric(
        "mavlink_refused_total", "counter", "Frames with a wrong checksum or signature."
    ),
    "disk_free_bytes": CounterMetric(
        "disk_free_bytes", "gauge", "Free space where the flight log is written."
    ),
    "temperature_c": CounterMetric(
        "temperature_celsius", "gauge", "The part of the machine that is nearest to throttling."
    ),
    "throttling_headroom_c": CounterMetric(
        "throttling_headroom_celsius", "gauge", "How far that part is below throttling."
    ),
    "over_current_events": CounterMetric(
        "over_current_events_total", "counter", "Throttling by the supply since boot."
    ),
    "supply_w": CounterMetric("supply_watts", "gauge", "Power drawn from the supply."),
    "frame_rate_share": CounterMetric(
        "frame_rate_share", "gauge", "Share of the wished frame rate that heat and power allow."
    ),
}
"""Values of `Monitor.counters` that have a fixed name; others are told as they are called."""

_OTHER_NAME = re.compile(r"[a-z][a-z0-9_]{0,80}\Z")


def metrics_text(
    tally: Tally, health: Health, build: Mapping[str, str], server: ServerCounts, now_s: float
) -> str:
    """All metrics at a moment on `time.monotonic()`."""
    told = Exposition()
    told.family(f"{PREFIX}build_info", "gauge", "What flies; always 1.")
    told.sample(f"{PREFIX}build_info", 1, build)
    told.single(
        f"{PREFIX}healthy", "gauge", "1 where /healthz answers 200.", float(health.is_healthy)
    )
    _frames_and_fixes(told, tally, now_s)
    _counters(told, tally)
    _process(told)
    told.single(
        f"{PREFIX}monitor_requests_total", "counter", "Requests answered here.", server.answered
    )
    told.single(
        f"{PREFIX}monitor_refused_total",
        "counter",
        "Connections refused, cut off or malformed.",
        server.refused,
    )
    told.single(f"{PREFIX}monitor_viewers", "gauge", "Live pages being served.", server.viewers)
    return told.text()


def _frames_and_fixes(told: Exposition, tally: Tally, now_s: float) -> None:
    handover, fix = tally.handover, tally.fix
    told.single(
        f"{PREFIX}frames_taken_total", "counter", "Frames the loop took up.", handover.frames
    )
    if handover.frame is not None:
        age_s = now_s - handover.frame.at_s
        told.single(f"{PREFIX}frame_age_seconds", "gauge", "Since the last frame came.", age_s)
    told.single(
        f"{PREFIX}telemetry_age_seconds",
        "gauge",
        "Since telemetry last came.",
        tally.telemetry_age_s(now_s),
    )
    told.family(f"{PREFIX}fixes_total", "counter", "Fixes by integrity state.")
    for state in IntegrityState:
        count = tally.fixes_by_state[state]
        told.sample(f"{PREFIX}fixes_total", count, {"state": state.value})
    published = sum(tally.fixes_by_state[state] for state in IntegrityState if state.publishes)
    told.single(
        f"{PREFIX}fixes_published_total", "counter", "Fixes that carried a position.", published
    )
    told.family(f"{PREFIX}state", "gauge", "1 for the integrity state, 0 for the others.")
    for state in IntegrityState:
        is_current = fix is not None and fix.state is state
        told.sample(f"{PREFIX}state", float(is_current), {"state": state.value})
    if fix is not None:
        if fix.position is not None:
            told.single(
                f"{PREFIX}radius95_meters",
                "gauge",
                "Radius that holds the drone in 95 of 100 fixes.",
                fix.position.radius95_m,
            )
        told.single(
            f"{PREFIX}in_map_probability",
            "gauge",
            "Probability that the drone is where the filter has it.",
            fix.in_map_probability,
        )
        told.single(
            f"{PREFIX}relocalisations_total", "counter", "Position resets.", fix.reset_counter
        )
        told.single(
            f"{PREFIX}engine_fault",
            "gauge",
            "1 where the engine computes otherwise than its bundle.",
            float(bool(fix.engine_fault)),
        )
    name = f"{PREFIX}exposure_to_fix_seconds"
    told.family(name, "histogram", "From a frame's exposure to its fix's leaving.")
    told.histogram(name, tally.latency)
    if tally.stages:
        name = f"{PREFIX}stage_seconds"
        told.family(name, "histogram", "Time that a stage took for a frame.")
        for stage, histogram in tally.stages.items():
            told.histogram(name, histogram, {"stage": stage})


def _counters(told: Exposition, tally: Tally) -> None:
    for name, value in tally.counters.items():
        if isinstance(value, str) or name == "telemetry_age_s":
            continue
        metric = COUNTERS.get(name)
        if metric is not None:
            told.single(f"{PREFIX}{metric.metric}", metric.kind, metric.explanation, float(value))
        elif _OTHER_NAME.match(name):
            told.single(f"{PREFIX}loop_{name}", "untyped", "A figure of the loop.", float(value))


def _process(told: Exposition) -> None:
    memory = memory_use()
    if memory is not None:
        told.single(
            "process_resident_memory_bytes", "gauge", "Resident memory.", float(memory.resident)
        )
        told.single(
            f"{PREFIX}anonymous_memory_bytes",
            "gauge",
            "Resident memory that is the process's own, files left aside.",
            float(memory.anonymous),
        )
    told.single(
        "process_cpu_seconds_total", "counter", "Processor time spent.", time.process_time()
    )
    try:
        open_files = sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return
    told.single("process_open_fds", "gauge", "Open files and sockets.", open_files)
    told.single(f"{PREFIX}load1", "gauge", "The machine's load.", os.getloadavg()[0])
