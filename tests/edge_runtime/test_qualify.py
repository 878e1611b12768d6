from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.cli import main
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.localize.camera import CameraPose, PinholeCamera
from edge_runtime.localize.position_grid import Bounds
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.rectify import choose_window, rectify
from edge_runtime.localize.uncertainty import TelemetryErrorConfig
from edge_runtime.qualify.flight_record import FlightRecord, distinctiveness_at
from edge_runtime.qualify.qualification import Qualification, QualifyConfig, qualify
from edge_runtime.qualify.qualification_report import concerns, report_text
from edge_runtime.qualify.simulated_appearance import SimulatedAppearance, shade_over
from edge_runtime.qualify.simulated_engine import RecallingEngine
from edge_runtime.qualify.simulated_ground import (
    MirroredGround,
    SeenGround,
    TexturedGround,
    photographed,
    seen_ground,
)
from edge_runtime.qualify.simulated_path import even_start, simulated_path
from edge_runtime.qualify.telemetry_errors import TelemetryErrors
from edge_runtime.qualify.trial_score import score_trial
from edge_runtime.qualify.weak_areas import CELL_M, area_cells
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_MAP
from tests.small_map import LEVEL, write_small_map
from tests.tiny_encoder import write_tiny_encoder

CAMERA = PinholeCamera(384, 216, 256.0)
POSE = CameraPose(height_m=120.0, heading_deg=30.0, pitch_deg=-60.0)


# What is simulated


def test_telemetry_errs_by_as_much_as_is_stated() -> None:
    stated = TelemetryErrorConfig(heading_deg=4.0, pitch_deg=2.0, height_share=0.1)
    times = np.arange(0.0, 100.0, 50.0)
    drawn = [
        TelemetryErrors(stated, times, np.random.default_rng(seed)).reported(POSE, 1)
        for seed in range(600)
    ]
    headings = np.array([(pose.heading_deg - 30.0 + 180.0) % 360.0 - 180.0 for pose in drawn])
    assert headings.std() == pytest.approx(4.0, rel=0.12)
    assert np.std([pose.pitch_deg for pose in drawn]) == pytest.approx(2.0, rel=0.12)
    assert np.std([pose.height_m for pose in drawn]) == pytest.approx(12.0, rel=0.12)
    assert abs(headings.mean()) < 0.4


def test_most_of_a_flights_error_stays() -> None:
    stated = TelemetryErrorConfig(heading_deg=4.0, pitch_deg=2.0, height_share=0.1)
    times = np.array([0.0, 1000.0])
    pairs = []
    for seed in range(400):
        errors = TelemetryErrors(stated, times, np.random.default_rng(seed))
        pairs.append([errors.reported(POSE, frame).height_m for frame in (0, 1)])
    assert np.corrcoef(np.array(pairs).T)[0, 1] == pytest.approx(0.7, abs=0.1)


def test_a_path_keeps_its_speed_and_turns_as_drones_do() -> None:
    bounds = Bounds(-500.0, -500.0, 500.0, 500.0)
    positions, poses = simulated_path(
        bounds, 200, 1.0, 12.0, 100.0, -60.0, np.random.default_rng(2)
    )
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert steps.max() <= 12.0 + 1e-9
    assert np.median(steps) == pytest.approx(12.0, rel=0.01)
    assert np.abs(positions).max() < 800.0
    # The camera looks where it flies.
    ahead = np.degrees(np.arctan2(*np.diff(positions, axis=0).T)) % 360.0
    off = [(p.heading_deg - a + 180) % 360 - 180 for p, a in zip(poses[:-1], ahead, strict=True)]
    assert np.median(np.abs(off)) < 5.0


def test_flights_start_all_over_the_map_however_many_they_are() -> None:
    for count in (8, 50):
        starts = np.array([even_start(number, seed=5) for number in range(count)])
        quarters = {(east > 0.5, north > 0.5) for east, north in starts}
        assert len(quarters) == 4
        apart = np.linalg.norm(starts[:, None] - starts, axis=-1) + 9.0 * np.eye(count)
        assert apart.min() > 0.4 / np.sqrt(count)


