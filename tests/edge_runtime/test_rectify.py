from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.localize.camera import CameraAttitude, PinholeCamera, centre_ground_point
from edge_runtime.localize.rectify import GroundWindow, choose_window, rectify
from tests.painted_ground import marked_ground, middle_of_brightness, textured_ground

CAMERA = PinholeCamera(width=640, height=480, focal_px=500.0)
NADIR = CameraAttitude(heading_deg=0.0, pitch_deg=-90.0)
SIZE = 128


def test_a_windows_pixels_lie_where_its_metres_say() -> None:
    to_ground = GroundWindow(east_m=10.0, north_m=-20.0, footprint_m=64.0).from_unit_square(64)
    first, last = to_ground @ [0.0, 0.0, 1.0], to_ground @ [63.0, 63.0, 1.0]
    np.testing.assert_allclose(first[:2], [10.0 - 31.5, -20.0 + 31.5])
    np.testing.assert_allclose(last[:2], [10.0 + 31.5, -20.0 - 31.5])
    np.testing.assert_allclose(to_ground @ [31.5, 31.5, 1.0], [10.0, -20.0, 1.0])


@pytest.mark.parametrize(
    ("attitude", "height_m", "marker_from_centre_m"),
    [
        (NADIR, 120.0, (25.0, 10.0)),
        (CameraAttitude(90.0, -90.0), 120.0, (25.0, 10.0)),
        (CameraAttitude(213.0, -90.0, 12.0), 120.0, (-12.0, 17.0)),
        (CameraAttitude(123.0, -60.0, 5.0), 110.0, (8.0, -21.0)),
        (CameraAttitude(250.0, -45.0), 100.0, (-20.0, 20.0)),
        (CameraAttitude(10.0, -45.0, -8.0), 100.0, (15.0, -15.0)),
    ],
)
def test_a_marker_on_the_ground_comes_out_at_its_place_north_up(
    attitude: CameraAttitude, height_m: float, marker_from_centre_m: tuple[float, float]
) -> None:
    east, north = centre_ground_point(attitude, height_m)
    window = GroundWindow(float(east), float(north), 80.0)
    right_m, up_m = marker_from_centre_m
    ground = marked_ground((window.east_m + right_m, window.north_m + up_m))
    image = ground.photograph(CAMERA, attitude, height_m)
    view = rectify(image, CAMERA, attitude, height_m, window, SIZE)
    assert view.shape == (SIZE, SIZE, 3)
    expected = (63.5 + right_m * SIZE / 80.0, 63.5 - up_m * SIZE / 80.0)
    np.testing.assert_allclose(middle_of_brightness(view), expected, atol=1.0)


def test_the_wrong_sign_of_roll_puts_a_marker_elsewhere() -> None:
    window = GroundWindow(0.0, 100.0, 80.0)
    ground = marked_ground((30.0, 100.0))
    image = ground.photograph(CAMERA, CameraAttitude(0.0, -45.0, 10.0), 100.0)
    right, wrong = (
        middle_of_brightness(
            rectify(image, CAMERA, CameraAttitude(0.0, -45.0, roll_deg), 100.0, window, SIZE)
        )
        for roll_deg in (10.0, -10.0)
    )
    np.testing.assert_allclose(right, (63.5 + 48.0, 63.5), atol=1.0)
    assert wrong[1] < right[1] - 10.0


def test_a_rectified_view_is_the_ground_as_a_satellite_shows_it() -> None:
    ground = textured_ground(3)
    attitude = CameraAttitude(140.0, -65.0, 4.0)
    place = (31.0, -12.0)
    image = ground.photograph(CAMERA, attitude, 110.0, place)
    window, coverage = choose_window(CAMERA, attitude, 110.0, 70.0)
    assert coverage == 1.0
    view = rectify(image, CAMERA, attitude, 110.0, window, SIZE)
    centre = (place[0] + window.east_m, place[1] + window.north_m)
    satellite = ground.seen_from_above(centre, 70.0, SIZE)
    together = np.corrcoef(view[..., 1].ravel(), satellite[..., 1].ravel())[0, 1]
    apart = np.corrcoef(view[..., 1].ravel(), satellite[::-1, :, 1].ravel())[0, 1]
    assert together > 0.9
    assert abs(apart) < 0.3


