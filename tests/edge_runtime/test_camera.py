from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import (
    CameraAttitude,
    PinholeCamera,
    centre_ground_point,
    ground_to_image,
)

CAMERA = PinholeCamera(width=640, height=480, focal_px=500.0)
CENTRE = (319.5, 239.5)
NADIR = CameraAttitude(heading_deg=0.0, pitch_deg=-90.0)


def pixel_of(attitude: CameraAttitude, height_m: float, east: float, north: float) -> np.ndarray:
    x, y, depth = ground_to_image(CAMERA, attitude, height_m) @ [east, north, 1.0]
    assert depth > 0.0
    return np.array([x / depth, y / depth])


@pytest.mark.parametrize(
    ("heading_deg", "east", "north", "right", "down"),
    [
        (0.0, 10.0, 0.0, 50.0, 0.0),
        (0.0, 0.0, 10.0, 0.0, -50.0),
        (90.0, 10.0, 0.0, 0.0, -50.0),
        (90.0, 0.0, 10.0, -50.0, 0.0),
        (180.0, 10.0, 0.0, -50.0, 0.0),
        (270.0, 0.0, 10.0, 50.0, 0.0),
    ],
)
def test_straight_down_from_100_m_ten_metres_are_fifty_pixels(
    heading_deg: float, east: float, north: float, right: float, down: float
) -> None:
    seen = pixel_of(CameraAttitude(heading_deg, -90.0), 100.0, east, north)
    np.testing.assert_allclose(seen, [CENTRE[0] + right, CENTRE[1] + down], atol=1e-9)


def test_what_lies_below_a_nadir_camera_is_its_principal_point() -> None:
    np.testing.assert_allclose(pixel_of(NADIR, 80.0, 0.0, 0.0), CENTRE, atol=1e-9)
    np.testing.assert_allclose(centre_ground_point(NADIR, 80.0), [0.0, 0.0], atol=1e-9)


def test_at_45_degrees_the_image_centre_is_one_height_ahead() -> None:
    ahead = CameraAttitude(heading_deg=0.0, pitch_deg=-45.0)
    np.testing.assert_allclose(centre_ground_point(ahead, 70.0), [0.0, 70.0], atol=1e-9)
    np.testing.assert_allclose(pixel_of(ahead, 70.0, 0.0, 70.0), CENTRE, atol=1e-9)


def test_at_30_degrees_facing_east_it_is_further_east() -> None:
    east = CameraAttitude(heading_deg=90.0, pitch_deg=-30.0)
    expected = [100.0 * np.sqrt(3.0), 0.0]
    np.testing.assert_allclose(centre_ground_point(east, 100.0), expected, atol=1e-9)


def test_ground_beyond_the_centre_appears_above_it_and_smaller() -> None:
    ahead = CameraAttitude(heading_deg=0.0, pitch_deg=-45.0)
    far, near = pixel_of(ahead, 100.0, 10.0, 150.0), pixel_of(ahead, 100.0, 10.0, 60.0)
    assert far[1] < CENTRE[1] < near[1]
    assert 0.0 < far[0] - CENTRE[0] < near[0] - CENTRE[0]


def test_ground_behind_an_oblique_camera_has_negative_depth() -> None:
    ahead = CameraAttitude(heading_deg=0.0, pitch_deg=-20.0)
    to_image = ground_to_image(CAMERA, ahead, 50.0)
    assert (to_image @ [0.0, -200.0, 1.0])[2] < 0.0 < (to_image @ [0.0, 200.0, 1.0])[2]


@pytest.mark.parametrize("pitch_deg", [0.0, 10.0, 90.0])
def test_a_camera_that_looks_at_the_sky_meets_no_ground(pitch_deg: float) -> None:
    assert not np.isfinite(centre_ground_point(CameraAttitude(30.0, pitch_deg), 100.0)).any()


def test_rolled_to_the_right_the_ground_on_the_right_rises_in_the_picture() -> None:
    level = CameraAttitude(heading_deg=0.0, pitch_deg=-45.0)
    rolled = CameraAttitude(heading_deg=0.0, pitch_deg=-45.0, roll_deg=10.0)
    np.testing.assert_allclose(pixel_of(rolled, 100.0, 0.0, 100.0), CENTRE, atol=1e-9)
    flat, tilted = (pixel_of(attitude, 100.0, 20.0, 100.0) - CENTRE for attitude in (level, rolled))
    assert flat[1] == pytest.approx(0.0, abs=1e-9)
    # The picture turns against the camera, and about its own centre.
    turn = np.radians(10.0)
    expected = flat[0] * np.array([np.cos(turn), -np.sin(turn)])
    np.testing.assert_allclose(tilted, expected, atol=1e-9)


@given(
    heading_deg=st.floats(-360.0, 720.0),
    pitch_deg=st.floats(-90.0, 90.0),
    roll_deg=st.floats(-180.0, 180.0),
)
def test_an_attitude_is_a_proper_rotation(
    heading_deg: float, pitch_deg: float, roll_deg: float
) -> None:
    rotation = CameraAttitude(heading_deg, pitch_deg, roll_deg).rotation
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    # Right, down, forward is right-handed, as is east, north, up.
    assert np.linalg.det(rotation) == pytest.approx(1.0)


@given(
    heading_deg=st.floats(0.0, 360.0),
    pitch_deg=st.floats(-90.0, -10.0),
    roll_deg=st.floats(-60.0, 60.0),
    height_m=st.floats(5.0, 500.0),
)
def test_the_centre_ground_point_always_appears_at_the_principal_point(
    heading_deg: float, pitch_deg: float, roll_deg: float, height_m: float
) -> None:
    attitude = CameraAttitude(heading_deg, pitch_deg, roll_deg)
    seen = pixel_of(attitude, height_m, *centre_ground_point(attitude, height_m))
    np.testing.assert_allclose(seen, CENTRE, atol=1e-6)


def test_a_24_mm_equivalent_lens_spans_two_thirds_of_the_width() -> None:
    camera = PinholeCamera.from_equivalent_focal_length(3600, 2400, 24.0)
    assert camera.focal_px == pytest.approx(2400.0)
    np.testing.assert_allclose(
        camera.matrix, [[2400.0, 0.0, 1799.5], [0.0, 2400.0, 1199.5], [0.0, 0.0, 1.0]]
    )


@pytest.mark.parametrize(
    ("width", "height", "focal_px"),
    [
        (0, 480, 500.0),
        (640, -1, 500.0),
        (640, 480, 0.0),
        (640, 480, -500.0),
        (640, 480, float("nan")),
        (640, 480, float("inf")),
    ],
)
def test_impossible_cameras_are_refused(width: int, height: int, focal_px: float) -> None:
    with pytest.raises(ConfigError, match="impossible camera"):
        PinholeCamera(width, height, focal_px)
