"""One's own region: the map's own tiles, the runtime's own views, and what counts as found."""

from __future__ import annotations

import csv
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dmnil_maps.sample_world.satellite import write_geotiff
from dmnil_train.data.config import DataConfig
from dmnil_train.data.drone_views import prepare_drone_views
from dmnil_train.data.layouts import open_retrieval_tasks, open_training_data
from dmnil_train.data.region import prepare_satellite, region_retrieval_task
from edge_runtime.contract.errors import (
    ConfigError,
    MapError,
    SourceError,
    TelemetryError,
)
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.flight_camera import CameraConfig
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera, centre_ground_point
from edge_runtime.localize.rectify import choose_window, rectify
from tests.maps.conftest import Ground, raster_grid, write_imagery
from tests.maps.conftest import write_geotiff as write_bands
from tests.painted_ground import PaintedGround, textured_ground

FRAME = LocalFrame(47.2, 9.6)
GSD_M = 0.8
SIZE, FOOTPRINT_M = 32, 64.0
HEIGHT_M, PITCH_DEG = 80.0, -65.0
LOW_M = 42.0
"""So low that the camera sees no whole footprint around its image centre."""
WIDTH_PX, HEIGHT_PX = 240, 180
FOCAL_MM = 24.0
PLACES_M = [(-90.0, -60.0), (-40.0, 20.0), (0.0, 0.0), (35.0, -50.0), (80.0, 70.0), (10.0, 90.0)]
HEADINGS_DEG = [0.0, 40.0, 130.0, 200.0, 275.0, 330.0]
HEIGHTS_M = [HEIGHT_M, HEIGHT_M, HEIGHT_M, HEIGHT_M, LOW_M, LOW_M]


@pytest.fixture(scope="session")
def ground() -> PaintedGround:
    return textured_ground(seed=2, metres_per_pixel=GSD_M)


@pytest.fixture(scope="session")
def flight(tmp_path_factory: pytest.TempPathFactory, ground: PaintedGround) -> Path:
    """A satellite picture and a few oblique frames of one ground, with telemetry and truth."""
    folder = tmp_path_factory.mktemp("flight")
    write_geotiff(
        folder / "town.tif", ground.picture, FRAME.latitude_deg, FRAME.longitude_deg, GSD_M
    )
    (folder / "frames").mkdir()
    camera = PinholeCamera.from_equivalent_focal_length(WIDTH_PX, HEIGHT_PX, FOCAL_MM)
    telemetry, truth = [], []
    for number, (place, heading, height) in enumerate(
        zip(PLACES_M, HEADINGS_DEG, HEIGHTS_M, strict=True)
    ):
        name = f"{number:06d}.png"
        attitude = CameraAttitude(heading, PITCH_DEG)
        image = ground.photograph(camera, attitude, height, place)
        assert cv2.imwrite(str(folder / "frames" / name), image[..., ::-1])
        telemetry.append([name, number, height, heading, PITCH_DEG])
        viewed = np.array(place) + centre_ground_point(attitude, height)
        truth.append([name, *FRAME.to_geodetic(place), *FRAME.to_geodetic(viewed)])
    write_csv(folder / "frames.csv", TELEMETRY_COLUMNS, telemetry)
    write_csv(folder / "truth.csv", TRUTH_COLUMNS, truth)
    return folder


TELEMETRY_COLUMNS = [
    "frame",
    "time_s",
    "height_above_takeoff_m",
    "heading_deg",
    "camera_pitch_deg",
]
TRUTH_COLUMNS = [
    "frame",
    "drone_latitude_deg",
    "drone_longitude_deg",
    "viewed_ground_latitude_deg",
    "viewed_ground_longitude_deg",
]


