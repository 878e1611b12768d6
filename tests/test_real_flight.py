"""The runtime on a real flight, by what it must reach; skipped where the flight is absent."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.build import build_map
from dmnil_maps.build_config import BuildConfig
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.region_map import MAP_KIND, PREVIEW_FILE, load_region_map
from edge_runtime.contract.region_map_writer import MapContents, write_region_map
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.loop import fly
from edge_runtime.flight_camera import CameraConfig
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_MAP
from edge_runtime.score import score_flight, score_frames
from edge_runtime.telemetry.truth import read_truth

ARIEL = Path(__file__).parents[2] / "shared" / "flights" / "ariel"
IN_MOTION_FROM = "001080.jpg"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not ARIEL.is_dir(), reason=f"the real flight is not at {ARIEL}"),
]


@pytest.fixture(scope="module")
def region_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("ariel") / "ariel.map"
    return build_map(
        BuildConfig(imagery=ARIEL / "satellite", encoder=SAMPLE_ENCODER, output=output)
    )


def flown(region_map: Path, folder: Path, **changes: object) -> Path:
    settings = {
        "encoder": SAMPLE_ENCODER,
        "map": region_map,
        "frames": ARIEL / "frames",
        "telemetry": ARIEL / "frames.csv",
        "output": folder / "ariel.flight",
        "camera": CameraConfig(focal_length_35mm=24.0),
        "localiser": LocaliserConfig(frame_matches=5),
        **changes,
    }
    return fly(FlightConfig(**settings)).output


def as_int8(region_map: Path, output: Path) -> Path:
    """The same map with its descriptors in eight bits."""
    opened = load_region_map(region_map)
    contents = MapContents(
        encoder_sha256=opened.encoder_sha256,
        frame=opened.frame,
        levels=opened.levels,
        tiles=np.asarray(opened.tiles),
        descriptor_mean=opened.descriptor_mean,
        projection=opened.projection,
        preview=opened.preview,
    )
    descriptors = [opened.descriptors_of(slice(None))]
    with staged_directory(output, MAP_KIND) as staging:
        shutil.copy(region_map / PREVIEW_FILE, staging)
        provenance = {"imagery": opened.manifest["imagery"]}
        write_region_map(staging, contents, descriptors, provenance, storage="int8")
    return output


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_the_whole_flight_from_an_unknown_start(
    region_map: Path, tmp_path: Path, storage: str
) -> None:
    if storage == "int8":
        region_map = as_int8(region_map, tmp_path / "int8.map")
    fixes, truth = read_fixes(flown(region_map, tmp_path)), read_truth(ARIEL / "truth.csv")
    frames = score_frames(fixes, truth, IN_MOTION_FROM)
    assert frames is not None
    assert frames.frames == 216
    assert frames.recall_at_1 >= 0.88
    assert frames.recall_at_5 >= 0.95
    flight = score_flight(fixes, truth)
    assert flight.frames == 252
    assert flight.frames_from_motion_to_first_fix is not None
    assert flight.median_error_m is not None
    assert flight.containment is not None
    assert flight.frames_from_motion_to_first_fix <= 15
    assert flight.availability >= 0.95
    assert flight.median_error_m <= 20.0
    assert flight.containment >= 0.90
    assert flight.false_fixes == 0


def test_a_frame_every_ten_seconds(region_map: Path, tmp_path: Path) -> None:
    with (ARIEL / "frames.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    sparse = tmp_path / "sparse.csv"
    with sparse.open("w", newline="") as stream:
        csv.writer(stream).writerows([rows[0], *rows[37::10]])
    flight = score_flight(
        read_fixes(flown(region_map, tmp_path, telemetry=sparse)), read_truth(ARIEL / "truth.csv")
    )
    assert flight.false_fixes == 0
    assert flight.availability >= 0.8


def test_nothing_is_published_over_another_regions_map(tmp_path: Path) -> None:
    fixes = read_fixes(flown(SAMPLE_MAP, tmp_path))
    assert len(fixes) == 252
    assert all(fix.position is None for fix in fixes)


def test_a_camera_that_looks_backwards_is_found_out(region_map: Path, tmp_path: Path) -> None:
    backwards = CameraConfig(focal_length_35mm=24.0, heading_offset_deg=180.0)
    fixes = read_fixes(flown(region_map, tmp_path, camera=backwards))
    flight = score_flight(fixes, read_truth(ARIEL / "truth.csv"))
    assert flight.false_fixes == 0
    assert flight.availability >= 0.7
    assert flight.median_error_m is not None
    assert flight.median_error_m <= 30.0


def test_a_heading_that_is_withheld_altogether_is_searched_for(
    region_map: Path, tmp_path: Path
) -> None:
    with (ARIEL / "frames.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = [name for name in rows[0] if name != "heading_deg"]
    withheld = tmp_path / "withheld.csv"
    with withheld.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    fixes = read_fixes(flown(region_map, tmp_path, telemetry=withheld))
    flight = score_flight(fixes, read_truth(ARIEL / "truth.csv"))
    assert flight.false_fixes == 0
    assert flight.availability >= 0.7
    assert flight.median_error_m is not None
    assert flight.median_error_m <= 30.0