def test_a_fine_picture_is_averaged_and_does_not_alias() -> None:
    camera = PinholeCamera(width=2560, height=1920, focal_px=2000.0)
    stripes = np.zeros((1920, 2560, 3), np.uint8)
    stripes[:, ::2] = 255
    view = rectify(stripes, camera, NADIR, 100.0, GroundWindow(0.0, 0.0, 90.0), SIZE)
    inner = view[4:-4, 4:-4].astype(float)
    assert inner.mean() == pytest.approx(127.5, abs=2.0)
    assert inner.std() < 2.0


def test_a_camera_of_the_windows_own_scale_passes_through_unchanged() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    camera = PinholeCamera(SIZE, SIZE, focal_px=float(SIZE))
    view = rectify(picture, camera, NADIR, 100.0, GroundWindow(0.0, 0.0, 100.0), SIZE)
    np.testing.assert_allclose(view.astype(int), picture.astype(int), atol=1)


def test_ground_out_of_sight_takes_the_pictures_mean_colour() -> None:
    picture = np.empty((480, 640, 3), np.uint8)
    picture[:] = (200, 100, 50)
    view = rectify(picture, CAMERA, NADIR, 50.0, GroundWindow(0.0, 0.0, 400.0), SIZE)
    np.testing.assert_allclose(view.reshape(-1, 3), np.tile([200, 100, 50], (SIZE**2, 1)), atol=1)


def test_a_window_that_is_seen_whole_is_centred_on_the_image_centre() -> None:
    attitude = CameraAttitude(heading_deg=300.0, pitch_deg=-60.0)
    window, coverage = choose_window(CAMERA, attitude, 150.0, 60.0)
    assert coverage == 1.0
    np.testing.assert_allclose(window.offset_m, centre_ground_point(attitude, 150.0))
    assert window.footprint_m == 60.0


def test_coverage_is_the_share_of_the_footprint_in_sight() -> None:
    # From 100 m the camera sees 128 m by 96 m: all ten columns, eight of ten rows of 120 m.
    window, coverage = choose_window(CAMERA, NADIR, 100.0, 120.0)
    assert coverage == pytest.approx(0.8)
    np.testing.assert_allclose(window.offset_m, [0.0, 0.0], atol=1e-9)


@pytest.mark.parametrize(
    ("heading_deg", "east", "north"), [(0.0, 0.0, 1.0), (90.0, 1.0, 0.0), (225.0, -0.707, -0.707)]
)
def test_low_and_oblique_the_window_slides_outwards_along_the_view(
    heading_deg: float, east: float, north: float
) -> None:
    attitude = CameraAttitude(heading_deg, -45.0)
    window, coverage = choose_window(CAMERA, attitude, 40.0, 60.0)
    distance = float(np.linalg.norm(window.offset_m))
    assert distance > 41.0
    np.testing.assert_allclose(window.offset_m / distance, [east, north], atol=1e-3)
    assert coverage == 1.0


def test_the_window_slides_back_where_the_image_centre_is_far_away() -> None:
    attitude = CameraAttitude(heading_deg=0.0, pitch_deg=-10.0)
    window, _ = choose_window(CAMERA, attitude, 100.0, 120.0)
    assert centre_ground_point(attitude, 100.0)[1] > 500.0
    assert 0.0 < window.north_m <= 2 * 100.0 + 120.0


def test_a_camera_that_looks_up_sees_nothing_of_any_window() -> None:
    _, coverage = choose_window(CAMERA, CameraAttitude(0.0, 60.0), 100.0, 120.0)
    assert coverage == 0.0
