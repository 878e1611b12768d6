"""The flight that ships with the runtime, by what it must reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.cli import main
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_FLIGHT, SAMPLE_MAP
from edge_runtime.score import score_flight
from edge_runtime.telemetry.truth import read_truth


def test_the_shipped_artefacts_are_whole_and_belong_together() -> None:
    bundle, region_map = load_encoder_bundle(SAMPLE_ENCODER), load_region_map(SAMPLE_MAP)
    bundle.verify()
    region_map.verify()
    region_map.require_encoder(bundle)


def test_the_sample_flies_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--sample"]) == 0
    assert (tmp_path / "sample.flight" / "track.png").stat().st_size > 100_000
    flight = score_flight(
        read_fixes(tmp_path / "sample.flight"), read_truth(SAMPLE_FLIGHT / "truth.csv")
    )
    assert flight.median_error_m is not None
    assert flight.median_error_m < 10.0
    assert flight.false_fixes == 0
    assert flight.availability > 0.95
