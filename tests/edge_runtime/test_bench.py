"""What a frame costs beside its encoder: the measurement itself, in small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_runtime.bench import BenchConfig, bench_report, run_bench
from edge_runtime.contract.errors import ConfigError

SMALL = {"encoder_descriptor_size": 256, "image_width": 480}


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return run_bench(BenchConfig(tiles=(900, 2000), frames=60, rate_hz=2.0, **SMALL))


def test_every_stage_has_finite_figures_that_grow_with_the_percentile(
    results: dict[str, Any],
) -> None:
    assert [entry["tiles"] for entry in results["maps"]] == [900, 2000]
    for entry in results["maps"]:
        stages = {"rectify", "odometry", "search", "filter", "output", "all beside encoder"}
        assert stages < set(entry["stages_ms"])
        for figures in entry["stages_ms"].values():
            values = [figures[name] for name in ("p50", "p95", "p99")]
            assert np.isfinite(values).all()
            assert 0.0 <= values[0] <= values[1] <= values[2]
        whole = entry["stages_ms"]["all beside encoder"]["p50"]
        assert whole > entry["stages_ms"]["rectify"]["p50"]
        assert entry["open_ms"] > 0.0


def test_most_frames_have_a_position(results: dict[str, Any]) -> None:
    for entry in results["maps"]:
        assert entry["frames"] == 60
        assert 30 < entry["frames_with_position"] <= 60


def test_the_report_names_maps_and_stages(results: dict[str, Any]) -> None:
    report = bench_report(results)
    assert "map of 2,000 tiles: 60 frames" in report
    assert all(f"{name:>9}" in report for name in ("p50", "p95", "p99"))


def test_the_same_seed_finds_the_same_positions(results: dict[str, Any]) -> None:
    again = run_bench(BenchConfig(tiles=(900,), frames=60, rate_hz=2.0, **SMALL))
    first, second = results["maps"][0], again["maps"][0]
    assert second["frames_with_position"] == first["frames_with_position"]


@pytest.mark.parametrize(
    "settings",
    [
        {"tiles": ()},
        {"tiles": (50,)},
        {"frames": 5},
        {"rate_hz": 0.0},
        {"descriptor_size": 1},
        {"descriptor_size": 4000},
    ],
)
def test_impossible_sizes_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="bench"):
        BenchConfig(**settings)