def test_a_frame_shows_the_ground_that_rectification_finds_again() -> None:
    place = np.array([37.0, -12.0])
    ground = TexturedGround(4)
    seen = seen_ground(ground, CAMERA, POSE, place, 120.0)
    assert seen is not None
    frame = photographed(seen, CAMERA, POSE, place)
    window, coverage = choose_window(CAMERA, POSE.attitude, POSE.height_m, 120.0)
    assert coverage > 0.9
    view = rectify(frame, CAMERA, POSE.attitude, POSE.height_m, window, 96)
    truth = ground.square(place + window.offset_m, 120.0, 96)
    assert truth is not None
    inner = np.s_[16:-16, 16:-16, 0]
    blurred = [cv2.GaussianBlur(p, (0, 0), 1.5)[inner].ravel() for p in (view, truth)]
    assert np.corrcoef(*blurred)[0, 1] > 0.9


def test_mirrored_ground_is_the_same_country_seen_in_a_mirror() -> None:
    ground = TexturedGround(5)
    mirrored = MirroredGround(ground, about_east_m=100.0)
    seen, twin = (
        mirrored.square(np.array([130.0, 40.0]), 50.0, 64),
        ground.square(np.array([70.0, 40.0]), 50.0, 64),
    )
    assert seen is not None
    assert twin is not None
    np.testing.assert_array_equal(seen, twin[:, ::-1])


def test_without_strength_an_appearance_changes_next_to_nothing() -> None:
    ground = TexturedGround(6).square(np.zeros(2), 100.0, 128)
    assert ground is not None
    ground = cv2.GaussianBlur(ground, (0, 0), 2.0)
    appearance = SimulatedAppearance.drawn(np.random.default_rng(1), 0.0)
    shade = shade_over(np.zeros(2), 100.0, 128, 3)
    seen = appearance.exposed(appearance.shaded(ground, shade), np.random.default_rng(1))
    assert np.abs(seen.astype(int) - ground).mean() < 2.0
    strong = SimulatedAppearance.drawn(np.random.default_rng(1), 1.0)
    changed = strong.exposed(strong.shaded(ground, shade), np.random.default_rng(1))
    assert np.abs(changed.astype(int) - ground).mean() > 5.0


def test_shade_lies_still_on_the_ground() -> None:
    wide = shade_over(np.array([0.0, 0.0]), 256.0, 256, 7)
    part = shade_over(np.array([-64.0, 64.0]), 128.0, 128, 7)
    np.testing.assert_allclose(part[8:-8, 8:-8], wide[8:120, 8:120], atol=0.02)


# An engine that recalls


@pytest.fixture(scope="module")
def region_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qualify")
    encoder = write_tiny_encoder(folder / "tiny.encoder")
    sha256 = load_encoder_bundle(encoder).encoder_sha256
    return write_small_map(folder / "small.map", sha256)


@pytest.fixture(scope="module")
def encoder(region_map: Path) -> Path:
    return region_map.parent / "tiny.encoder"


def test_a_true_view_recalls_its_tile_at_the_stated_similarity(region_map: Path) -> None:
    opened = load_region_map(region_map)
    engine = RecallingEngine(opened, 0.6)
    view = TexturedGround(8).square(np.zeros(2), 120.0, 64)
    assert view is not None
    row, column = 5, 7
    engine.look_at(LEVEL.centre(row, column), view)
    tile = int(opened.rows_at(0)[row, column])
    projector = QueryProjector(opened)
    turned = np.ascontiguousarray(np.rot90(view))
    similarity = {"true": [], "turned": []}
    for _ in range(50):
        for name, image in (("true", view), ("turned", turned)):
            query = projector.project(engine.encode(image[None])[0], 0)
            similarity[name].append(float(query @ opened.descriptors_of([tile])[0]))
    assert np.mean(similarity["true"]) == pytest.approx(0.6, abs=0.06)
    assert np.mean(similarity["turned"]) < 0.3


# Flights


def settings(region_map: Path, encoder: Path, output: Path, **changes: object) -> QualifyConfig:
    given = {"flights": 5, "frames": 10, "threads": 1, "seed": 3}
    return QualifyConfig(map=region_map, encoder=encoder, output=output, **{**given, **changes})


