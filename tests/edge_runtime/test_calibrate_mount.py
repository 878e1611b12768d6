from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from edge_runtime.camera_info import read_camera_info
from edge_runtime.commands.calibrate_mount import calibrate_mount
from edge_runtime.contract.errors import ConfigError, DmnilError, SourceError, TelemetryError
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from edge_runtime.mount_calibration.agreement import CalibrationView, Turn, shrunk
from edge_runtime.mount_calibration.calibration import calibrate
from edge_runtime.mount_calibration.config import MountCalibrationConfig
from edge_runtime.mount_calibration.search import MountSearch
from edge_runtime.mounting import FIXED, GIMBAL, NO_OFFSETS, Mounting, with_offsets
from edge_runtime.telemetry.log import TelemetrySample
from edge_runtime.telemetry.orientation import product, quaternion_of, quaternion_of_angles

SAMPLE = Path(__file__).resolve().parents[2] / "edge_runtime" / "sample"
CAMERA = PinholeCamera(8, 6, 5.0)
PICTURE = np.zeros((6, 8, 3), np.uint8)


# What a mounting does


def test_a_fixed_cameras_mounting_is_what_it_sees_from_a_level_northbound_drone() -> None:
    level = quaternion_of_angles(0.0, 0.0, 0.0)
    seen = Mounting(FIXED, 20.0, -60.0, 3.0).camera_quaternion(level)
    assert seen == pytest.approx(quaternion_of_angles(20.0, -60.0, 3.0))


def test_a_gimbals_corrections_are_added_to_its_angles() -> None:
    corrected = with_offsets(
        TelemetrySample(0.0, 50.0, 355.0, -45.0, 0.0), Mounting(GIMBAL, 8.0, -4.0, 1.5)
    )
    angles = (corrected.heading_deg, corrected.pitch_deg, corrected.roll_deg)
    assert angles == pytest.approx((3.0, -49.0, 1.5))
    assert corrected.height_m == 50.0


def test_without_a_heading_the_rest_is_corrected_all_the_same() -> None:
    corrected = with_offsets(
        TelemetrySample(0.0, None, None, -45.0), Mounting(GIMBAL, 8.0, -4.0, 0.0)
    )
    assert corrected.heading_deg is None
    assert corrected.pitch_deg == pytest.approx(-49.0)


def test_no_offsets_change_nothing() -> None:
    sample = TelemetrySample(0.0, 50.0, 355.0, -90.0, 179.0)
    assert with_offsets(sample, NO_OFFSETS) is sample


@pytest.mark.parametrize("mounting", [Mounting(FIXED, 5.0, -50.0, 0.0), Mounting(GIMBAL, 1, 2, 0)])
def test_a_corrected_mounting_sees_what_the_corrections_say(mounting: Mounting) -> None:
    level = quaternion_of_angles(0.0, 0.0, 0.0)
    corrected = mounting.corrected(8.0, -4.0, 1.0).camera_quaternion(level)
    offsets = Mounting(GIMBAL, 8.0, -4.0, 1.0)
    expected = offsets.camera_quaternion(mounting.camera_quaternion(level))
    assert abs(corrected @ expected) == pytest.approx(1.0, abs=2e-5)


def test_a_fixed_camera_that_looks_down_may_lean_to_the_side() -> None:
    """Its own angles near straight down are heading and roll of about 90 degrees."""
    mounting = Mounting().turned(lambda q: product(q, quaternion_of_angles(3.0, 0.0, 0.0)))
    forward = mounting.camera_quaternion(quaternion_of_angles(0.0, 0.0, 0.0))
    leaning = product(quaternion_of_angles(0.0, -90.0, 0.0), quaternion_of_angles(3.0, 0.0, 0.0))
    assert abs(forward @ leaning) == pytest.approx(1.0)


@pytest.mark.parametrize("given", [{"kind": "glued"}, {"pitch_deg": float("nan")}])
def test_an_impossible_mounting_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Mounting(**given)


# The search, where the agreement is known


class KnownTruth:
    """Agrees the better, the nearer a turn brings the camera to where it really looked."""

    def __init__(self, offsets: Turn, noise: float) -> None:
        self._truth, self._noise = offsets, noise

    def scores(
        self, views: Sequence[CalibrationView], levels: Sequence[int], turn: Turn
    ) -> np.ndarray:
        random = np.random.default_rng(len(views))
        scores = []
        for view in views:
            assert view.sample.pose is not None
            reported = quaternion_of(view.sample.pose.attitude)
            cosine = min(abs(float(self._truth(reported) @ turn(reported))), 1.0)
            away_deg = 2.0 * np.degrees(np.arccos(cosine))
            scores.append(8.0 * np.exp(-0.5 * (away_deg / 12.0) ** 2))
        return np.array(scores) + random.normal(0.0, self._noise, len(views))


