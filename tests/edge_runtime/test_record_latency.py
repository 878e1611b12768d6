"""How long a flight's fixes took, as its summary tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.contract.fix import Fix, IntegrityState
from edge_runtime.flight.record import FlightRecord, SkippedFrames
from edge_runtime.flight.record_latency import FlightLatency, LatencyBins


def fix_of(latency_ms: float | None = None, frame: str = "1.jpg", **stage_ms: float) -> Fix:
    return Fix(
        frame, 0.0, IntegrityState.TRACKING, "", stage_ms=dict(stage_ms), latency_ms=latency_ms
    )


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_of_many_times_are_right_within_half_a_percent(seed: int) -> None:
    times_ms = np.random.default_rng(seed).lognormal(2.0, 1.5, 2001)
    bins = LatencyBins()
    for time_ms in times_ms:
        bins.add(float(time_ms))
    figures = bins.figures()
    for percent in (50, 99):
        true_ms = float(np.percentile(times_ms, percent, method="inverted_cdf"))
        assert figures[f"p{percent}_ms"] == pytest.approx(true_ms, rel=0.0051, abs=0.006)
    assert figures["longest_ms"] == pytest.approx(times_ms.max(), abs=0.005)
    assert figures["count"] == 2001


def test_one_time_is_all_of_its_percentiles() -> None:
    bins = LatencyBins()
    bins.add(40.0)
    assert bins.figures() == {
        "count": 1,
        "p50_ms": pytest.approx(40.0, rel=0.005),
        "p99_ms": pytest.approx(40.0, rel=0.005),
        "longest_ms": 40.0,
    }


def test_times_of_nothing_and_of_less_are_counted() -> None:
    bins = LatencyBins()
    for time_ms in (0.0, -3.0):  # a stamp may lie a little ahead of the clock
        bins.add(time_ms)
    assert bins.figures()["count"] == 2
    assert bins.figures()["longest_ms"] == 0.0


def test_the_engine_counts_only_where_it_ran_and_a_recording_has_no_exposures() -> None:
    figures = FlightLatency([fix_of(gate=1.0), fix_of(gate=1.0, encode=8.0, search=1.0)]).figures()
    assert set(figures) == {"processing", "engine"}
    assert figures["processing"]["count"] == 2
    assert figures["processing"]["longest_ms"] == 10.0
    assert (figures["engine"]["count"], figures["engine"]["longest_ms"]) == (1, 8.0)


def test_a_fix_that_tells_of_a_silence_has_no_latency_of_a_view() -> None:
    figures = FlightLatency([fix_of(25.0), fix_of(0.1, frame="")]).figures()
    assert figures["exposure_to_output"]["count"] == 1
    assert figures["exposure_to_output"]["p50_ms"] == pytest.approx(25.0, rel=0.005)


def test_a_flights_report_tells_its_latency() -> None:
    record = FlightRecord()
    record.add(fix_of(25.0, encode=5.0))
    report = record.report(
        Path("a.flight"), SkippedFrames(), 1.0, interrupted=False, capture={}
    ).as_dict()
    assert report["latency"]["exposure_to_output"]["longest_ms"] == 25.0
    assert report["latency"]["engine"]["longest_ms"] == 5.0