@pytest.fixture(scope="module")
def qualification(tmp_path_factory: pytest.TempPathFactory) -> Qualification:
    output = tmp_path_factory.mktemp("sample") / "q"
    return qualify(settings(SAMPLE_MAP, SAMPLE_ENCODER, output, frames=32))


@pytest.fixture(scope="module")
def without_picture(region_map: Path, encoder: Path) -> Qualification:
    return qualify(settings(region_map, encoder, region_map.parent / "q"))


def test_the_localiser_finds_itself_over_the_sample_map_and_nowhere_else(
    qualification: Qualification,
) -> None:
    score = score_trial(qualification.records, qualification.is_foreign)
    assert (score.flights, score.foreign_flights) == (5, 1)
    assert score.flights_with_fix is not None
    assert score.flights_with_fix >= 0.5
    assert score.false_fixes == 0
    assert score.median_error_m is not None
    assert score.median_error_m < 25.0
    away = qualification.records[qualification.is_foreign.index(True)]
    assert np.isnan(away.error_m).all()


def test_the_same_seed_gives_the_same_flights_and_another_others(
    region_map: Path, encoder: Path, tmp_path: Path, without_picture: Qualification
) -> None:
    first = without_picture
    again, other = (
        qualify(settings(region_map, encoder, tmp_path / "q", seed=seed)) for seed in (3, 4)
    )
    for one, two in zip(first.records, again.records, strict=True):
        np.testing.assert_array_equal(one.error_m, two.error_m)
        np.testing.assert_array_equal(one.state, two.state)
        np.testing.assert_array_equal(one.viewed_east_m, two.viewed_east_m)
    assert not np.array_equal(other.records[0].viewed_east_m, first.records[0].viewed_east_m)


def test_what_speaks_against_a_map_is_said(qualification: Qualification) -> None:
    wrong = [replace(record, error_m=record.error_m + 1000.0) for record in qualification.records]
    score = score_trial(wrong, qualification.is_foreign)
    said = " ".join(concerns(qualification, score))
    assert f"{score.false_fixes} false fixes: do not fly" in said
    assert "the stated radius holds 0.000 instead of 0.95: too small" in said
    silent = [
        replace(
            record,
            error_m=np.full(len(record.error_m), np.nan),
            state=np.full(len(record.state), "ACQUIRING"),
        )
        for record in qualification.records
    ]
    assert concerns(qualification, score_trial(silent, qualification.is_foreign)) == [
        "no position was published at all: the map does not serve at this height"
    ]


def test_the_report_says_what_it_rests_on(
    qualification: Qualification, without_picture: Qualification
) -> None:
    def text_of(result: Qualification) -> str:
        score = score_trial(result.records, result.is_foreign)
        cells = area_cells(result.region_map, result.records, result.is_foreign)
        return report_text(result, score, cells)

    assert "carries no picture" in text_of(without_picture)
    assert "nothing\nabout the encoder" in text_of(without_picture)
    text = text_of(qualification)
    assert "Reality is harder" in text
    assert "in 0 of 5 flights" in text
    assert "with 95 % confidence at most 45 % of such flights" in text  # 1 - 0.05^(1/5)


def test_the_command_writes_a_report_and_a_picture(
    region_map: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["--flights", "5", "--frames", "10", "--threads", "1", "--output", str(output)]
    assert main(["qualify", str(region_map), str(encoder), *arguments]) == 0
    assert "5 simulated flights of 10 frames" in capsys.readouterr().out
    report = json.loads((output / "report.json").read_text())
    assert report["score"]["flights"] == 5
    assert report["views_from"] == "the map's descriptors"
    picture = cv2.imread(str(output / "weak_areas.png"))
    assert picture is not None
    assert min(picture.shape[:2]) >= 400


def test_an_output_of_something_else_is_refused_before_anything_is_flown(
    region_map: Path,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fly(config: QualifyConfig) -> Qualification:
        raise AssertionError("flown")

    monkeypatch.setattr("edge_runtime.commands.qualify.fly_simulated", fly)
    (tmp_path / "holiday.jpg").write_bytes(b"a picture")
    assert main(["qualify", str(region_map), str(encoder), "--output", str(tmp_path)]) == 2
    assert "is not a qualification: choose another output" in capsys.readouterr().err
    assert (tmp_path / "holiday.jpg").read_bytes() == b"a picture"


def test_too_few_flights_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["qualify", "a.map", "b.encoder", "--flights", "4"]) == 2
    assert "--flights 4 of --frames 80: fewer than 5 flights" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["qualify", "--help"])
    assert "Flights to simulate, 5 or more." in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("flown", "is_kept"), [(6, True), (2, False)])