def views_at(pitch_deg: float) -> list[CalibrationView]:
    return [
        CalibrationView(
            PICTURE, CAMERA, TelemetrySample(0.0, 80.0, 30.0 * number, pitch_deg), np.zeros(2)
        )
        for number in range(40)
    ]


def searched(pitch_deg: float, mounting: Mounting, truth: Turn) -> Any:
    views = views_at(pitch_deg)
    agreement: Any = KnownTruth(truth, noise=0.3)
    search = MountSearch(agreement, views, [0] * len(views), mounting)
    best = search.coarse(30.0, 12.0)
    for step_deg in search.steps_deg(3, is_slack=False):
        best = search.refine(best, step_deg)
    return search.result(best, 0.0, 0.0, CAMERA, positions_are_true=True)


def test_all_three_angles_are_found_where_the_camera_looks_ahead() -> None:
    truth = Mounting(GIMBAL, -17.0, 7.0, 3.0)
    found = searched(-45.0, NO_OFFSETS, truth.camera_quaternion)
    assert [offset.name for offset in found.offsets] == ["heading", "pitch", "roll"]
    assert [offset.degrees for offset in found.offsets] == pytest.approx([-17, 7, 3], abs=1.0)
    assert all(0.0 < offset.standard_deviation_deg < 1.0 for offset in found.offsets)
    mounting = found.mounting
    assert mounting.kind == GIMBAL
    assert (mounting.heading_deg, mounting.pitch_deg) == pytest.approx((-17.0, 7.0), abs=1.0)


def test_a_fixed_camera_that_looks_down_has_its_lean_found() -> None:
    heading = quaternion_of_angles(8.0, 0.0, 0.0)
    tilt = quaternion_of_angles(-3.0, 4.0, 0.0)
    found = searched(-90.0, Mounting(), lambda q: product(heading, product(q, tilt)))
    assert [offset.name for offset in found.offsets] == ["heading", "pitch", "lean"]
    assert [offset.degrees for offset in found.offsets] == pytest.approx([8, 4, -3], abs=0.6)
    level = quaternion_of_angles(0.0, 0.0, 0.0)
    straight_down = quaternion_of_angles(0.0, -90.0, 0.0)
    expected = product(heading, product(straight_down, tilt))
    seen = found.mounting.camera_quaternion(level)
    assert 2.0 * np.degrees(np.arccos(min(abs(seen @ expected), 1.0))) < 1.0


def test_a_gimbal_that_looks_down_has_no_angle_for_a_lean() -> None:
    found = searched(-90.0, NO_OFFSETS, Mounting(GIMBAL, 8.0, 4.0, 0.0).camera_quaternion)
    assert [offset.is_determined for offset in found.offsets] == [True, True, False]
    assert found.mounting.roll_deg == 0.0
    assert "lean     not determined" in found.report()


def test_an_angle_that_changes_nothing_is_not_determined() -> None:
    class Blind(KnownTruth):
        def scores(self, views: Any, levels: Any, turn: Turn) -> np.ndarray:
            return np.random.default_rng(crc32(turn(np.eye(4)[0]).tobytes())).normal(
                3.0, 1.0, len(views)
            )

    views = views_at(-45.0)
    agreement: Any = Blind(lambda q: q, 0.0)
    search = MountSearch(agreement, views, [0] * len(views), NO_OFFSETS)
    search.refine((0.0, 0.0, 0.0), 3.0)
    found = search.result((1.0, 1.0, 1.0), 0.0, 0.0, CAMERA, positions_are_true=False)
    assert not all(offset.is_determined for offset in found.offsets)
    assert "own fixes" in found.report()


def test_a_large_picture_is_kept_small_and_sees_the_same() -> None:
    camera = PinholeCamera(2000, 1000, 1500.0, 900.0, 480.0)
    view = CalibrationView(
        np.zeros((1000, 2000, 3), np.uint8), camera, TelemetrySample(0, 1, 2, -45), np.zeros(2)
    )
    small = shrunk(view, 500)
    assert small.image.shape == (250, 500, 3)
    ray = np.linalg.inv(camera.matrix) @ [1000.0, 500.0, 1.0]
    pixel = small.camera.matrix @ ray
    assert (pixel[:2] / pixel[2] + 0.5) * 4.0 == pytest.approx([1000.5, 500.5])


# A generated flight


