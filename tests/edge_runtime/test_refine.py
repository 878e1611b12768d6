"""A view laid over the map's imagery: how near it comes to the truth, and when it keeps silent."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Position
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.localize.camera import CameraPose
from edge_runtime.localize.orientation_features import orientation_features
from edge_runtime.localize.picture_match import match_picture
from edge_runtime.localize.rectify import choose_window, rectify
from edge_runtime.localize.refine import RefineConfig, refine
from edge_runtime.localize.refined_position import PositionRefiner
from edge_runtime.localize.resection import corrected_ground, moved, solve_resection
from edge_runtime.localize.view import ViewedGround
from tests.edge_runtime.painted_ground import (
    CAMERA,
    another_season,
    as_imagery,
    painted_ground,
    photograph,
)
from tests.small_map import seal_again, write_small_map

GROUND = painted_ground()
POSE = CameraPose(height_m=100.0, heading_deg=40.0, pitch_deg=-60.0, roll_deg=1.0)
DRONE_M = np.array([-30.0, 15.0])
CONFIG = RefineConfig(imagery_error_m=0.5)
USUAL = np.array([40.0, 40.0, 5.0, 3.0, 3.0, 0.1, 0.1, 0.1])


@pytest.fixture(scope="module")
def imagery(tmp_path_factory):
    return as_imagery(tmp_path_factory.mktemp("imagery") / "imagery.tif", GROUND)


def refined(imagery, off_m=(0.0, 0.0), told=POSE, drone_m=DRONE_M, config=CONFIG, change=None,
            radius_m=40.0, ground=GROUND):  # fmt: skip
    """The refined position minus the true one, and the refinement; None if refused."""
    photo = photograph(ground, drone_m, POSE)
    photo = photo if change is None else change(photo)
    window, _ = choose_window(CAMERA, told.attitude, told.height_m, 100.0)
    view = rectify(photo, CAMERA, told.attitude, told.height_m, window, 192)
    position_m = drone_m + np.asarray(off_m)
    result = refine(view, window, told, CAMERA, imagery, position_m, radius_m, config)
    return None if result is None else (position_m + result.offset_m - drone_m, result)


@pytest.mark.parametrize("off_m", [(0.0, 0.0), (25.0, -12.0), (-8.0, 30.0)])
def test_a_filter_tens_of_metres_off_is_brought_to_a_metre(imagery, off_m):
    error_m, result = refined(imagery, off_m)
    assert np.linalg.norm(error_m) < 1.0
    assert result.quality > 0.9


def test_another_season_costs_little(imagery):
    error_m, _ = refined(imagery, (20.0, 10.0), change=another_season)
    assert np.linalg.norm(error_m) < 2.0


def test_a_wrong_heading_is_found_and_does_not_move_the_position(imagery):
    told = replace(POSE, heading_deg=POSE.heading_deg - 5.0)
    error_m, result = refined(imagery, (10.0, 10.0), told)
    assert abs(result.heading_correction_deg - 5.0) < 3 * result.heading_standard_deviation_deg
    assert abs(result.heading_correction_deg - 5.0) < 1.5
    assert np.linalg.norm(error_m) < 3.0  # unrefined the heading alone makes 5 m


def test_a_wrong_height_hardly_moves_the_position(imagery):
    error_m, _ = refined(imagery, (5.0, 0.0), replace(POSE, height_m=110.0))
    assert np.linalg.norm(error_m) < 4.0


def test_the_stated_covariance_holds_the_error(imagery):
    rng = np.random.default_rng(3)
    held = []
    for _ in range(24):
        told = CameraPose(
            POSE.height_m * np.exp(rng.normal(0, 0.05)),
            POSE.heading_deg + rng.normal(0, 3.0),
            POSE.pitch_deg + rng.normal(0, 1.5),
            POSE.roll_deg + rng.normal(0, 1.5),
        )
        drone_m = rng.uniform(-90, 90, 2)
        found = refined(imagery, rng.uniform(-20, 20, 2), told, drone_m, change=another_season)
        if found is not None:
            error_m, result = found
            held.append(error_m @ np.linalg.solve(result.covariance_m2, error_m) < 5.99)
    assert len(held) >= 20
    assert np.mean(held) > 0.85


def test_another_place_is_refused(imagery, tmp_path):
    other = painted_ground(seed=2)
    assert not any(
        refined(imagery, drone_m=np.array([east, -60.0]), ground=other)
        for east in (-80.0, -40.0, 0.0, 40.0, 80.0)
    )


def test_a_place_beyond_the_search_is_refused(imagery):
    assert refined(imagery, (90.0, 60.0)) is None


def test_ground_without_features_is_refused(imagery):
    assert refined(imagery, ground=np.full_like(GROUND, 120)) is None


def test_ground_that_repeats_itself_is_refused(tmp_path):
    rows = np.tile(np.kron(np.eye(2), np.ones((16, 16))), (32, 32))  # a chequerboard of 9.6 m
    ground = np.repeat((60 + 120 * rows)[..., None], 3, axis=-1).astype(np.uint8)
    chequered = as_imagery(tmp_path / "imagery.tif", ground)
    assert refined(chequered, (12.0, 3.0), ground=ground) is None


def test_where_the_map_has_no_picture_nothing_is_refined(imagery):
    photo = photograph(GROUND, DRONE_M, POSE)
    window, _ = choose_window(CAMERA, POSE.attitude, POSE.height_m, 100.0)
    view = rectify(photo, CAMERA, POSE.attitude, POSE.height_m, window, 192)
    for position_m in ((2000.0, 0.0), (280.0, 280.0), (float("nan"), 0.0)):
        place = np.array(position_m)
        assert refine(view, window, POSE, CAMERA, imagery, place, 40.0, CONFIG) is None


def test_a_filter_that_knows_too_little_is_not_refined(imagery):
    assert refined(imagery, radius_m=41.0) is None


def test_telemetry_that_would_have_to_be_very_wrong_is_held_to_be_chance(imagery):
    told = replace(POSE, heading_deg=POSE.heading_deg - 5.0)
    trusting = replace(CONFIG, largest_surprise=100.0)
    assert refined(imagery, told=told, config=trusting) is not None
    assert refined(imagery, told=told, config=replace(CONFIG, largest_surprise=0.2)) is None


def test_the_same_view_gives_the_same_refinement(imagery):
    first, again = (refined(imagery, (9.0, 9.0))[1] for _ in range(2))
    np.testing.assert_array_equal(first.offset_m, again.offset_m)
    np.testing.assert_array_equal(first.covariance_m2, again.covariance_m2)


@pytest.mark.parametrize(
    "bad", [{"search_radius_m": 0.0}, {"pitch_deg": float("nan")}, {"least_agreement": 0.0}]
)
def test_settings_of_no_sense_are_refused(bad):
    with pytest.raises(ConfigError):
        RefineConfig(**bad)


def test_correct_telemetry_leaves_the_ground_where_it_is():
    np.testing.assert_allclose(corrected_ground(POSE, np.zeros(6)), np.eye(3), atol=1e-12)


def test_a_turned_heading_turns_the_ground_about_the_drone():
    homography = corrected_ground(POSE, np.array([90.0, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(moved(homography, np.array([[0.0, 70.0]])), [[70.0, 0.0]], atol=1e-9)


def test_twice_the_height_is_twice_the_distance():
    homography = corrected_ground(POSE, np.array([0.0, 0, 0, np.log(2.0), 0, 0]))
    np.testing.assert_allclose(moved(homography, np.array([[30.0, 50.0]])), [[60.0, 100.0]])


def test_ground_that_rises_ahead_is_met_sooner():
    level = CameraPose(100.0, 0.0, -45.0)
    homography = corrected_ground(level, np.array([0.0, 0, 0, 0, 0, 0.25]))
    # Straight ahead and down at 45 degrees: 100 - t = 0.25 t.
    np.testing.assert_allclose(moved(homography, np.array([[0.0, 100.0]])), [[0.0, 80.0]])


def parts_around(pose):
    centre = choose_window(CAMERA, pose.attitude, pose.height_m, 100.0)[0].offset_m
    steps = np.linspace(-45.0, 45.0, 5)
    return centre + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def solved(placed_m, found_m, match_error_m=0.2):
    return solve_resection(POSE, placed_m, found_m, np.ones(len(placed_m)), USUAL, match_error_m)


def test_parts_that_all_moved_alike_moved_with_the_drone():
    placed_m = parts_around(POSE)
    found = solved(placed_m, np.add(placed_m, (7.0, -4.0)))
    np.testing.assert_allclose(found.unknowns[:2], (7.0, -4.0), atol=1.2)
    assert found.residual_m.max() < 0.3


def test_a_turn_and_a_climb_are_told_from_a_displacement():
    placed_m = parts_around(POSE)
    truth = np.array([4.0, 0.0, 0.0, 0.06, 0.0, 0.0])
    found_m = np.add(moved(corrected_ground(POSE, truth), placed_m), (-5.0, 9.0))
    found = solved(placed_m, found_m)
    deviations = np.sqrt(np.diag(found.covariance))
    expected = np.concatenate([(-5.0, 9.0), truth])
    assert (np.abs(found.unknowns - expected) < 2.5 * deviations).all()
    assert abs(found.unknowns[2] - 4.0) < 1.0


def test_a_few_parts_found_elsewhere_change_little():
    placed_m = parts_around(POSE)
    found_m = np.add(placed_m, (3.0, 3.0))
    clean = solved(placed_m, found_m, 1.0).unknowns[:2]
    found_m[[1, 8, 17]] += (9.0, -7.0)
    assert np.linalg.norm(solved(placed_m, found_m, 1.0).unknowns[:2] - clean) < 2.0


def test_what_parts_cannot_tell_stays_as_uncertain_as_before():
    found = solved(parts_around(POSE), parts_around(POSE), 1e4)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), USUAL, rtol=0.01)


def test_features_ignore_brightness_and_its_sign():
    features = orientation_features(GROUND[:200, :200], 1.5)
    assert features.shape == (200, 200, 6)
    assert np.linalg.norm(features, axis=-1).max() <= 1.0
    inverted = orientation_features((255 - GROUND[:200, :200] // 2).astype(np.uint8), 1.5)
    similarity = np.sum(features * inverted) / np.linalg.norm(features) / np.linalg.norm(inverted)
    assert similarity > 0.98
    assert np.isfinite(orientation_features(np.zeros((32, 32, 3), np.uint8), 1.5)).all()


def test_features_name_the_direction_of_an_edge():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = 200  # brightness changes to the right: the first direction
    assert orientation_features(picture, 1.5)[32, 32].argmax() == 0
    assert orientation_features(picture.transpose(1, 0, 2).copy(), 1.5)[32, 32].argmax() == 3


def test_a_part_is_found_where_it_was_cut_out_to_a_fraction_of_a_pixel():
    rng = np.random.default_rng(5)
    within = cv2.GaussianBlur(rng.normal(size=(80, 90, 6)).astype(np.float32)[..., :3], (0, 0), 2.0)
    shift = np.array([[1.0, 0.0, -0.4], [0.0, 1.0, 0.3]])
    part = cv2.warpAffine(within, shift, (90, 80))[20:52, 30:62]
    match = match_picture(part - part.mean(axis=(0, 1)), within, 8.0)
    assert (match.column, match.row) == pytest.approx((30.4, 19.7), abs=0.12)
    assert match.similarity > 0.9
    assert match.margin > 0.3
    assert not match.is_at_edge


def test_a_part_at_the_edge_of_the_search_is_told():
    within = np.random.default_rng(5).normal(size=(40, 40, 6)).astype(np.float32)
    assert match_picture(within[:20, 5:25], within, 5.0).is_at_edge


@pytest.fixture(scope="module")
def map_with_imagery(tmp_path_factory):
    folder = write_small_map(tmp_path_factory.mktemp("map") / "small.map")
    as_imagery(folder / "imagery.tif", GROUND)
    seal_again(folder)
    return load_region_map(folder)


def published(region_map, radius95_m, off_m=(12.0, 9.0), enabled=True):
    """How far a published position is from the truth, and the position."""
    refiner = PositionRefiner(region_map, CAMERA, replace(CONFIG, enabled=enabled))
    window, coverage = choose_window(CAMERA, POSE.attitude, POSE.height_m, 100.0)
    ground = ViewedGround(POSE.attitude, POSE.height_m, 0, window, coverage)
    photo = photograph(GROUND, DRONE_M, POSE)
    view = rectify(photo, CAMERA, POSE.attitude, POSE.height_m, window, 192)
    place = DRONE_M + off_m
    latitude, longitude = (float(axis) for axis in region_map.frame.to_geodetic(place))
    before = Position(latitude, longitude, 100.0, 100.0, 0.0, radius95_m)
    after = refiner.refined(before, view, ground)
    found = region_map.frame.to_local(after.latitude_deg, after.longitude_deg)
    return float(np.linalg.norm(found - DRONE_M)), after, before


def test_a_published_position_comes_to_a_metre_and_its_radius_shrinks(map_with_imagery):
    error_m, after, before = published(map_with_imagery, 30.0)
    assert error_m < 1.0
    assert after.radius95_m < before.radius95_m
    assert after.radius95_m >= 2.4 * np.sqrt(min(after.variance_east_m2, after.variance_north_m2))


def test_a_radius_that_was_small_already_stays(map_with_imagery, monkeypatch):
    monkeypatch.setattr(f"{__name__}.CONFIG", replace(CONFIG, imagery_error_m=20.0))
    error_m, after, before = published(map_with_imagery, 30.0)
    assert error_m < 1.0
    assert (after.radius95_m, after.variance_east_m2) == (30.0, before.variance_east_m2)


def test_a_position_is_moved_no_further_than_its_own_radius(map_with_imagery):
    error_m, after, before = published(map_with_imagery, 11.0)
    assert after == before
    assert error_m == pytest.approx(15.0)


def test_without_imagery_or_when_switched_off_positions_stay(map_with_imagery):
    _, after, before = published(map_with_imagery, 30.0, enabled=False)
    assert after == before
    _, after, before = published(replace(map_with_imagery, imagery=None), 30.0)
    assert after == before