def test_ctrl_c_keeps_the_flights_flown_if_they_tell_anything(
    flown: int,
    is_kept: bool,
    region_map: Path,
    encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def flight(self: object, engine: object, grounds: object) -> FlightRecord:
        seen.append(self)
        if len(seen) == flown:
            os.kill(os.getpid(), signal.SIGINT)
        return FlightRecord(*[np.zeros(0)] * 7, np.zeros(0, int))

    seen: list[object] = []
    monkeypatch.setattr("edge_runtime.qualify.qualification._Flight.flown", flight)
    if is_kept:
        assert len(qualify(settings(region_map, encoder, tmp_path / "q", flights=9)).records) == 6
    else:
        with pytest.raises(KeyboardInterrupt):
            qualify(settings(region_map, encoder, tmp_path / "q", flights=9))


def test_a_foreign_map_is_refused_where_views_would_tell_nothing(
    region_map: Path, encoder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="carries no imagery"):
        qualify(settings(region_map, encoder, tmp_path / "q", foreign=region_map))


def test_an_encoder_of_another_map_is_refused(region_map: Path, tmp_path: Path) -> None:
    other = write_tiny_encoder(tmp_path / "other.encoder", cells=2)
    with pytest.raises(MapError, match="was built with encoder"):
        qualify(settings(region_map, other, tmp_path / "q"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"flights": 4},
        {"frames": 9},
        {"foreign_share": 1.0},
        {"strength": -0.1},
        {"view_similarity": 0.0},
        {"height_m": -5.0},
        {"pitch_deg": -5.0},
        {"minutes": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        settings(Path("a.map"), Path("b.encoder"), Path("q"), **wrong)


# Where it is weak


def test_cells_count_the_frames_that_viewed_them_after_the_first_fix(region_map: Path) -> None:
    opened = load_region_map(region_map)
    states = ["ACQUIRING", "TRACKING", "TRACKING", "COASTING", "LOST"]
    west = LEVEL.first_east_m
    flight = FlightRecord(
        time_s=np.arange(5.0),
        state=np.array(states),
        error_m=np.array([np.nan, 1.0, 1.0, 1.0, np.nan]),
        radius95_m=np.array([np.nan, 9.0, 9.0, 9.0, np.nan]),
        distinctiveness=np.ones(5),
        viewed_east_m=np.array([west, west, west, west, west + CELL_M]),
        viewed_north_m=np.full(5, LEVEL.first_north_m),
        resets=np.zeros(5, np.int64),
    )
    cells = area_cells(opened, [flight, flight], [False, True])
    assert cells.frames[0, 0] == 3
    assert cells.served[0, 0] == 2
    assert cells.frames[0, 1] == 1
    assert cells.frames.sum() == 4
    assert cells.weak_share == 0.0  # one frame tells nothing of its cell


def test_distinctiveness_is_unknown_beside_the_map(region_map: Path) -> None:
    opened = load_region_map(region_map)
    beside = LEVEL.centre(0, 0) - [20.0, 0.0]
    known = distinctiveness_at(opened, np.array([LEVEL.centre(3, 4), beside]))
    assert np.isfinite(known[0])
    assert np.isnan(known[1])


def test_ground_that_does_not_fill_a_frame_is_grey_around(region_map: Path) -> None:
    white = SeenGround(np.full((64, 64, 3), 200, np.uint8), np.array([0.0, 60.0]), 40.0)
    frame = photographed(white, CAMERA, POSE, np.zeros(2))
    assert np.abs(frame.astype(int) - 200).max() == 0