def write_csv(path: Path, columns: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([columns, *rows])
    return path


@pytest.fixture
def config(flight: Path, tmp_path: Path) -> DataConfig:
    return DataConfig(
        "region",
        satellite=flight / "town.tif",
        drone=flight / "frames",
        telemetry=flight / "frames.csv",
        truth=flight / "truth.csv",
        footprint_m=FOOTPRINT_M,
        hit_radius_m=15.0,
        cache=tmp_path / "cache",
        camera=CameraConfig(focal_length_35mm=FOCAL_MM),
    )


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two pictures, -1 to 1."""
    return float(np.corrcoef(first.astype(float).ravel(), second.astype(float).ravel())[0, 1])


# Both pools together


def test_each_view_is_most_like_a_tile_that_counts_as_found(config: DataConfig) -> None:
    (task,) = open_retrieval_tasks(config, SIZE, SIZE)
    assert task.name == "drone->satellite"
    assert task.queries.names == tuple(f"{number:06d}.png" for number in range(len(PLACES_M)))
    assert task.relevant is not None
    assert task.turnable_side == "gallery"
    assert task.relevant.shape == (len(task.queries), len(task.gallery))
    tiles = [task.gallery.read(index) for index in range(len(task.gallery))]
    for query, relevant in enumerate(task.relevant):
        likes = [likeness(task.queries.read(query), tile) for tile in tiles]
        assert relevant[int(np.argmax(likes))]
        assert 0 < relevant.sum() < 6


def test_training_pools_have_the_margin_and_no_labels(config: DataConfig) -> None:
    data = open_training_data(config, SIZE, SIZE)
    assert data.drone is not None
    for pool in (data.satellite, data.drone):
        assert pool.pictures.shape[1:] == (48, 48, 3)
        assert pool.input_size == (SIZE, SIZE)
        assert pool.footprint_m == FOOTPRINT_M
        assert (pool.places == -1).all()
    assert data.satellite.positions_m is not None
    assert data.drone.positions_m is None
    assert data.single_satellite_images


def test_satellite_images_alone_can_be_trained_on(config: DataConfig) -> None:
    alone = replace(config, drone=(), telemetry=(), truth=())
    data = open_training_data(alone, SIZE, SIZE)
    assert data.drone is None
    assert len(data.satellite) > 100
    assert open_retrieval_tasks(alone, SIZE, SIZE) == []


def test_everything_comes_from_the_cache_the_second_time(
    config: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_training_data(config, SIZE, SIZE)
    monkeypatch.setattr("dmnil_train.data.drone_views.rectify", None)
    monkeypatch.setattr("dmnil_maps.raster.Imagery.read", None)
    again = open_training_data(config, SIZE, SIZE)
    assert first.drone is not None
    assert again.drone is not None
    assert np.array_equal(first.drone.pictures, again.drone.pictures)
    assert np.array_equal(first.satellite.pictures, again.satellite.pictures)
    assert first.drone.names == again.drone.names
    assert np.array_equal(first.satellite.positions_m, again.satellite.positions_m)


# Satellite tiles


def test_a_raster_smaller_than_a_footprint_says_so(config: DataConfig) -> None:
    with pytest.raises(MapError, match=r"500 m by 500 m, smaller than one footprint of 600 m"):
        open_training_data(replace(config, footprint_m=600.0), SIZE, SIZE)


def test_a_raster_of_nothing_but_holes_says_so(config: DataConfig, tmp_path: Path) -> None:
    transform, width, height = raster_grid("EPSG:32632")
    bands = np.zeros((3, height, width), np.uint8)
    path = write_bands(tmp_path / "holes.tif", bands, "EPSG:32632", transform, nodata=0)
    with pytest.raises(MapError, match=r"no 64 m tile of .*holes\.tif is covered to 95%"):
        open_training_data(replace(config, satellite=path), SIZE, SIZE)


def test_another_raster_of_the_same_name_is_prepared_anew(
    config: DataConfig, tmp_path: Path
) -> None:
    path = write_imagery(tmp_path, "utm", Ground())
    config = replace(config, satellite=path, drone=(), telemetry=(), truth=())
    first = prepare_satellite(config, SIZE, SIZE).pool
    write_imagery(tmp_path, "utm", Ground(markers=((47.3769, 8.5417),)))
    second = prepare_satellite(config, SIZE, SIZE).pool
    assert not np.array_equal(first.pictures, second.pictures)


def test_a_folder_of_tiles_knows_its_positions(config: DataConfig, tmp_path: Path) -> None:
    tiles = write_imagery(tmp_path, "tiles", Ground())
    satellite = prepare_satellite(replace(config, satellite=tiles), SIZE, SIZE)
    assert satellite.frame is not None
    assert satellite.pool.positions_m is not None


# A folder of plain images


def draw(path: Path, height: int = 20, width: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def test_plain_images_are_taken_whole_and_know_no_positions(
    config: DataConfig, tmp_path: Path
) -> None:
    for name in ("2/b.png", "10/a.png", "c.jpg"):
        draw(tmp_path / "sat" / name)
    plain = replace(config, satellite=tmp_path / "sat")
    pool = open_training_data(plain, SIZE, SIZE).satellite
    assert pool.names == ("c.jpg", "2/b.png", "10/a.png")
    assert pool.pictures.shape == (3, SIZE, SIZE, 3)
    assert pool.margin == 1.0
    assert pool.positions_m is None
    with pytest.raises(ConfigError, match=r"truth cannot be scored: the images of .*sat know no"):
        open_retrieval_tasks(plain, SIZE, SIZE)


def test_satellite_images_of_shared_places_can_be_clustered(
    config: DataConfig, tmp_path: Path
) -> None:
    draw(tmp_path / "sat/a.png")
    plain = replace(config, satellite=tmp_path / "sat", single_satellite_images=False)
    assert not open_training_data(plain, SIZE, SIZE).single_satellite_images


@pytest.mark.parametrize("content", ["nothing", "unreadable"])
def test_a_folder_without_a_readable_image_is_named(
    config: DataConfig, tmp_path: Path, content: str
) -> None:
    (tmp_path / "sat").mkdir()
    if content == "unreadable":
        for name in ("a.png", "b.jpg"):
            (tmp_path / "sat" / name).write_bytes(b"\xff\xd8 half a picture")
    complaint = {
        "nothing": r"sat holds no picture: expected satellite images, or XYZ tiles",
        "unreadable": r"sat: 1 of 2 pictures cannot be decoded \(a\.png\), more than 5%",
    }[content]
    with pytest.raises(SourceError, match=complaint):
        open_training_data(replace(config, satellite=tmp_path / "sat"), SIZE, SIZE)


def test_a_path_that_is_nowhere_is_named(config: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.tif: no such GeoTIFF, folder of XYZ tiles"):
        open_training_data(replace(config, satellite=tmp_path / "gone.tif"), SIZE, SIZE)


# Drone views


@pytest.mark.parametrize("margin", [1.0, 1.5, 1.6])
def test_the_middle_of_a_view_is_what_the_runtime_encodes(
    config: DataConfig, flight: Path, margin: float
) -> None:
    views = prepare_drone_views(replace(config, margin=margin), SIZE, SIZE)
    assert len(views.pool) == len(PLACES_M)
    is_low = np.array(HEIGHTS_M) == LOW_M
    assert (np.hypot(*views.to_image_centre_m.T) > 5.0).tolist() == is_low.tolist()
    camera = PinholeCamera.from_equivalent_focal_length(WIDTH_PX, HEIGHT_PX, FOCAL_MM)
    for index, (heading, height) in enumerate(zip(HEADINGS_DEG, HEIGHTS_M, strict=True)):
        attitude = CameraAttitude(heading, PITCH_DEG)
        image = cv2.imread(str(flight / "frames" / views.frames[index]))[..., ::-1]
        window, _ = choose_window(camera, attitude, height, FOOTPRINT_M)
        flown = rectify(np.ascontiguousarray(image), camera, attitude, height, window, SIZE)
        assert np.abs(views.pool.read(index).astype(int) - flown).max() <= 8
        assert views.to_image_centre_m[index] == pytest.approx(
            centre_ground_point(attitude, height) - window.offset_m
        )


def test_the_surroundings_of_a_view_are_the_ground_around_it(
    config: DataConfig, ground: PaintedGround
) -> None:
    """A view of the margin's whole ground, taken from the painted ground itself."""
    views = prepare_drone_views(config, SIZE, SIZE)
    for index, (place, heading, height) in enumerate(
        zip(PLACES_M, HEADINGS_DEG, HEIGHTS_M, strict=True)
    ):
        attitude = CameraAttitude(heading, PITCH_DEG)
        middle = np.array(place) + centre_ground_point(attitude, height)
        middle -= views.to_image_centre_m[index]
        blurred = PaintedGround(cv2.blur(ground.picture, (3, 3)), GSD_M)
        above = blurred.seen_from_above((middle[0], middle[1]), 1.5 * FOOTPRINT_M, 48)
        picture = views.pool.pictures[index]
        border = np.abs(picture.astype(int) - picture[0, 0]).max(axis=-1) <= 1
        seen = ~border
        assert seen.mean() > 0.5
        assert likeness(picture[seen], above[seen]) > 0.85


def test_raw_views_are_the_middle_of_the_picture(config: DataConfig, flight: Path) -> None:
    raw = replace(config, view="raw", telemetry=(), truth=())
    views = prepare_drone_views(raw, 30, 20)
    assert views.pool.pictures.shape == (len(PLACES_M), 30, 20, 3)
    assert views.pool.margin == 1.0
    image = cv2.imread(str(flight / "frames" / "000000.png"))[..., ::-1]
    expected = cv2.resize(image[:, 60:180], (20, 30), interpolation=cv2.INTER_AREA)
    assert np.abs(views.pool.read(0).astype(int) - expected).max() <= 1
    assert (views.to_image_centre_m == 0.0).all()


def test_raw_views_with_telemetry_come_with_what_rectifies_them(config: DataConfig) -> None:
    rectified = prepare_drone_views(config, SIZE, SIZE)
    data = open_training_data(replace(config, view="raw"), SIZE, SIZE)
    assert data.drone is not None
    assert data.rectified is not None
    assert data.rectified_of is not None
    assert np.array_equal(data.rectified.pictures, rectified.pool.pictures)
    assert [data.drone.names[row] for row in data.rectified_of] == list(rectified.frames)
    assert open_training_data(config, SIZE, SIZE).rectified is None
    blind = replace(config, view="raw", telemetry=(), truth=())
    assert open_training_data(blind, SIZE, SIZE).rectified is None


def test_frames_that_the_runtime_would_turn_away_are_left_out_and_counted(
    config: DataConfig, flight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    good = (flight / "frames" / "000002.png").read_bytes()
    flat = np.full((HEIGHT_PX, WIDTH_PX, 3), 120, np.uint8)
    rows: list[list[Any]] = []
    for number in range(30):
        name = f"{number:06d}.png"
        (frames / name).write_bytes(good)
        rows.append([name, number, HEIGHT_M, HEADINGS_DEG[2], PITCH_DEG])
    (frames / "000001.png").write_bytes(good[:100])
    assert cv2.imwrite(str(frames / "000002.png"), flat)
    assert cv2.imwrite(str(frames / "000003.png"), flat[:90])
    rows[4][2] = 12.0  # too low
    rows[5][4] = -5.0  # too shallow
    rows[6][2] = 30.0  # sees too little of 64 m
    del rows[7]
    telemetry = write_csv(tmp_path / "frames.csv", TELEMETRY_COLUMNS, rows)
    changed = replace(config, drone=frames, telemetry=telemetry, truth=())
    for _ in range(2):  # prepared, then taken from the cache
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            data = open_training_data(changed, SIZE, SIZE)
        assert data.drone is not None
        left_out = {f"{number:06d}.png" for number in range(1, 8)}
        assert set(data.drone.names) == {f"{n:06d}.png" for n in range(30)} - left_out
        for part in (
            "23 frames used, 7 left out",
            "2 too low, or camera too shallow or banked",
            "1 undecodable",
            "1 of another size",
            "1 with too little of the footprint",
            "1 blurred, flat",
            "1 without telemetry",
        ):
            assert part in caplog.text


def test_above_five_percent_of_undecodable_frames_is_an_error(
    config: DataConfig, flight: Path, tmp_path: Path
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for path in (flight / "frames").iterdir():
        (frames / path.name).write_bytes(path.read_bytes())
    (frames / "000003.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"frames: 1 of 6 pictures cannot be decoded \(000003"):
        open_training_data(replace(config, drone=frames), SIZE, SIZE)


def test_telemetry_of_another_flight_is_named(config: DataConfig, tmp_path: Path) -> None:
    row = ["another.png", 0.0, HEIGHT_M, 0.0, PITCH_DEG]
    path = write_csv(tmp_path / "other.csv", TELEMETRY_COLUMNS, [row])
    with pytest.raises(TelemetryError, match=r"other\.csv covers none of the 6 frames"):
        open_training_data(replace(config, telemetry=path), SIZE, SIZE)


def test_a_flight_of_which_nothing_can_be_used_says_why(config: DataConfig) -> None:
    with pytest.raises(SourceError, match=r"no frame can be used, 6 left out: 6 with too little"):
        open_training_data(replace(config, footprint_m=300.0), SIZE, SIZE)


def test_an_unknown_lens_is_an_error_and_a_camera_file_beside_the_telemetry_tells(
    config: DataConfig, flight: Path, tmp_path: Path
) -> None:
    telemetry = tmp_path / "frames.csv"
    telemetry.write_bytes((flight / "frames.csv").read_bytes())
    unknown = replace(config, telemetry=telemetry, camera=CameraConfig())
    with pytest.raises(ConfigError, match=r"lens is unknown.*camera\.yaml"):
        prepare_drone_views(unknown, SIZE, SIZE)
    focal_px = WIDTH_PX * FOCAL_MM / 36.0
    camera_file = tmp_path / "camera.yaml"
    camera_file.write_text(
        f"image_width: {WIDTH_PX}\nimage_height: {HEIGHT_PX}\nfocal_px: {focal_px}\n"
    )
    told = prepare_drone_views(unknown, SIZE, SIZE).pool
    assert np.array_equal(told.pictures, prepare_drone_views(config, SIZE, SIZE).pool.pictures)
    camera_file.write_text("image_width: wide\n")
    with pytest.raises(ConfigError, match=r"camera\.yaml: image_width must be"):
        prepare_drone_views(unknown, SIZE, SIZE)


def test_how_the_camera_is_mounted_turns_the_views(config: DataConfig) -> None:
    straight = prepare_drone_views(config, SIZE, SIZE).pool
    turned = prepare_drone_views(
        replace(config, camera=CameraConfig(FOCAL_MM, heading_offset_deg=90.0)), SIZE, SIZE
    ).pool
    # Told that it looks east where it looks north, the view turns by a quarter clockwise.
    assert likeness(np.rot90(straight.read(0), -1), turned.read(0)) > 0.9


def test_a_rectified_view_needs_a_square_input(config: DataConfig) -> None:
    with pytest.raises(ConfigError, match=r"square encoder input, not 32x48"):
        open_training_data(config, 32, 48)


def test_a_video_is_sampled_and_joined_by_time(
    config: DataConfig, ground: PaintedGround, tmp_path: Path
) -> None:
    path = tmp_path / "flight.avi"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (WIDTH_PX, HEIGHT_PX)
    )
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    camera = PinholeCamera.from_equivalent_focal_length(WIDTH_PX, HEIGHT_PX, FOCAL_MM)
    for number in range(40):
        image = ground.photograph(
            camera, CameraAttitude(0.0, PITCH_DEG), HEIGHT_M, (0.0, 2.0 * number - 60.0)
        )
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    rows = [[time_s, HEIGHT_M, 0.0, PITCH_DEG] for time_s in np.arange(5.0, 10.0)]
    telemetry = write_csv(tmp_path / "clock.csv", TELEMETRY_COLUMNS[1:], rows)
    video = replace(config, drone=path, telemetry=telemetry, truth=(), telemetry_offset_s=5.0)
    views = prepare_drone_views(video, SIZE, SIZE)
    assert views.frames == ("000001", "000011", "000021", "000031")
    assert len(prepare_drone_views(replace(video, every_s=0.5), SIZE, SIZE).frames) == 8
    with pytest.raises(TelemetryError, match="covers none of the 4 frames"):
        prepare_drone_views(replace(video, telemetry_offset_s=50.0), SIZE, SIZE)


def test_an_offset_shifts_no_frames_that_are_joined_by_name(config: DataConfig) -> None:
    with pytest.raises(ConfigError, match="joined by frames"):
        prepare_drone_views(replace(config, telemetry_offset_s=1.0), SIZE, SIZE)


def test_several_flights_keep_their_frames_apart(config: DataConfig, flight: Path) -> None:
    both = replace(
        config,
        drone=(flight / "frames", flight / "frames"),
        telemetry=(flight / "frames.csv", flight / "frames.csv"),
        truth=(flight / "truth.csv", flight / "truth.csv"),
    )
    views = prepare_drone_views(both, SIZE, SIZE)
    assert len(views.pool) == 12
    assert views.pool.names[0] == f"{flight / 'frames'}/000000.png"
    assert views.sources.tolist() == [0] * 6 + [1] * 6
    first, second = open_retrieval_tasks(both, SIZE, SIZE)
    assert first.name == f"drone->satellite, {flight / 'frames'}"
    assert len(first.queries) == len(second.queries) == 6


# What counts as found


def test_tiles_within_the_radius_of_the_ground_truly_viewed_count(config: DataConfig) -> None:
    (task,) = open_retrieval_tasks(config, SIZE, SIZE)
    satellite = prepare_satellite(config, SIZE, SIZE)
    views = prepare_drone_views(config, SIZE, SIZE)
    assert task.relevant is not None
    assert satellite.frame is not None
    assert satellite.pool.positions_m is not None
    origin_m = satellite.frame.to_local(FRAME.latitude_deg, FRAME.longitude_deg)
    for index, (place, heading, height) in enumerate(
        zip(PLACES_M, HEADINGS_DEG, HEIGHTS_M, strict=True)
    ):
        viewed = centre_ground_point(CameraAttitude(heading, PITCH_DEG), height)
        middle = origin_m + place + viewed - views.to_image_centre_m[index]
        for tile, centre in enumerate(satellite.pool.positions_m):
            distance_m = float(np.hypot(*(centre - middle)))
            if abs(distance_m - 15.0) > 0.01:
                assert task.relevant[index, tile] == (distance_m < 15.0)


def test_earlier_frames_are_left_out_of_the_evaluation(config: DataConfig) -> None:
    (task,) = open_retrieval_tasks(replace(config, first_frame="000002.png"), SIZE, SIZE)
    assert task.queries.names == ("000002.png", "000003.png", "000004.png", "000005.png")
    assert np.array_equal(
        task.queries.read(1), prepare_drone_views(config, SIZE, SIZE).pool.read(3)
    )


def test_frames_are_early_or_late_by_the_value_of_their_number(
    config: DataConfig, flight: Path, tmp_path: Path
) -> None:
    names = tuple(f"frame{number}.png" for number in range(7, 13))
    with (flight / "truth.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    renamed = [[name, *row[1:]] for name, row in zip(names, rows, strict=True)]
    truth = write_csv(tmp_path / "renamed.csv", TRUTH_COLUMNS, renamed)
    views = replace(prepare_drone_views(config, SIZE, SIZE), frames=names)
    satellite = prepare_satellite(config, SIZE, SIZE)
    assert satellite.frame is not None
    for first_frame, left in (("frame9.png", 4), ("frame10.png", 3)):
        task = region_retrieval_task(
            "late", views, 0, satellite.pool, satellite.frame, truth, first_frame, 15.0
        )
        assert len(task.queries) == left


def moved_truth(flight: Path, path: Path, frames: int, by_deg: float) -> Path:
    """The truth with its first frames moved to the north."""
    with (flight / "truth.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))[1:]
    for row in rows[:frames]:
        row[3] = str(float(row[3]) + by_deg)
    return write_csv(path, TRUTH_COLUMNS, rows)


def test_frames_beyond_the_imagery_are_left_out_and_counted(
    config: DataConfig, flight: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truth = moved_truth(flight, tmp_path / "far.csv", 2, 0.01)
    with caplog.at_level(logging.WARNING):
        (task,) = open_retrieval_tasks(replace(config, truth=truth), SIZE, SIZE)
    assert len(task.queries) == 4
    assert task.relevant is not None
    assert task.relevant.any(axis=1).all()
    assert "2 of 6 frames show ground that no satellite tile does" in caplog.text


def test_truth_of_another_region_is_named(config: DataConfig, flight: Path, tmp_path: Path) -> None:
    truth = moved_truth(flight, tmp_path / "far.csv", 6, 1.0)
    with pytest.raises(TelemetryError, match=r"far\.csv: no tile lies within 15 m"):
        open_retrieval_tasks(replace(config, truth=truth), SIZE, SIZE)


def test_truth_of_another_flight_is_named(config: DataConfig, tmp_path: Path) -> None:
    row = ["x.png", 47.2, 9.6, 47.2, 9.6]
    truth = write_csv(tmp_path / "other.csv", TRUTH_COLUMNS, [row])
    with pytest.raises(TelemetryError, match=r"other\.csv has no true place of any usable frame"):
        open_retrieval_tasks(replace(config, truth=truth), SIZE, SIZE)
    with pytest.raises(TelemetryError, match="usable frame from 9 on"):
        open_retrieval_tasks(replace(config, first_frame="9"), SIZE, SIZE)
