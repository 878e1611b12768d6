"""Ground that is not flat: where the camera looks, and what knowing it is worth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.contract.terrain_grid import VOID, TerrainGeometry, TerrainGrid, write_terrain
from edge_runtime.localize.camera import CameraPose, centre_ground_point, ground_to_image
from edge_runtime.localize.orientation_features import orientation_features
from edge_runtime.localize.picture_match import match_picture
from edge_runtime.localize.rectify import choose_window, rectify, warp_ground
from edge_runtime.localize.terrain import (
    GroundPlane,
    Terrain,
    TerrainConfig,
    plane_to_image,
    terrain_for,
)
from tests.edge_runtime.painted_ground import (
    CAMERA,
    HALF_M,
    PIXEL_M,
    as_imagery,
    painted_ground,
)
from tests.small_map import FRAME, seal_again, write_small_map

SPACING_M = 20.0


def grid_of(elevation, half_m=600.0, spacing_m=SPACING_M):
    """A terrain grid of a function of east and north, stored as a map stores it."""
    axis = np.arange(-half_m, half_m + 1, spacing_m)
    east, north = np.meshgrid(axis, -axis)
    base_m = 500.0
    steps = np.rint((elevation(east, north) - base_m) * 10).astype(np.int16)
    return TerrainGrid(TerrainGeometry(-half_m, half_m, spacing_m, base_m), steps)


def flat(east, north):
    return np.full_like(np.asarray(east, float), 500.0)


def hill(east, north):
    """A hill of 60 m on ground that falls by 6 % to the north."""
    bump = 60.0 * np.exp(-((east - 60.0) ** 2 + (north - 40.0) ** 2) / (2 * 110.0**2))
    return 500.0 + bump - 0.06 * np.asarray(north, float)


def test_elevations_lie_between_the_points_around():
    steps = np.array([[0, 100], [200, 400]], np.int16)
    grid = TerrainGrid(TerrainGeometry(10.0, 50.0, 20.0, 300.0), steps)
    places = [[10.0, 50.0], [30.0, 50.0], [10.0, 30.0], [30.0, 30.0], [20.0, 40.0], [15.0, 50.0]]
    expected = [300.0, 310.0, 320.0, 340.0, 317.5, 302.5]
    np.testing.assert_allclose(grid.elevation_m(places), expected)


def test_elevations_beyond_the_grid_and_beside_unknown_points_are_unknown():
    steps = np.array([[0, 0, 0], [0, 0, VOID]], np.int16)
    grid = TerrainGrid(TerrainGeometry(0.0, 0.0, 10.0, 0.0), steps)
    places = [
        [-0.1, 0.0],
        [0.0, 0.1],
        [20.1, 0.0],
        [0.0, -10.1],
        [15.0, -5.0],
        [5.0, -5.0],
        [20, 0],
    ]
    known = np.isfinite(grid.elevation_m(places))
    np.testing.assert_array_equal(known, [False] * 5 + [True, True])


@pytest.mark.parametrize("pitch_deg", [-90.0, -60.0, -35.0])
def test_over_flat_ground_nothing_changes(pitch_deg):
    terrain = Terrain(grid_of(flat), 500.0)
    pose = CameraPose(100.0, 30.0, pitch_deg, 2.0)
    beside = terrain.viewed_ground(pose, np.array([20.0, -10.0]))
    np.testing.assert_allclose(beside, centre_ground_point(pose.attitude, 100.0), atol=0.01)
    assert terrain.pose_above(pose, np.array([20.0, -10.0])).height_m == pytest.approx(100.0)


def test_a_slope_is_met_where_line_and_plane_cross():
    terrain = Terrain(grid_of(lambda east, north: 500.0 + 0.25 * north), 500.0)
    ahead = CameraPose(100.0, 0.0, -45.0)
    # 100 - t = 0.25 t.
    np.testing.assert_allclose(terrain.viewed_ground(ahead, np.zeros(2)), [0.0, 80.0], atol=0.1)
    assert terrain.pose_above(ahead, np.zeros(2)).height_m == pytest.approx(80.0, abs=0.1)
    behind = CameraPose(100.0, 180.0, -45.0)
    assert terrain.pose_above(behind, np.zeros(2)).height_m == pytest.approx(400 / 3, abs=0.2)


def test_the_height_is_that_over_the_viewed_ground_and_not_over_the_take_off():
    terrain = Terrain(grid_of(flat), 440.0)  # taken off in a valley, 60 m below
    pose = terrain.pose_above(CameraPose(150.0, 0.0, -90.0), np.zeros(2))
    assert pose.height_m == pytest.approx(90.0)
    assert terrain.pose_above(CameraPose(62.0, 0.0, -90.0), np.zeros(2)) is None
    assert terrain.pose_above(CameraPose(40.0, 0.0, -90.0), np.zeros(2)) is None


def test_the_nearer_of_two_slopes_is_the_one_that_is_seen():
    terrain = Terrain(
        grid_of(lambda east, north: 500.0 + 80.0 * (abs(north - 150.0) < 30.0)), 500.0
    )
    beside = terrain.viewed_ground(CameraPose(100.0, 0.0, -20.0), np.zeros(2))
    assert 100.0 <= beside[1] <= 140.0  # behind the ridge it would be 275


@pytest.mark.parametrize("pitch_deg", [0.0, 20.0, -2.0])
def test_a_camera_that_looks_past_the_known_ground_has_no_viewed_ground(pitch_deg):
    terrain = Terrain(grid_of(flat), 500.0)
    assert terrain.viewed_ground(CameraPose(100.0, 0.0, pitch_deg), np.zeros(2)) is None
    assert terrain.viewed_ground(CameraPose(100.0, 0.0, -45.0), np.array([9e5, 0.0])) is None


def test_the_plane_under_a_window_has_its_slopes():
    terrain = Terrain(grid_of(lambda e, n: 510.0 + 0.1 * e - 0.2 * n), 500.0)
    position_m, offset_m = np.array([50.0, 20.0]), np.array([30.0, -40.0])
    plane = terrain.plane_under(CameraPose(120.0, 0.0, -60.0), position_m, offset_m, 100.0)
    # Straight below the drone the plane is at 510 + 5 - 4.
    assert plane.height_m == pytest.approx(620.0 - 511.0, abs=0.1)
    assert (plane.slope_east, plane.slope_north) == pytest.approx((0.1, -0.2), abs=1e-3)
    assert plane.roughness_m < 0.1
    beyond = np.array([590.0, 0.0])
    assert terrain.plane_under(CameraPose(120.0, 0.0, -60.0), beyond, offset_m, 100.0) is None


def photograph_hill(ground, drone_m, drone_elevation_m, pose):
    """A picture of ground on `hill`, every pixel's line of sight followed to where it lands."""
    step = 4
    column, row = np.meshgrid(np.arange(0, CAMERA.width, step), np.arange(0, CAMERA.height, step))
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1).astype(float)
    rays = pixels @ np.linalg.inv(CAMERA.matrix).T @ pose.attitude.rotation
    distance = np.zeros(rays.shape[:2])
    for _ in range(60):  # ever closer: the slopes are gentle beside the lines of sight
        points = np.append(drone_m, drone_elevation_m) + distance[..., None] * rays
        height = points[..., 2] - hill(points[..., 0], points[..., 1])
        distance += 0.7 * height / np.maximum(-rays[..., 2], 0.2)
    points = np.append(drone_m, drone_elevation_m) + distance[..., None] * rays
    x = ((points[..., 0] + HALF_M) / PIXEL_M - 0.5).astype(np.float32)
    y = ((HALF_M - points[..., 1]) / PIXEL_M - 0.5).astype(np.float32)
    size = (CAMERA.width, CAMERA.height)
    # Pixel k of the small grid stands at k * step of the large one.
    rescale = np.array([[1 / step, 0, 0], [0, 1 / step, 0]])
    inverse = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    x, y = (
        cv2.warpAffine(axis, rescale, size, flags=inverse, borderMode=cv2.BORDER_REPLICATE)
        for axis in (x, y)
    )
    return cv2.remap(ground, x, y, cv2.INTER_LINEAR)


