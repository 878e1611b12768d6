from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.localize.odometry import Displacement, VisualOdometer
from edge_runtime.localize.rectify import GroundWindow
from tests.painted_ground import PaintedGround, textured_ground

FOOTPRINT_M, SIZE = 120.0, 256
BELOW = GroundWindow(0.0, 0.0, FOOTPRINT_M)


@pytest.fixture(scope="module")
def ground() -> PaintedGround:
    return textured_ground(7)


def view(
    ground: PaintedGround,
    drone_m: tuple[float, float],
    window: GroundWindow = BELOW,
    heading_error_deg: float = 0.0,
) -> np.ndarray:
    """The rectified view of a drone that believes its heading to be off by an error."""
    turn = np.radians(heading_error_deg)
    # What the drone takes for north is `heading_error_deg` counter-clockwise of it.
    east = np.cos(turn) * window.east_m - np.sin(turn) * window.north_m
    north = np.sin(turn) * window.east_m + np.cos(turn) * window.north_m
    centre = (drone_m[0] + east, drone_m[1] + north)
    return ground.seen_from_above(centre, window.footprint_m, SIZE, turned_deg=-heading_error_deg)


@pytest.mark.parametrize(
    "moved_m", [(0.0, 0.0), (12.3, -7.6), (-20.0, 3.0), (0.4, 0.3), (35.0, 35.0)]
)
def test_a_known_displacement_is_recovered(
    ground: PaintedGround, moved_m: tuple[float, float]
) -> None:
    odometer = VisualOdometer()
    assert odometer.update(view(ground, (0.0, 0.0)), BELOW) is None
    moved = odometer.update(view(ground, moved_m), BELOW)
    assert moved is not None
    assert (moved.east_m, moved.north_m) == pytest.approx(moved_m, abs=0.5)
    assert abs(moved.rotation_deg) < 0.5
    assert moved.length_m == pytest.approx(np.hypot(*moved_m), abs=0.5)


def test_a_window_that_slides_over_the_same_place_is_no_motion(ground: PaintedGround) -> None:
    odometer = VisualOdometer()
    there = GroundWindow(25.0, -15.0, FOOTPRINT_M)
    odometer.update(view(ground, (0.0, 0.0)), BELOW)
    moved = odometer.update(view(ground, (0.0, 0.0), there), there)
    assert moved is not None
    assert moved.length_m < 0.5


def test_another_footprint_changes_the_scale_but_not_the_metres(ground: PaintedGround) -> None:
    odometer = VisualOdometer()
    wider = GroundWindow(0.0, 0.0, 140.0)
    odometer.update(view(ground, (0.0, 0.0)), BELOW)
    moved = odometer.update(view(ground, (9.0, 4.0), wider), wider)
    assert moved is not None
    assert (moved.east_m, moved.north_m) == pytest.approx((9.0, 4.0), abs=0.7)


@pytest.mark.parametrize("heading_error_deg", [8.0, -25.0, 60.0])
def test_a_heading_that_jumps_is_measured_as_rotation_and_not_as_motion(
    ground: PaintedGround, heading_error_deg: float
) -> None:
    odometer = VisualOdometer()
    ahead = GroundWindow(0.0, 40.0, FOOTPRINT_M)
    before = GroundWindow(
        40.0 * float(np.sin(np.radians(-heading_error_deg))),
        40.0 * float(np.cos(np.radians(heading_error_deg))),
        FOOTPRINT_M,
    )
    # The camera stays: it looks at one and the same ground, which telemetry then places ahead.
    odometer.update(view(ground, (0.0, 0.0), before), before)
    jumped = view(ground, (0.0, 0.0), ahead, heading_error_deg)
    moved = odometer.update(jumped, ahead)
    assert moved is not None
    assert moved.length_m < 1.0
    assert moved.rotation_deg == pytest.approx(heading_error_deg, abs=0.5)
    # What was below the middle of the first view is the middle of the second.
    np.testing.assert_allclose(moved.carry(before.offset_m), ahead.offset_m, atol=1.0)


def test_views_of_other_ground_give_nothing(ground: PaintedGround) -> None:
    odometer = VisualOdometer()
    odometer.update(view(ground, (0.0, 0.0)), BELOW)
    assert odometer.update(view(textured_ground(8), (0.0, 0.0)), BELOW) is None


def test_views_without_common_ground_give_nothing(ground: PaintedGround) -> None:
    odometer = VisualOdometer()
    odometer.update(view(ground, (-130.0, -130.0)), BELOW)
    assert odometer.update(view(ground, (130.0, 130.0)), BELOW) is None


def test_ground_without_corners_gives_nothing_and_is_recovered_from(ground: PaintedGround) -> None:
    odometer = VisualOdometer()
    fog = np.full((SIZE, SIZE, 3), 120, np.uint8)
    odometer.update(view(ground, (0.0, 0.0)), BELOW)
    assert odometer.update(fog, BELOW) is None
    assert odometer.update(view(ground, (10.0, 0.0)), BELOW) is None
    moved = odometer.update(view(ground, (15.0, 0.0)), BELOW)
    assert moved is not None
    assert moved.east_m == pytest.approx(5.0, abs=0.5)


def test_a_height_that_jumps_is_no_motion_that_could_be_trusted(ground: PaintedGround) -> None:
    for change, is_trusted in [(0.9, True), (0.78, False)]:
        odometer = VisualOdometer()
        odometer.update(view(ground, (0.0, 0.0)), BELOW)
        closer = ground.seen_from_above((0.0, 0.0), change * FOOTPRINT_M, SIZE)
        assert (odometer.update(closer, BELOW) is not None) == is_trusted


def test_after_flying_north_a_point_lies_further_south() -> None:
    carried = Displacement(east_m=0.0, north_m=10.0).carry(np.array([3.0, 30.0]))
    np.testing.assert_allclose(carried, [3.0, 20.0])


def test_after_a_heading_jump_of_90_degrees_what_was_ahead_is_to_the_east() -> None:
    carried = Displacement(0.0, 0.0, rotation_deg=90.0).carry(np.array([0.0, 30.0]))
    np.testing.assert_allclose(carried, [30.0, 0.0], atol=1e-12)


def test_motion_is_taken_off_before_the_jump_turns_it() -> None:
    carried = Displacement(5.0, 10.0, rotation_deg=90.0).carry(np.array([5.0, 30.0]))
    np.testing.assert_allclose(carried, [20.0, 0.0], atol=1e-12)


@given(
    east=st.floats(-50.0, 50.0),
    north=st.floats(-50.0, 50.0),
    rotation_deg=st.floats(-180.0, 180.0),
)
def test_carrying_points_keeps_their_distances(
    east: float, north: float, rotation_deg: float
) -> None:
    moved = Displacement(east, north, rotation_deg)
    first, second = np.array([10.0, 0.0]), np.array([-4.0, 25.0])
    before, after = first - second, moved.carry(first) - moved.carry(second)
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before))
    assert moved.length_m == pytest.approx(np.hypot(east, north))
