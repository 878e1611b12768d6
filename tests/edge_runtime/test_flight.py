"""Flying a recording: a frame's telemetry, how the camera is mounted, what is left behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.contract.artefact import MANIFEST_NAME
from edge_runtime.contract.encoder_bundle import GOLDEN_FILE, GRAPH_FILES
from edge_runtime.contract.errors import (
    ConfigError,
    EngineError,
    MapError,
    OutputError,
    SourceError,
    TelemetryError,
)
from edge_runtime.flight import feed as feed_module
from edge_runtime.flight import record as record_module
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.loop import fly
from edge_runtime.flight.record import FlightReport
from edge_runtime.flight_camera import CameraConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.telemetry.log import TelemetrySample
from tests.small_map import seal_again

HEADING_DEG, PITCH_DEG, HEIGHT_M = 350.0, -80.0, 120.0
TELEMETRY_COLUMNS = ("time_s", "height_above_takeoff_m", "heading_deg", "camera_pitch_deg")


def write_pictures(folder: Path, names: Sequence[str]) -> Path:
    folder.mkdir()
    random = np.random.default_rng(5)
    for name in names:
        coarse = random.integers(0, 256, (18, 24, 3), np.uint8)
        assert cv2.imwrite(str(folder / name), cv2.resize(coarse, (240, 180)))
    return folder


def write_video(path: Path, frames: int, frames_per_s: float) -> Path:
    coded = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), coded, frames_per_s, (240, 180))
    assert writer.isOpened()
    random = np.random.default_rng(5)
    for _ in range(frames):
        writer.write(cv2.resize(random.integers(0, 256, (18, 24, 3), np.uint8), (240, 180)))
    writer.release()
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def rows_at(times_s: Sequence[float], heights_m: Sequence[float]) -> list[list[object]]:
    return [
        [time_s, height_m, HEADING_DEG, PITCH_DEG]
        for time_s, height_m in zip(times_s, heights_m, strict=True)
    ]


def write_subtitle(path: Path, numbers: Sequence[int], heights_m: Sequence[float]) -> Path:
    """What a DJI camera writes beside a video, one block a frame."""
    blocks = [
        f"{number}\n00:00:0{number},000 --> 00:00:0{number},500\n"
        f"FrameCnt: {number}\n2026-05-01 10:00:0{number}.000\n"
        f"[focal_len: 24.00] [rel_alt: {height_m:.3f} abs_alt: 500.0] "
        f"[gb_yaw: {HEADING_DEG} gb_pitch: {PITCH_DEG} gb_roll: 0.0]\n"
        for number, height_m in zip(numbers, heights_m, strict=True)
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


@pytest.fixture
def flown_with(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, TelemetrySample]]:
    """Every frame that reaches the localiser, with the telemetry that it came with."""
    seen: list[tuple[str, TelemetrySample]] = []
    process = Localiser.process

    def remember(self: Localiser, name, image, telemetry):
        seen.append((name, telemetry))
        return process(self, name, image, telemetry)

    monkeypatch.setattr(Localiser, "process", remember)
    return seen


@pytest.fixture
def config_of(encoder_folder: Path, map_folder: Path, tmp_path: Path):
    def config(frames: Path, telemetry: Path, **more) -> FlightConfig:
        return FlightConfig(
            **{
                "encoder": encoder_folder,
                "map": map_folder,
                "frames": frames,
                "telemetry": telemetry,
                "output": tmp_path / "new.flight",
                "camera": CameraConfig(focal_length_35mm=24.0),
                **more,
            }
        )

    return config


def heights_by_name(seen: list[tuple[str, TelemetrySample]]) -> dict[str, float]:
    return {name: round(sample.height_m, 6) for name, sample in seen}


def test_a_row_that_names_the_frame_is_its_telemetry(tmp_path, config_of, flown_with):
    frames = write_pictures(tmp_path / "frames", ["a7.jpg", "b1.jpg", "c2.jpg"])
    rows = rows_at([3.0, 1.0, 2.0], [102.0, 100.0, 101.0])
    named = [[*row, name] for row, name in zip(rows, ["c2.jpg", "a7.jpg", "b1.jpg"], strict=True)]
    telemetry = write_csv(tmp_path / "log.csv", [*TELEMETRY_COLUMNS, "frame"], named)
    fly(config_of(frames, telemetry))
    assert heights_by_name(flown_with) == {"a7.jpg": 100.0, "b1.jpg": 101.0, "c2.jpg": 102.0}


def test_the_number_in_a_frame_name_finds_its_subtitle(tmp_path, config_of, flown_with):
    frames = write_pictures(tmp_path / "frames", ["f_2.jpg", "f_4.jpg", "f_9.jpg"])
    telemetry = write_subtitle(tmp_path / "log.srt", [2, 3, 4], [80.0, 90.0, 100.0])
    report = fly(config_of(frames, telemetry))
    assert heights_by_name(flown_with) == {"f_2.jpg": 80.0, "f_4.jpg": 100.0}
    assert report.without_telemetry == 1


def test_a_video_frame_finds_its_telemetry_by_time(tmp_path, config_of, flown_with):
    video = write_video(tmp_path / "film.avi", frames=8, frames_per_s=2.0)
    rows = rows_at([0.0, 1.0, 2.0, 3.0], [100.0, 110.0, 120.0, 130.0])
    telemetry = write_csv(tmp_path / "log.csv", TELEMETRY_COLUMNS, rows)
    report = fly(config_of(video, telemetry))
    heights = [sample.height_m for _, sample in flown_with]
    assert heights == pytest.approx([100, 105, 110, 115, 120, 125, 130])
    assert report.without_telemetry == 1
    assert [sample.time_s for _, sample in flown_with] == pytest.approx(np.arange(7) / 2)


def test_a_clock_that_is_ahead_is_set_right_by_the_offset(tmp_path, config_of, flown_with):
    video = write_video(tmp_path / "film.avi", frames=8, frames_per_s=2.0)
    rows = rows_at([10.0, 11.0, 12.0], [100.0, 110.0, 120.0])
    telemetry = write_csv(tmp_path / "log.csv", TELEMETRY_COLUMNS, rows)
    fly(config_of(video, telemetry, telemetry_offset_s=9.5, every_s=1.0))
    # Frames at 0, 1, 2 and 3 s of the film: the first and last lie outside the log.
    assert heights_by_name(flown_with) == {"000003": 105.0, "000005": 115.0}


def test_a_video_is_thinned_to_one_frame_each_so_many_seconds(tmp_path, config_of, flown_with):
    video = write_video(tmp_path / "film.avi", frames=12, frames_per_s=4.0)
    rows = rows_at([0.0, 1.5, 3.0], [100.0, 100.0, 100.0])
    telemetry = write_csv(tmp_path / "log.csv", TELEMETRY_COLUMNS, rows)
    fly(config_of(video, telemetry, every_s=1.0))
    assert [name for name, _ in flown_with] == ["000001", "000005", "000009"]


def three_frames(tmp_path: Path) -> tuple[Path, Path]:
    names = ["1.jpg", "2.jpg", "3.jpg"]
    rows = rows_at([1.0, 2.0, 3.0], [HEIGHT_M] * 3)
    named = [[*row, name] for row, name in zip(rows, names, strict=True)]
    telemetry = write_csv(tmp_path / "log.csv", [*TELEMETRY_COLUMNS, "frame"], named)
    return write_pictures(tmp_path / "frames", names), telemetry


def test_the_camera_mounting_is_added_to_the_telemetry(tmp_path, config_of, flown_with):
    frames, telemetry = three_frames(tmp_path)
    mounting = CameraConfig(24.0, heading_offset_deg=30.0, pitch_offset_deg=5.0)
    fly(config_of(frames, telemetry, camera=mounting))
    for _, sample in flown_with:
        assert sample.heading_deg == pytest.approx(20.0)
        assert sample.pitch_deg == pytest.approx(-75.0)
        assert sample.height_m == HEIGHT_M


def test_telemetry_without_pitch_takes_the_mounting(tmp_path, config_of, flown_with):
    frames, _ = three_frames(tmp_path)
    columns = ("frame", "time_s", "height_above_takeoff_m", "heading_deg")
    rows = [[f"{number}.jpg", number, HEIGHT_M, 0.0] for number in (1, 2, 3)]
    telemetry = write_csv(tmp_path / "no_pitch.csv", columns, rows)
    with pytest.raises(TelemetryError, match="camera_pitch_deg is missing"):
        fly(config_of(frames, telemetry))
    fly(config_of(frames, telemetry, camera=CameraConfig(24.0, pitch_deg=-90.0)))
    assert {sample.pitch_deg for _, sample in flown_with} == {-90.0}


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, float]]:
    """Every camera that a localiser was made with: width, height and focal length."""
    made: list[tuple[int, int, float]] = []
    initialise = Localiser.__init__

    def remember(self: Localiser, engine, region_map, input_size, camera, *more):
        made.append((camera.width, camera.height, camera.focal_px))
        initialise(self, engine, region_map, input_size, camera, *more)

    monkeypatch.setattr(Localiser, "__init__", remember)
    return made


def test_the_lens_is_what_is_given_then_the_camera_file_then_the_log(tmp_path, config_of, cameras):
    frames = write_pictures(tmp_path / "frames", ["2.jpg", "3.jpg"])
    telemetry = write_subtitle(tmp_path / "log.srt", [2, 3], [HEIGHT_M, HEIGHT_M])
    fly(config_of(frames, telemetry, camera=CameraConfig()))
    camera_file = tmp_path / "camera.yaml"
    camera_file.write_text("image_width: 480\nimage_height: 360\nfocal_px: 400\n")
    fly(config_of(frames, telemetry, camera=CameraConfig()))
    fly(config_of(frames, telemetry, camera=CameraConfig(focal_length_35mm=36.0)))
    # 24 mm of 36 mm film over 240 px; 400 px at half the width; 36 mm of 36 mm.
    assert cameras == [(240, 180, pytest.approx(focal_px)) for focal_px in (160.0, 200.0, 240.0)]


def test_the_report_counts_every_frame(tmp_path, config_of):
    frames, telemetry = three_frames(tmp_path)
    write_pictures(tmp_path / "more", ["4.jpg"])
    (tmp_path / "more" / "4.jpg").rename(frames / "4.jpg")
    (frames / "2.jpg").write_bytes(b"not a picture")
    report = fly(config_of(frames, telemetry))
    assert isinstance(report, FlightReport)
    assert (report.frames, report.undecodable, report.without_telemetry) == (2, 1, 1)
    assert sum(report.states.values()) == 2
    assert report.last is not None
    assert report.last.frame == "3.jpg"
    assert not report.interrupted
    summary = json.loads((report.output / "summary.json").read_text(encoding="utf-8"))
    assert summary == report.as_dict()


def test_a_flight_is_flown_again_into_its_own_directory(tmp_path, config_of):
    frames, telemetry = three_frames(tmp_path)
    first = fly(config_of(frames, telemetry))
    (frames / "3.jpg").unlink()
    second = fly(config_of(frames, telemetry))
    assert first.output == second.output
    assert [fix.frame for fix in read_fixes(second.output)] == ["1.jpg", "2.jpg"]


def test_an_output_that_is_something_else_is_kept(tmp_path, config_of):
    frames, telemetry = three_frames(tmp_path)
    with pytest.raises(OutputError, match="is not a flight log"):
        fly(config_of(frames, telemetry, output=frames))
    assert len(list(frames.iterdir())) == 3


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("flown", [0, 2])
def test_a_stop_ends_the_flight_after_the_frame_in_hand(
    tmp_path, config_of, monkeypatch, sent, flown
):
    frames, telemetry = three_frames(tmp_path)
    opened = feed_module.open_source

    class Stopping:
        def __init__(self, path, every_s):
            self._source = opened(path, every_s)

        def __len__(self):
            return len(self._source)

        def __iter__(self):
            for number, frame in enumerate(self._source):
                if number == flown:
                    signal.raise_signal(sent)
                yield frame

    monkeypatch.setattr(feed_module, "open_source", Stopping)
    before = signal.getsignal(sent)
    report = fly(config_of(frames, telemetry))
    assert signal.getsignal(sent) is before
    assert report.interrupted
    assert report.frames == flown
    assert len((report.output / "fixes.jsonl").read_text().splitlines()) == flown
    assert (report.output / "track.png").is_file()
    assert json.loads((report.output / "fixes.geojson").read_text())["features"] == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_the_results_are_written_tears_nothing_up(
    tmp_path, config_of, monkeypatch, sent
):
    frames, telemetry = three_frames(tmp_path)
    draw = record_module.draw_track

    def draw_and_be_stopped(*arguments):
        signal.raise_signal(sent)
        draw(*arguments)

    monkeypatch.setattr(record_module, "draw_track", draw_and_be_stopped)
    report = fly(config_of(frames, telemetry))
    assert report.frames == 3
    assert not report.interrupted
    assert (report.output / "manifest.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "log.csv", "new.flight"]


def test_a_failure_before_the_first_fix_leaves_nothing(tmp_path, config_of, monkeypatch):
    frames, telemetry = three_frames(tmp_path)

    def fail(*_):
        raise SourceError("the camera was unplugged")

    monkeypatch.setattr(Localiser, "process", fail)
    with pytest.raises(SourceError, match="unplugged"):
        fly(config_of(frames, telemetry))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames", "log.csv"]


@pytest.mark.parametrize("failure", [SourceError("unplugged"), RuntimeError("a defect")])
def test_a_failure_later_on_keeps_what_was_flown(tmp_path, config_of, monkeypatch, failure):
    frames, telemetry = three_frames(tmp_path)
    process = Localiser.process

    def fail_at_the_third(self, name, *rest):
        if name.startswith("000003") or "3" in name:
            raise failure
        return process(self, name, *rest)

    monkeypatch.setattr(Localiser, "process", fail_at_the_third)
    config = config_of(frames, telemetry)
    with pytest.raises(type(failure)):
        fly(config)
    assert len(read_fixes(config.output)) == 2
    manifest = json.loads((config.output / "manifest.json").read_text())
    assert manifest["config"]["localiser"]["evidence"]["log_ratio_per_sigma"] > 0.0


def test_a_map_whose_preview_cannot_be_drawn_is_not_flown_with(tmp_path, config_of):
    frames, telemetry = three_frames(tmp_path)
    config = config_of(frames, telemetry)
    own_map = tmp_path / "own.map"
    shutil.copytree(config.map, own_map)
    preview = own_map / "preview.jpg"
    preview.write_bytes(bytes(preview.stat().st_size))
    with pytest.raises(MapError, match="preview"):
        fly(replace(config, map=own_map))
    assert not config.output.exists()


def test_an_offset_is_refused_where_telemetry_is_joined_by_frames(tmp_path, config_of):
    frames, telemetry = three_frames(tmp_path)
    with pytest.raises(ConfigError, match="joined by frames"):
        fly(replace(config_of(frames, telemetry), telemetry_offset_s=1.0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prior": (47.0, 8.0, 0.0)}, "radius above 0"),
        ({"prior": (47.0, float("nan"), 9.0)}, "finite"),
        ({"prior": (95.0, 8.0, 9.0)}, "degrees"),
        ({"prior": (47.0, 190.0, 9.0)}, "degrees"),
        ({"every_s": float("inf")}, "every_s"),
        ({"telemetry_offset_s": float("nan")}, "telemetry_offset_s"),
        ({"threads": -1}, "threads"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, config_of, settings, words):
    with pytest.raises(ConfigError, match=words):
        config_of(tmp_path, tmp_path, **settings)


def test_an_impossible_mounting_is_refused():
    with pytest.raises(ConfigError, match="angles must be finite"):
        CameraConfig(heading_offset_deg=float("nan"))


@pytest.fixture
def strange_encoder(own_encoder: Path) -> Path:
    """A bundle whose graph gives other descriptors than the ones stored beside it."""
    with np.load(own_encoder / GOLDEN_FILE) as arrays:
        images, descriptors = arrays["images"], arrays["descriptors"]
    np.savez(own_encoder / GOLDEN_FILE, images=images, descriptors=descriptors[:, ::-1])
    seal_again(own_encoder)
    return own_encoder


def test_an_engine_that_computes_wrongly_is_not_flown(tmp_path, config_of, strange_encoder):
    with pytest.raises(EngineError, match=r"computes wrongly: .*cosine of .* is needed"):
        fly(config_of(*three_frames(tmp_path), encoder=strange_encoder))
    assert not (tmp_path / "new.flight").exists()


def test_an_unsafe_engine_is_flown_on_demand_and_every_fix_says_so(
    tmp_path, config_of, strange_encoder, caplog
):
    config = config_of(*three_frames(tmp_path), encoder=strange_encoder, unsafe_engine=True)
    fly(config)
    assert "unsafe" in caplog.text
    fixes = read_fixes(config.output)
    assert len(fixes) == 3
    assert all("golden pictures have a cosine of" in fix.engine_fault for fix in fixes)
    rows = (config.output / "fixes.csv").read_text().splitlines()
    assert rows[0].endswith(",engine_fault")
    assert all("golden pictures" in row for row in rows[1:])


def test_a_sound_engine_leaves_no_word_of_it(tmp_path, config_of):
    config = config_of(*three_frames(tmp_path), unsafe_engine=True)
    fly(config)
    assert [fix.engine_fault for fix in read_fixes(config.output)] == ["", "", ""]


def test_a_flight_records_the_precision_that_really_ran(tmp_path, config_of, own_encoder):
    for precision in ("int8", "int8-cpu"):
        shutil.copy(own_encoder / GRAPH_FILES["fp32"], own_encoder / GRAPH_FILES[precision])
    seal_again(own_encoder)
    config = config_of(*three_frames(tmp_path), encoder=own_encoder, precision="int8")
    fly(config)
    manifest = json.loads((config.output / MANIFEST_NAME).read_text())
    assert (manifest["precision"], manifest["config"]["precision"]) == ("int8-cpu", "int8")