def found_in(imagery, view, window, drone_m):
    """How far from the drone's true place the imagery shows the view, and how alike they are."""
    size, reach = 96, 80
    step_m = window.footprint_m / size
    side = size + 2 * reach
    ground = imagery.view(drone_m + window.offset_m, side * step_m, side, 0.3)
    within = orientation_features(ground, 1.5)
    part = orientation_features(cv2.resize(view, (size, size), interpolation=cv2.INTER_AREA), 1.5)
    found = match_picture(part - part.mean(axis=(0, 1)), within - within.mean(axis=(0, 1)), 10.0)
    return float(np.hypot(found.column - reach, found.row - reach) * step_m), found.similarity


def test_over_a_hill_the_drone_is_found_metres_instead_of_tens_of_metres_off(tmp_path):
    ground = painted_ground(seed=5)
    imagery = as_imagery(tmp_path / "imagery.tif", ground)
    take_off_m = float(hill(-150.0, -150.0))
    terrain = Terrain(grid_of(hill), take_off_m)
    flat_ground, at_height, on_slope = [], [], []
    rng = np.random.default_rng(8)
    for _ in range(12):
        drone_m = rng.uniform(-80, 80, 2)
        told = CameraPose(110.0, float(rng.uniform(0, 360)), -50.0)
        photo = photograph_hill(ground, drone_m, take_off_m + told.height_m, told)
        believed_m = drone_m + rng.normal(0, 10, 2)
        above = terrain.pose_above(told, believed_m)
        for pose, found in ((told, flat_ground), (above, at_height)):
            window, _ = choose_window(CAMERA, pose.attitude, pose.height_m, 80.0)
            view = rectify(photo, CAMERA, pose.attitude, pose.height_m, window, 192)
            found.append(found_in(imagery, view, window, drone_m))
        plane = terrain.plane_under(told, believed_m, window.offset_m, 80.0)
        view = warp_ground(photo, plane_to_image(CAMERA, told.attitude, plane), window, 192)
        on_slope.append(found_in(imagery, view, window, drone_m))
    off_m, likeness = np.median([flat_ground, at_height, on_slope], axis=1).T
    assert off_m[0] > 15.0
    assert off_m[1] < 3.0
    assert off_m[2] < 3.0
    assert likeness[2] > 0.8 > likeness[1] > likeness[0]