def flight_off_by(folder: Path, heading_deg: float, pitch_deg: float) -> Path:
    """The sample's telemetry as a camera mounted so would have made it; its own lens beside it."""
    path = folder / "frames.csv"
    with (SAMPLE / "flight" / "frames.csv").open(newline="") as source:
        rows = list(csv.DictReader(source))
    with path.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        for row in rows:
            row["heading_deg"] = f"{(float(row['heading_deg']) - heading_deg) % 360.0:.2f}"
            row["camera_pitch_deg"] = f"{float(row['camera_pitch_deg']) - pitch_deg:.2f}"
            writer.writerow(row)
    text = (SAMPLE / "flight" / "camera.yaml").read_text(encoding="utf-8")
    (folder / "camera.yaml").write_text(text, encoding="utf-8")
    return path


def run(arguments: list[str]) -> None:
    parser = ArgumentParser()
    act = calibrate_mount(parser)
    act(parser.parse_args(arguments))


def test_a_camera_mounted_askew_is_found_out_from_its_flight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sample's headings are 1.07 degrees off by themselves, its pitch is within 0.3."""
    telemetry = flight_off_by(tmp_path, 8.0, -4.0)
    output = tmp_path / "mounted.yaml"
    run(
        [
            *("--encoder", str(SAMPLE / "lite2.encoder"), "--map", str(SAMPLE / "town.map")),
            *("--frames", str(SAMPLE / "flight" / "frames"), "--telemetry", str(telemetry)),
            *("--positions", str(SAMPLE / "flight" / "truth.csv"), "--views", "24"),
            *("--heading_range_deg", "6", "--pitch_range_deg", "0", "--rounds", "2"),
            *("--threads", "1", "-o", str(output)),
        ]
    )
    info = read_camera_info(output)
    assert info.mounting is not None
    assert info.mounting.kind == GIMBAL
    assert info.mounting.heading_deg == pytest.approx(8.0 - 1.07, abs=1.5)
    assert info.mounting.pitch_deg == pytest.approx(-4.0, abs=1.0)
    assert info.lens.focal_x_px == pytest.approx(533.333, abs=1e-3)
    printed = capsys.readouterr().out
    assert "heading" in printed
    assert "mounting written" in printed


def config(tmp_path: Path, **changes: Any) -> MountCalibrationConfig:
    given: dict[str, Any] = {
        "encoder": SAMPLE / "lite2.encoder",
        "map": SAMPLE / "town.map",
        "frames": SAMPLE / "flight" / "frames",
        "telemetry": SAMPLE / "flight" / "frames.csv",
        "positions": SAMPLE / "flight" / "truth.csv",
        "views": 16,
        "rounds": 1,
        "heading_range_deg": 0.0,
        "pitch_range_deg": 0.0,
        "threads": 1,
    }
    return MountCalibrationConfig(**{**given, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": None},
        {"fixes": Path("some.flight")},
        {"views": 3},
        {"rounds": 0},
        {"heading_range_deg": 200.0},
        {"pitch_range_deg": float("nan")},
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        config(tmp_path, **changes)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("frame,drone_latitude_deg\na,1\n", TelemetryError),
        ("frame,drone_latitude_deg,drone_longitude_deg\na,1,x\n", TelemetryError),
        ("frame,drone_latitude_deg,drone_longitude_deg\n", TelemetryError),
        ("frame,drone_latitude_deg,drone_longitude_deg\nnone.jpg,47.2,9.6\n", SourceError),
    ],
)
def test_positions_that_do_not_serve_are_refused(
    tmp_path: Path, text: str, error: type[DmnilError]
) -> None:
    path = tmp_path / "positions.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error):
        calibrate(config(tmp_path, positions=path))


def test_positions_of_another_place_are_found_out(tmp_path: Path) -> None:
    path = tmp_path / "positions.csv"
    lines = (SAMPLE / "flight" / "truth.csv").read_text(encoding="utf-8").splitlines()
    moved = [lines[0]]
    for line in lines[1:]:
        frame, latitude, *rest = line.split(",")
        moved.append(",".join([frame, f"{float(latitude) + 0.004:.9f}", *rest]))
    path.write_text("\n".join(moved) + "\n", encoding="utf-8")
    with pytest.raises(TelemetryError, match="at no angle"):
        calibrate(config(tmp_path, positions=path))


def test_angles_of_a_camera_are_those_of_its_quaternion() -> None:
    from edge_runtime.telemetry.orientation import attitude_between, attitude_of

    random = np.random.default_rng(0)
    for _ in range(200):
        attitude = CameraAttitude(*random.uniform([0, -170, -89], [360, 90, 89]))
        again = attitude_of(quaternion_of(attitude))
        assert again.rotation == pytest.approx(attitude.rotation, abs=1e-9)
        assert abs(again.roll_deg) <= 90.0
    halfway = attitude_between(CameraAttitude(350.0, -40.0), CameraAttitude(10.0, -40.0), 0.5)
    assert np.cos(np.radians(halfway.heading_deg)) == pytest.approx(1.0, abs=1e-9)
