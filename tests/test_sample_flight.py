"""The flight that ships with the runtime, by what it must reach."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.cli import main
from edge_runtime.contract.coarse_index import write_coarse_indexes
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.localize import search
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.sample_flight import (
    SAMPLE_ENCODER,
    SAMPLE_FLIGHT,
    SAMPLE_MAP,
)
from edge_runtime.score import score_flight
from edge_runtime.telemetry.truth import read_truth
from tests.small_map import seal_again


def test_the_shipped_artefacts_are_whole_and_belong_together() -> None:
    bundle, region_map = load_encoder_bundle(SAMPLE_ENCODER), load_region_map(SAMPLE_MAP)
    bundle.verify()
    region_map.verify()
    region_map.require_encoder(bundle)


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flight that `edge_runtime run --sample` writes."""
    folder = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "--sample"]) == 0
    return folder / "sample.flight"


def test_the_sample_flies_as_the_readme_says(flown: Path) -> None:
    assert (flown / "track.png").stat().st_size > 100_000
    flight = score_flight(read_fixes(flown), read_truth(SAMPLE_FLIGHT / "truth.csv"))
    assert flight.median_error_m is not None
    assert flight.median_error_m < 10.0
    assert flight.false_fixes == 0
    assert flight.availability > 0.95


def test_a_coarse_index_leaves_the_fixes_as_they_are(
    flown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One tile in a hundred is compared, as in a map of a million.
    monkeypatch.setattr(search, "LARGE_LEVEL_TILES", 1000)
    monkeypatch.setattr(search, "_FEWEST_CANDIDATES", 40)
    region_map = load_region_map(SAMPLE_MAP)
    folder = Path(shutil.copytree(SAMPLE_MAP, tmp_path / "indexed.map"))
    write_coarse_indexes(folder, region_map.store, region_map.tiles_per_level, True)
    seal_again(folder)
    output = tmp_path / "indexed.flight"
    assert main(["run", "--sample", f"--map={folder}", f"--output={output}"]) == 0
    exact, indexed = read_fixes(flown), read_fixes(output)
    # While cold the tiles left out count as chance: a fix may come a frame sooner or later.
    other_states = sum(
        one.state is not other.state for one, other in zip(exact, indexed, strict=True)
    )
    assert other_states <= 3
    for one, other in zip(exact, indexed, strict=True):
        if one.position is not None and other.position is not None:
            frame = LocalFrame(one.position.latitude_deg, one.position.longitude_deg)
            apart = frame.to_local(other.position.latitude_deg, other.position.longitude_deg)
            assert np.hypot(*apart) < 5.0