def test_a_plane_without_slope_is_flat_ground():
    attitude = CameraPose(100.0, 30.0, -60.0, 2.0).attitude
    np.testing.assert_allclose(
        plane_to_image(CAMERA, attitude, GroundPlane(80.0, 0.0, 0.0, 0.0)),
        ground_to_image(CAMERA, attitude, 80.0),
    )


def test_a_point_on_a_plane_is_seen_where_it_is():
    attitude = CameraPose(100.0, 30.0, -60.0, 2.0).attitude
    to_image = plane_to_image(CAMERA, attitude, GroundPlane(80.0, 0.1, -0.2, 0.0))
    point = np.array([20.0, 50.0, -80.0 + 0.1 * 20.0 - 0.2 * 50.0])
    expected = CAMERA.matrix @ attitude.rotation @ point
    np.testing.assert_allclose(to_image @ [20.0, 50.0, 1.0], expected)


def test_the_take_off_is_looked_up_or_told():
    grid = grid_of(hill)
    latitude, longitude = (float(axis) for axis in FRAME.to_geodetic([60.0, 40.0]))
    looked_up = terrain_for(grid, TerrainConfig(take_off=(latitude, longitude)), FRAME)
    assert looked_up.take_off_elevation_m == pytest.approx(557.6, abs=0.2)
    assert (
        terrain_for(grid, TerrainConfig(take_off_elevation_m=7.0), FRAME).take_off_elevation_m == 7
    )
    assert terrain_for(grid, TerrainConfig(), FRAME) is None
    assert terrain_for(None, TerrainConfig(take_off_elevation_m=7.0), FRAME) is None
    off = TerrainConfig(enabled=False, take_off_elevation_m=7.0)
    assert terrain_for(grid, off, FRAME) is None
    with pytest.raises(ConfigError, match="no elevation at the take-off"):
        terrain_for(grid, TerrainConfig(take_off=(0.0, 0.0)), FRAME)


def test_a_take_off_of_no_sense_is_refused():
    with pytest.raises(ConfigError):
        TerrainConfig(take_off_elevation_m=float("inf"))
    with pytest.raises(ConfigError, match="not both"):
        TerrainConfig(take_off_elevation_m=1.0, take_off=(47.0, 8.0))


@pytest.fixture
def map_with_terrain(tmp_path):
    folder = write_small_map(tmp_path / "small.map")
    elevation = np.array([[400.0, 410.0], [420.04, np.nan], [430.0, 440.0]])
    field = write_terrain(folder, elevation, -100.0, 200.0, 50.0)
    seal_again(folder, **field)
    return folder


def test_a_map_opens_with_its_elevations(map_with_terrain):
    region_map = load_region_map(map_with_terrain)
    region_map.verify()
    found = region_map.terrain.elevation_m([[-100.0, 200.0], [-100.0, 150.0], [-50.0, 100.0]])
    np.testing.assert_allclose(found, [400.0, 420.0, 440.0])
    assert np.isnan(region_map.terrain.elevation_m([-50.0, 150.0]))


@pytest.mark.parametrize(
    "field",
    [None, {"west_m": 0.0}, {"west_m": 0, "north_m": 0, "spacing_m": 0, "base_m": 0}, 5,
     {"west_m": "x", "north_m": 0, "spacing_m": 1, "base_m": 0}],
)  # fmt: skip
def test_a_malformed_place_of_elevations_is_refused(map_with_terrain, field):
    seal_again(map_with_terrain, terrain=field)
    with pytest.raises(MapError, match="terrain"):
        load_region_map(map_with_terrain)


def test_other_arrays_are_no_elevations(map_with_terrain):
    for wrong in (np.zeros((5, 5), np.float32), np.zeros(9, np.int16), np.zeros((1, 9), np.int16)):
        np.save(map_with_terrain / "terrain.npy", wrong)
        seal_again(map_with_terrain)
        with pytest.raises(MapError, match="not a grid"):
            load_region_map(map_with_terrain)


def test_elevations_that_no_region_spans_are_refused(tmp_path):
    with pytest.raises(MapError, match="nodata"):
        write_terrain(tmp_path, np.array([[0.0, 1.0], [9999.0, -32768.0]]), 0.0, 0.0, 10.0)
    with pytest.raises(MapError, match="no elevation"):
        write_terrain(tmp_path, np.full((3, 3), np.nan), 0.0, 0.0, 10.0)
