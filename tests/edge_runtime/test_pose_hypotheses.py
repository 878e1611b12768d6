"""The filter over several headings and heights, and what their views say together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.localize.camera import CameraAttitude
from edge_runtime.localize.filter import FilterConfig, PoseFilter
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, Hypothesis, HypothesisConfig
from edge_runtime.localize.hypothesis_evidence import ScoredView, joint_distinctiveness
from edge_runtime.localize.motion import Motion
from edge_runtime.localize.position_grid import Bounds, PositionGrid
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.view import ViewedGround

REGION = Bounds(-500.0, -500.0, 500.0, 500.0)
CONFIG = HypothesisConfig()


def new_filter(heading_is_given: bool) -> PoseFilter:
    return PoseFilter(
        REGION,
        FilterConfig(),
        HeadingAxis(CONFIG, 5.0),
        HeightAxis(CONFIG, 0.1, is_given=True),
        heading_is_given,
    )


def bump(grid: PositionGrid, place: np.ndarray) -> np.ndarray:
    squared = (grid.norths_m - place[1])[:, None] ** 2 + (grid.easts_m - place[0]) ** 2
    return (0.1 + 300.0 * np.exp(-squared / (2 * 20.0**2))).astype(np.float32)


def total(pose_filter: PoseFilter) -> float:
    return sum(pose_filter.weights().values()) + pose_filter.elsewhere


def fly(pose_filter: PoseFilter, true_offset_deg: float, steps: int = 7) -> np.ndarray:
    """Views that fit only the true heading; odometry that sees a way straight ahead."""
    place = np.array([-150.0, 80.0])
    headings = pose_filter.headings
    for _ in range(steps):
        motion = Motion(0.0, 25.0, 2.0, by_camera=True)
        place = place + motion.for_hypothesis(true_offset_deg, 1.0)
        pose_filter.predict(motion)
        ratios = {}
        for hypothesis in pose_filter.look(2.0, 0.06, 24, 0.01):
            grid = pose_filter.grid_of(hypothesis)
            error = (headings.offset_deg(hypothesis.heading) - true_offset_deg + 180) % 360 - 180
            fits = abs(error) < 15.0 and hypothesis.height == 1
            ratios[hypothesis] = (
                bump(grid, place) if fits else np.full(grid.mass.shape, 0.1, np.float32)
            )
        pose_filter.update(ratios, 1.0)
        assert total(pose_filter) == pytest.approx(1.0, abs=1e-3)
    return place


@pytest.mark.parametrize("heading_is_given", [True, False])
@pytest.mark.parametrize("offset_deg", [0.0, 40.0, 180.0, -100.0])
def test_a_heading_unknown_or_wrong_is_found_with_the_place(
    offset_deg: float, heading_is_given: bool
) -> None:
    pose_filter = new_filter(heading_is_given)
    place = fly(pose_filter, offset_deg)
    assert pose_filter.is_local
    assert np.linalg.norm(pose_filter.grid.mean() - place) < 15.0
    mean_deg, deviation_deg = pose_filter.heading_offset_deg()
    assert abs((mean_deg - offset_deg + 180.0) % 360.0 - 180.0) < 8.0
    assert deviation_deg < 12.0


def test_a_believed_heading_costs_few_views_and_a_known_one_few_more() -> None:
    pose_filter = new_filter(heading_is_given=True)
    assert len(pose_filter.look(2.0, 0.06, 24, 0.01)) <= 5
    fly(pose_filter, 0.0)
    assert len(pose_filter.look(2.0, 0.06, 24, 0.01)) <= 3


@pytest.mark.parametrize(("height_drift", "found"), [(0.0, 1), (0.06, 2)])
def test_a_height_mistaken_at_first_is_found_only_if_others_are_tried_again(
    height_drift: float, found: int
) -> None:
    pose_filter = new_filter(heading_is_given=True)
    place = np.array([-150.0, 80.0])
    for view in range(24):
        pose_filter.predict(Motion(0.0, 10.0, 2.0))
        place = place + np.array([0.0, 10.0])
        ratios = {}
        for hypothesis in pose_filter.look(2.0, height_drift, 24, 0.01):
            grid = pose_filter.grid_of(hypothesis)
            favoured = 1 if view < 3 else 2
            weaker = 1.0 if hypothesis.height == favoured else 0.2
            fits = hypothesis.heading == 0
            ratios[hypothesis] = np.float32(weaker if fits else 0.01) * bump(grid, place)
        pose_filter.update(ratios, 1.0)
        assert total(pose_filter) == pytest.approx(1.0, abs=1e-3)
    assert pose_filter.likeliest(1, 1.0) == [Hypothesis(0, found)]
    assert np.linalg.norm(pose_filter.grid.mean() - place) < 15.0


def test_without_a_heading_as_many_are_looked_at_as_may_be() -> None:
    pose_filter = new_filter(heading_is_given=False)
    looked_at = pose_filter.look(2.0, 0.06, 24, 0.01)
    assert len(looked_at) == 24
    assert {hypothesis.heading for hypothesis in looked_at} == set(range(18))


def test_a_turn_that_pictures_show_moves_the_belief_to_its_heading() -> None:
    pose_filter = new_filter(heading_is_given=True)
    pose_filter.predict(Motion(0.0, 0.0, 0.0, turn_deg=-110.0))
    mean_deg, _ = pose_filter.heading_offset_deg()
    assert mean_deg == pytest.approx(-110.0, abs=3.0)
    assert pose_filter.headings.first_deg == 0.0
    assert total(pose_filter) == pytest.approx(1.0, abs=1e-4)


def test_after_a_jump_of_telemetry_either_heading_may_be_the_true_one() -> None:
    pose_filter = new_filter(heading_is_given=True)
    pose_filter.predict(Motion(0.0, 0.0, 0.0, turn_deg=-120.0, heading_doubt=0.5))
    weights = pose_filter.weights()
    told, kept = weights[Hypothesis(0, 1)], weights[Hypothesis(12, 1)]
    assert told == pytest.approx(kept, rel=0.1)


def test_without_a_heading_the_hypotheses_turn_with_the_camera() -> None:
    pose_filter = new_filter(heading_is_given=False)
    fly(pose_filter, 40.0)
    before = pose_filter.heading_offset_deg()[0]
    pose_filter.predict(Motion(0.0, 0.0, 0.0, turn_deg=33.0))
    assert pose_filter.heading_offset_deg()[0] == pytest.approx(before + 33.0, abs=1e-6)


def test_a_heading_that_turns_up_is_weighed_against_what_was_found() -> None:
    pose_filter = new_filter(heading_is_given=False)
    fly(pose_filter, 40.0)
    pose_filter.hear_heading(40.0)
    mean_deg, deviation_deg = pose_filter.heading_offset_deg()
    assert mean_deg == pytest.approx(0.0, abs=3.0)
    assert deviation_deg < 8.0
    assert total(pose_filter) == pytest.approx(1.0, abs=1e-3)


MOTIONS = st.builds(
    Motion,
    st.floats(-60.0, 60.0),
    st.floats(-60.0, 60.0),
    st.floats(0.0, 200.0),
    by_camera=st.booleans(),
    turn_deg=st.floats(-180.0, 180.0),
    turn_sigma_deg=st.floats(0.0, 200.0),
    heading_doubt=st.floats(0.0, 0.5),
)


@settings(max_examples=8, deadline=None)
@given(
    motions=st.lists(st.tuples(MOTIONS, st.floats(-400.0, 400.0), st.floats(0.0, 1.0)), max_size=3),
    heading_is_given=st.booleans(),
    starts_local=st.booleans(),
)
def test_probability_adds_up_to_one_over_all_hypotheses(
    motions: list[tuple[Motion, float, float]], heading_is_given: bool, starts_local: bool
) -> None:
    pose_filter = new_filter(heading_is_given)
    if starts_local:
        pose_filter.start_from(np.zeros(2), 60.0, 0.99)
    for motion, at, weight in motions:
        pose_filter.predict(motion)
        looked_at = pose_filter.look(2.0, 0.06, 4, 0.01)
        ratios = {h: bump(pose_filter.grid_of(h), np.array([at, -at])) for h in looked_at}
        pose_filter.update(ratios, weight)
        assert total(pose_filter) == pytest.approx(1.0, abs=2e-3)
        assert min(pose_filter.weights().values()) >= -1e-6
        assert pose_filter.grid.mass.min() >= -1e-6


# Views together


def scored(heading_deg: float, places: dict[tuple[int, int], float]) -> ScoredView:
    grid = PositionGrid(np.zeros((60, 60), np.float32), 0.0, 0.0, 10.0)
    scores = np.zeros((60, 60), np.float32)
    for place, score in places.items():
        scores[place] = score
    ground = ViewedGround(
        CameraAttitude(heading_deg, -90.0), 100.0, 0, GroundWindow(0.0, 0.0, 120.0), 1.0
    )
    return ScoredView(Hypothesis(0, 0), ground, grid, scores)


def test_one_place_under_one_heading_stands_out_in_full() -> None:
    views = [scored(0.0, {(10, 10): 8.0}), scored(90.0, {})]
    assert joint_distinctiveness(views, 2.5) == 1.0


@pytest.mark.parametrize("rival", [(40, 40), (10, 10)])
def test_another_heading_that_fits_as_well_anywhere_takes_it_all_back(
    rival: tuple[int, int],
) -> None:
    views = [scored(0.0, {(10, 10): 8.0}), scored(180.0, {rival: 8.0})]
    assert joint_distinctiveness(views, 2.5) == 0.0


def test_a_neighbouring_heading_at_the_same_place_is_no_rival() -> None:
    views = [scored(350.0, {(10, 10): 8.0}), scored(10.0, {(12, 9): 7.5})]
    assert joint_distinctiveness(views, 2.5) == 1.0


def test_views_with_no_tile_at_all_stand_out_nowhere() -> None:
    view = scored(0.0, {})
    view.scores[:] = np.nan
    assert joint_distinctiveness([view], 2.5) == 0.0
