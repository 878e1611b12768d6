"""The generated world: the same for a seed, exact in geometry, tables and georeference."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from pyproj import Geod
from rasterio.warp import transform

from dmnil_maps.sample_world.appearance import DRONE, SATELLITE, Appearance
from dmnil_maps.sample_world.camera_view import (
    CameraPose,
    DroneRenderer,
    project,
    viewed_ground_point,
)
from dmnil_maps.sample_world.flight import TimedPose, plan_flight, write_flight
from dmnil_maps.sample_world.layouts import _places, write_university1652
from dmnil_maps.sample_world.satellite import render_satellite, write_geotiff
from dmnil_maps.sample_world.scene import CAR_DTYPE, TREE_DTYPE, BuildingPart, Patch, rectangle
from dmnil_maps.sample_world.world import World, generate_world
from edge_runtime.localize.camera import PinholeCamera

SMALL_M = 260.0
RED = 5  # in palette.EQUIPMENT
CLEAR = Appearance(noise=0, blur_px=0, vignetting=0, sun_elevation_deg=80)
CAMERA = PinholeCamera(320, 240, 280.0)


@pytest.fixture(scope="module")
def world() -> World:
    return generate_world(3, SMALL_M)


def bare_world(patches: list[Patch], parts: list[BuildingPart]) -> World:
    """A meadow with nothing on it but what is given."""
    meadow = Patch(rectangle((0, 0), 2000, 2000, 0), "meadow", 1)
    return World(
        seed=0,
        size_m=400.0,
        patches=(meadow, *patches),
        roads=(),
        stripes=(),
        hedges=(),
        parts=tuple(parts),
        trees=np.zeros(0, TREE_DTYPE),
        cars=np.zeros(0, CAR_DTYPE),
        districts=(),
    )


def box(east: float, north: float, height_m: float, side_m: float, colour: int) -> BuildingPart:
    return BuildingPart(1, east, north, side_m, side_m, 0, height_m, "equipment", 0, colour, 0, 1)


def test_the_same_seed_gives_the_same_satellite_bytes(world: World) -> None:
    again = generate_world(3, SMALL_M)
    first = render_satellite(world, SATELLITE, 1.0)
    assert first.tobytes() == render_satellite(again, SATELLITE, 1.0).tobytes()
    assert first.shape == (260, 260, 3)


def test_another_seed_gives_another_picture(world: World) -> None:
    other = render_satellite(generate_world(4, SMALL_M), SATELLITE, 1.0)
    difference = np.abs(render_satellite(world, SATELLITE, 1.0).astype(int) - other)
    assert difference.mean() > 8


def test_the_same_pose_gives_the_same_bytes_from_a_fresh_renderer(world: World) -> None:
    pose = CameraPose(10, -20, 90, 40, -45)
    first = DroneRenderer(world, DRONE, 0.4).render(pose, CAMERA)
    assert first.tobytes() == DroneRenderer(world, DRONE, 0.4).render(pose, CAMERA).tobytes()


def test_season_and_light_change_the_picture_but_not_its_layout(world: World) -> None:
    summer = render_satellite(world, SATELLITE, 1.0).astype(float)
    autumn = render_satellite(world, DRONE, 1.0).astype(float)
    assert np.abs(summer - autumn).mean() > 8
    edges = [np.abs(np.diff(image.mean(2), axis=0))[:, 1:].ravel() for image in (summer, autumn)]
    assert np.corrcoef(*edges)[0, 1] > 0.15


@pytest.mark.parametrize(
    "pose",
    [
        CameraPose(5, -8, 80, 0, -90),
        CameraPose(5, -8, 80, 250, -90, 6),
        CameraPose(-40, -30, 70, 50, -50, -4),
        CameraPose(60, 40, 60, 215, -38, 3),
    ],
)
def test_a_marker_appears_where_the_pinhole_equations_say(pose: CameraPose) -> None:
    pool = Patch(rectangle((12.0, 9.0), 3, 3, 0.4), "pool", 1)
    picture = DroneRenderer(bare_world([pool], []), CLEAR).render(pose, CAMERA).astype(float)
    blueness = picture[..., 2] - picture[..., 0]
    rows, columns = np.nonzero(blueness > 0.5 * blueness.max())
    expected = project(pose, CAMERA, np.array([[12.0, 9.0, 0.0]]))[0]
    assert len(rows) > 10
    assert np.hypot(columns.mean() - expected[0], rows.mean() - expected[1]) < 1.0


def test_projection_agrees_with_a_hand_computed_case() -> None:
    # 100 m up, looking north and 45 degrees down: the axis meets the ground 100 m north.
    pose = CameraPose(0, 0, 100, 0, -45)
    assert viewed_ground_point(pose) == pytest.approx((0, 100))
    camera = PinholeCamera(101, 101, 100.0)
    pixels = project(pose, camera, np.array([[0, 100, 0], [10, 100, 0], [0, 0, 0]], float))
    assert pixels[0] == pytest.approx([50, 50])
    assert pixels[1] == pytest.approx([50 + 100 * 10 / np.hypot(100, 100), 50])
    assert pixels[2] == pytest.approx([50, 50 + 100])


def test_heading_turns_the_picture_clockwise_and_roll_lowers_its_right_side() -> None:
    camera = PinholeCamera(101, 101, 100.0)
    down_facing_east = CameraPose(0, 0, 100, 90, -90)
    to_the_east = project(down_facing_east, camera, np.array([[10.0, 0, 0]]))[0]
    assert to_the_east == pytest.approx([50, 40])
    rolled = CameraPose(0, 0, 100, 0, 0, 30)
    to_the_right = project(rolled, camera, np.array([[10.0, 100, 100]]))[0]
    assert to_the_right == pytest.approx([50 + 10 * np.cos(np.pi / 6), 50 - 10 * np.sin(np.pi / 6)])


@pytest.mark.parametrize(("east", "north"), [(22.0, 0.0), (-18.0, 16.0), (0.0, -20.0)])
def test_a_roof_leans_away_from_the_nadir_point(east: float, north: float) -> None:
    pose = CameraPose(0, 0, 80, 0, -90)
    tower = [box(east, north, 19.8, 6, 0), box(east, north, 20.0, 4, RED)]
    pictures = [
        DroneRenderer(bare_world([], parts), CLEAR).render(pose, CAMERA).astype(float)
        for parts in (tower, [])
    ]
    redness = np.subtract(*(picture[..., 0] - picture[..., 1] for picture in pictures))
    strongest = redness > 0.8 * redness.max()
    rows, columns = np.nonzero(strongest)
    roof = project(pose, CAMERA, np.array([[east, north, 20.0]]))[0]
    foot = project(pose, CAMERA, np.array([[east, north, 0.0]]))[0]
    middle = np.array([columns.mean(), rows.mean()])
    assert np.hypot(*(middle - roof)) < 2.5
    assert np.hypot(*(middle - foot)) > 8


def test_a_building_hides_the_ground_behind_it() -> None:
    pool = Patch(rectangle((0.0, 60.0), 4, 4, 0), "pool", 1)
    pose = CameraPose(0, 0, 40, 0, -35)
    bluest = []
    for parts in ([], [box(0.0, 50.0, 25.0, 6, 0)]):
        picture = DroneRenderer(bare_world([pool], parts), CLEAR).render(pose, CAMERA)
        bluest.append((picture[..., 2].astype(int) - picture[..., 0]).max())
    assert bluest[0] > 60
    assert bluest[1] < 25


def test_a_georeferenced_picture_keeps_positions_to_a_decimetre(tmp_path: Path) -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[80:88, 300:308] = 255
    path = tmp_path / "sat.tif"
    write_geotiff(path, image, 48.2, 11.5, 2.0)
    with rasterio.open(path) as raster:
        read = np.moveaxis(raster.read(), 0, -1)
        rows, columns = np.nonzero(read[..., 0] > 127)
        middle = columns.mean() + 0.5, rows.mean() + 0.5
        east = raster.transform.c + raster.transform.a * middle[0]
        north = raster.transform.f + raster.transform.e * middle[1]
        (longitude,), (latitude,) = transform(raster.crs, "EPSG:4326", [east], [north])
    azimuth, _, distance = Geod(ellps="WGS84").inv(11.5, 48.2, longitude, latitude)
    # Column 304 of 400 at 2 m is 208 m east, row 84 is 232 m north of the centre.
    assert distance * np.sin(np.deg2rad(azimuth)) == pytest.approx(208, abs=0.1)
    assert distance * np.cos(np.deg2rad(azimuth)) == pytest.approx(232, abs=0.1)


def test_a_planned_flight_climbs_and_stays_inside() -> None:
    poses = plan_flight(generate_world(3, 400.0), 1, 90, 2, 60, 10)
    heights = [timed.pose.height_m for timed in poses]
    assert len(poses) == 181
    assert heights[0] < 5
    assert heights[-1] == pytest.approx(60, abs=5)
    assert all(max(abs(t.pose.east_m), abs(t.pose.north_m)) < 200 for t in poses)
    steps = np.hypot(
        np.diff([t.pose.east_m for t in poses]), np.diff([t.pose.north_m for t in poses])
    )
    assert 0 < steps.max() < 10 / 2 * 1.3


def test_written_tables_tell_the_poses_that_were_flown(world: World, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    poses = [
        TimedPose(k * 0.5, CameraPose(e, n, 70 + k, 30.0 * k, -45.7), -45.0)
        for k, (e, n) in enumerate(rng.uniform(-80, 80, (4, 2)))
    ]
    camera = PinholeCamera(64, 48, 60.0)
    folder = write_flight(tmp_path / "flight", world, DRONE, poses, camera, -33.9, 18.4, 5)
    assert sorted(p.name for p in folder.iterdir()) == [
        "camera.yaml",
        "frames",
        "frames.csv",
        "truth.csv",
    ]
    assert (folder / "camera.yaml").read_text().splitlines() == [
        "image_width: 64",
        "image_height: 48",
        "focal_px: 60.0",
    ]
    told = list(csv.DictReader((folder / "frames.csv").read_text().splitlines()))
    true = list(csv.DictReader((folder / "truth.csv").read_text().splitlines()))
    geod = Geod(ellps="WGS84")
    for timed, telemetry, truth in zip(poses, told, true, strict=True):
        pose = timed.pose
        assert (folder / "frames" / telemetry["frame"]).is_file()
        assert telemetry["frame"] == truth["frame"]
        assert float(telemetry["time_s"]) == timed.time_s
        heading_error = (float(telemetry["heading_deg"]) - pose.heading_deg + 180) % 360 - 180
        assert 0 < abs(heading_error) < 9
        height = float(telemetry["height_above_takeoff_m"])
        assert height == pytest.approx(pose.height_m, abs=2.5)
        assert float(telemetry["camera_pitch_deg"]) == -45
        for name, (east, north) in (
            ("drone", (pose.east_m, pose.north_m)),
            ("viewed_ground", viewed_ground_point(pose)),
        ):
            azimuth, _, distance = geod.inv(
                18.4,
                -33.9,
                float(truth[f"{name}_longitude_deg"]),
                float(truth[f"{name}_latitude_deg"]),
            )
            assert distance * np.sin(np.deg2rad(azimuth)) == pytest.approx(east, abs=0.02)
            assert distance * np.cos(np.deg2rad(azimuth)) == pytest.approx(north, abs=0.02)


def test_the_dataset_layout_has_every_folder_and_view(world: World, tmp_path: Path) -> None:
    folder = write_university1652(
        tmp_path / "u",
        world,
        places=4,
        views_per_place=2,
        crop_m=80,
        image_px=64,
        surface_resolution_m=0.5,
    )
    counts = {
        str(part.relative_to(folder)): len(list(part.glob("*/*")))
        for part in (*folder.glob("train/*"), *folder.glob("test/*"))
    }
    assert counts == {
        "train/drone": 4,
        "train/satellite": 2,
        "test/query_drone": 4,
        "test/gallery_drone": 4,
        "test/query_satellite": 2,
        "test/gallery_satellite": 2,
    }


@pytest.mark.parametrize(("size_m", "places", "apart_m"), [(1000.0, 9, 100.0), (600.0, 20, 50.0)])
def test_places_share_ground_only_where_the_world_is_too_small(
    size_m: float, places: int, apart_m: float
) -> None:
    rng = np.random.default_rng(0)
    bare = SimpleNamespace(size_m=size_m, parts=())
    spots = _places(rng, bare, places, 100.0)  # type: ignore[arg-type]
    offsets_m = np.abs(spots[:, None] - spots).max(axis=2) + np.eye(places) * 1e6
    assert offsets_m.min() >= apart_m
    assert (offsets_m.min() >= 100.0) == (apart_m == 100.0)
    assert np.abs(spots).max() <= (size_m - 100.0) / 2


def test_places_are_buildings_until_none_is_far_enough_from_the_others() -> None:
    def building(number: int, east: float, north: float) -> SimpleNamespace:
        return SimpleNamespace(building=number, east=east, north=north)

    # Of the second building there are two wings; the third stands beside the first.
    parts = (
        building(0, 0.0, 0.0),
        building(1, 150.0, 0.0),
        building(1, 170.0, 0.0),
        building(2, 20.0, 0.0),
    )
    town = SimpleNamespace(size_m=600.0, parts=parts)
    spots = _places(np.random.default_rng(0), town, 5, 100.0)  # type: ignore[arg-type]
    built = {tuple(spot) for spot in spots.tolist()} & {(0.0, 0.0), (20.0, 0.0), (150.0, 0.0)}
    assert (150.0, 0.0) in built
    assert len(built) == 2
    assert len(spots) == 5
