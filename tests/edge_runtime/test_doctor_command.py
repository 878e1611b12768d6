"""`edge_runtime doctor`, and its look at bundle, map and source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.cli import main
from edge_runtime.contract.artefact import write_manifest
from edge_runtime.contract.encoder_bundle import BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, GOLDEN_FILE
from edge_runtime.doctor.artefacts import check_bundle, check_map, check_source
from edge_runtime.doctor.finding import Status, fail, ok, skipped, warn
from edge_runtime.doctor.report import has_failed, report_text
from edge_runtime.sample_flight import SAMPLE_FLIGHT


def test_a_whole_bundle_is_run_on_its_golden_pictures(encoder_folder: Path) -> None:
    finding = check_bundle(encoder_folder)
    assert finding.status is Status.OK
    assert finding.what.endswith("golden descriptors found again")
    assert "64 px" in finding.what


def test_a_bundle_that_changed_on_its_way_fails(own_encoder: Path) -> None:
    graph = own_encoder / "encoder.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    finding = check_bundle(own_encoder)
    assert finding.status is Status.FAIL
    assert "encoder.onnx was altered" in finding.what


def test_descriptors_other_than_the_stored_ones_fail(own_encoder: Path) -> None:
    golden = own_encoder / GOLDEN_FILE
    with np.load(golden) as arrays:
        images, descriptors = arrays["images"], arrays["descriptors"]
    np.savez(golden, images=images, descriptors=descriptors[::-1])
    manifest = json.loads((own_encoder / "manifest.json").read_text(encoding="utf-8"))
    body = {
        key: manifest[key] for key in manifest if key not in ("kind", "schema_version", "files")
    }
    write_manifest(own_encoder, BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, body)
    finding = check_bundle(own_encoder)
    assert finding.status is Status.FAIL
    assert "to the stored ones" in finding.what


def test_a_map_belongs_to_its_bundle(encoder_folder: Path, map_folder: Path) -> None:
    finding = check_map(map_folder, encoder_folder)
    assert finding.status is Status.OK
    assert finding.what.endswith("720 tiles, 1 level(s), built with this bundle")


def test_a_map_of_another_encoder_fails(encoder_folder: Path, own_map: Path) -> None:
    manifest = own_map / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["encoder_sha256"] = "1" * 64
    manifest.write_text(json.dumps(content), encoding="utf-8")
    finding = check_map(own_map, encoder_folder)
    assert finding.status is Status.FAIL
    assert "was built with encoder 111111111111" in finding.what


def test_a_map_alone_cannot_be_compared(map_folder: Path) -> None:
    finding = check_map(map_folder, None)
    assert finding.status is Status.WARN
    assert finding.what_to_do == "give --bundle too"


def test_the_first_frame_of_a_source_is_decoded(tmp_path: Path) -> None:
    assert "000001.jpg is 800 x 450" in check_source(SAMPLE_FLIGHT / "frames").what
    (tmp_path / "000001.jpg").write_bytes(b"no picture")
    assert "does not decode" in check_source(tmp_path).what
    assert "no such folder or video" in check_source(tmp_path / "none").what


def test_advice_on_a_camera_that_is_not_there_speaks_of_no_pictures() -> None:
    finding = check_source("v4l2:///dev/video987")
    assert "no such device" in finding.what
    assert finding.what_to_do == "put that right, or give another --source"


def test_what_is_not_given_is_not_checked() -> None:
    skips = (check_bundle(None), check_map(None, None), check_source(None))
    assert {finding.status for finding in skips} == {Status.SKIPPED}


def test_lines_are_aligned_and_say_what_to_do() -> None:
    findings = [ok("cuda", "Orin"), fail("disk", "full", "delete flights"), skipped("map", "none")]
    assert report_text(findings, coloured=False).splitlines() == [
        "ok       cuda  Orin",
        "fail     disk  full -> delete flights",
        "skipped  map   none",
    ]
    assert "\033[31mfail   \033[0m  disk" in report_text(findings, coloured=True)


def test_a_warning_keeps_nobody_on_the_ground() -> None:
    assert not has_failed([ok("cuda", "Orin"), warn("disk", "low", "delete flights")])
    assert has_failed([fail("disk", "full", "delete flights")])


def test_the_command_prints_one_line_a_check(
    encoder_folder: Path, map_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = SAMPLE_FLIGHT / "frames"
    given = [f"--bundle={encoder_folder}", f"--map={map_folder}", f"--source={source}"]
    assert main(["doctor", *given]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[1] for line in lines]
    assert names[0] == "python"
    assert names[-3:] == ["bundle", "map", "source"]
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "skipped"}
    assert "\033" not in "".join(lines)


def test_a_failure_is_exit_status_1_and_stands_in_the_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json", "--bundle", str(tmp_path / "none.encoder")])
    assert ended.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] is True
    (bundle,) = (finding for finding in report["findings"] if finding["name"] == "bundle")
    assert bundle["status"] == "fail"
    assert bundle["what_to_do"] == "copy or export the bundle again"


def test_an_unknown_option_is_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--bundel=x"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def broken_cv2(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine whose cv2 was built for another numpy."""
    (tmp_path / "cv2.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path}


def test_the_doctor_comes_up_where_cv2_does_not(broken_cv2: dict[str, str]) -> None:
    command = [sys.executable, "-m", "edge_runtime", "doctor"]
    done = subprocess.run(command, env=broken_cv2, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("fail"))
    assert "numpy.core.multiarray failed to import -> " in line
    assert "numpy<2" in line


def test_a_flight_without_cv2_sends_to_the_doctor(broken_cv2: dict[str, str]) -> None:
    command = [sys.executable, "-m", "edge_runtime", "run", "--sample"]
    done = subprocess.run(command, env=broken_cv2, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "edge_runtime: error: numpy.core.multiarray failed to import: "
        "edge_runtime doctor tells what to do\n"
    )
