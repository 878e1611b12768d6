"""Which flights the campaign flies, what their paths look like, and what is counted of them."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from campaign_figures import after_climb
from campaign_plans import TakeOffPlan, plan_of, plans_of, take_off_plan_of
from campaign_take_off import FIRST_HEIGHT_M, LOW_HEIGHT_M, climb_s, take_off_path, take_off_spot

from dmnil_maps.sample_world.districts import District
from dmnil_maps.sample_world.planning_grid import PlanningGrid
from dmnil_maps.sample_world.scene import CAR_DTYPE, TREE_DTYPE, BuildingPart
from dmnil_maps.sample_world.world import World
from edge_runtime.qualify.flight_record import FlightRecord

WORLD_M = 800.0


def district(use: str, west_m: float, east_m: float) -> District:
    """A strip from south to north."""
    grid = PlanningGrid(WORLD_M / 2 + 100.0, 2.0)
    outline = np.array([[west_m, -500.0], [east_m, -500.0], [east_m, 500.0], [west_m, 500.0]])
    grid.fill(outline, 1)
    return District(use, grid, outline, 1.0, 0.0, outline.min(axis=0), outline.max(axis=0))


@pytest.fixture
def world() -> World:
    """A field in the west, a wood in the east, a tower in between."""
    tower = BuildingPart(1, -100.0, 0.0, 40.0, 40.0, 0.0, 60.0, "flat", 0.0, 0, 0, 1)
    return World(
        seed=1,
        size_m=WORLD_M,
        patches=(),
        roads=(),
        stripes=(),
        hedges=(),
        parts=(tower,),
        trees=np.array([(0.0, 50.0, 5.0, 20.0, 0, 0)], TREE_DTYPE),
        cars=np.zeros(0, CAR_DTYPE),
        districts=(district("farmland", -400.0, -50.0), district("wood", 50.0, 400.0)),
    )


@pytest.fixture
def plan() -> TakeOffPlan:
    return replace(
        take_off_plan_of(0, 1),
        spot="field",
        height_m=100.0,
        climb_m_s=2.0,
        hovers=((40.0, 10.0), (80.0, 5.0)),
        turn_deg_s=20.0,
        episode="none",
    )


def poses_of(world: World, plan: TakeOffPlan) -> tuple[np.ndarray, np.ndarray]:
    path = take_off_path(world, plan, np.random.default_rng(3))
    poses = [
        [at.pose.east_m, at.pose.north_m, at.pose.height_m, at.pose.heading_deg] for at in path
    ]
    return np.array([at.time_s for at in path]), np.array(poses)


def test_the_standard_flights_stay_what_they_were():
    fourth = plan_of(4, 1)
    assert (fourth.map_kind, fourth.world_seed, fourth.weather) == ("doubles", 101, "clear")
    assert fourth.height_m == 139.96090684261003
    assert fourth.speed_m_s == 12.61638925642534
    assert (fourth.name, fourth.is_foreign) == ("004", True)


def test_a_plan_depends_on_seed_and_number_alone():
    assert take_off_plan_of(7, 1) == take_off_plan_of(7, 1)
    assert take_off_plan_of(7, 1) != take_off_plan_of(7, 2)
    assert plans_of("take_off", 10, 1) == plans_of("take_off", 20, 1)[:10]


def test_a_kind_chooses_its_flights_and_all_has_as_many_of_each():
    assert {plan.kind for plan in plans_of("cruise", 5, 1)} == {"cruise"}
    assert {plan.kind for plan in plans_of("take_off", 5, 1)} == {"take_off"}
    both = plans_of("all", 5, 1)
    assert Counter(plan.kind for plan in both) == {"cruise": 5, "take_off": 5}
    assert len({plan.name for plan in both}) == 10


@pytest.mark.parametrize("kind", ["cruise", "take_off"])
def test_one_flight_of_five_is_over_a_world_that_its_map_does_not_show(kind):
    foreign = [plan.number for plan in plans_of(kind, 50, 3) if plan.is_foreign]
    assert foreign == list(range(4, 50, 5))


def test_flights_from_the_ground_prefer_fields_and_vary():
    plans = [take_off_plan_of(number, 1) for number in range(200)]
    assert 80 <= sum(plan.spot == "field" for plan in plans) <= 120
    assert all(1.5 <= plan.climb_m_s <= 4.0 and 80.0 <= plan.height_m <= 160.0 for plan in plans)
    assert all(
        1 <= len(plan.hovers) <= 3 and sorted(plan.hovers) == [*plan.hovers] for plan in plans
    )
    assert 50 <= sum(plan.turn_deg_s != 0.0 for plan in plans) <= 110
    assert {plan.episode for plan in plans} == {"none", "descent", "hover"}


def test_a_climb_begins_at_the_ground_and_ends_in_the_cruise(world, plan):
    time_s, poses = poses_of(world, plan)
    assert poses[0, 2] == pytest.approx(FIRST_HEIGHT_M, abs=0.5)
    assert climb_s(plan) == pytest.approx(98.0 / 2.0 + 15.0)
    climbing = time_s < climb_s(plan)
    assert (np.diff(poses[climbing, 2]) > -1.5).all()
    assert poses[climbing, 2].max() < plan.height_m + 2.0
    np.testing.assert_allclose(poses[~climbing, 2], plan.height_m, atol=3.0)


def test_a_climb_stays_over_its_spot_and_is_photographed_twice_a_second(world, plan):
    time_s, poses = poses_of(world, plan)
    climbing = time_s < climb_s(plan) - 1e-6
    moved_m = np.hypot(*(poses[:, :2] - poses[0, :2]).T)
    assert moved_m[climbing].max() < 5.0
    assert moved_m.max() > 50.0
    np.testing.assert_allclose(np.diff(time_s[climbing]), 0.5)
    assert np.diff(time_s).max() <= 1.25 + 1e-6


def test_a_drone_hovers_where_planned_and_turns_in_place(world, plan):
    time_s, poses = poses_of(world, plan)
    first_s = (40.0 - FIRST_HEIGHT_M) / plan.climb_m_s
    hovering = (time_s > first_s + 0.5) & (time_s < first_s + 9.5)
    np.testing.assert_allclose(poses[hovering, 2], 40.0, atol=2.5)
    turned_deg = np.ptp(np.unwrap(poses[hovering, 3], period=360.0))
    assert turned_deg == pytest.approx(9.0 * plan.turn_deg_s, abs=25.0)


def test_a_descent_goes_low_in_mid_flight_and_climbs_again(world, plan):
    time_s, poses = poses_of(world, replace(plan, episode="descent"))
    cruising = time_s > climb_s(plan) + 1.0
    assert poses[cruising, 2].min() == pytest.approx(LOW_HEIGHT_M, abs=3.0)
    assert poses[-1, 2] == pytest.approx(plan.height_m, abs=3.0)
    time_s, poses = poses_of(world, plan)
    assert poses[time_s > climb_s(plan) + 1.0, 2].min() > 95.0


def test_the_same_drawing_gives_the_same_path(world, plan):
    np.testing.assert_array_equal(poses_of(world, plan)[1], poses_of(world, plan)[1])


def test_take_off_spots_are_of_their_kind_and_clear(world):
    for number in range(8):
        rng = np.random.default_rng(number)
        field = take_off_spot(world, "field", 300.0, rng)
        assert -400.0 < field[0] < -50.0
        assert np.hypot(field[0] + 100.0, field[1]) > 28.0
        edge = take_off_spot(world, "wood's edge", 300.0, rng)
        assert 20.0 - 2.0 <= edge[0] <= 52.0
    nowhere = replace(world, districts=())
    assert abs(take_off_spot(nowhere, "field", 300.0, rng)).max() <= 300.0


def record(plan: TakeOffPlan, fixed_from_s: float) -> FlightRecord:
    """One frame a second, over the map throughout, with positions from some time on."""
    time_s = np.arange(0.0, climb_s(plan) + 40.0)
    known = time_s >= fixed_from_s
    return FlightRecord(
        time_s=time_s,
        state=np.where(known, "TRACKING", "ACQUIRING"),
        error_m=np.where(known, 5.0, np.nan),
        radius95_m=np.where(known, 20.0, np.nan),
        distinctiveness=np.ones(len(time_s)),
        viewed_east_m=time_s,
        viewed_north_m=time_s,
        resets=np.zeros(len(time_s), np.int64),
    )


def test_figures_after_the_climb_count_from_the_cruise_on(plan):
    elsewhere = replace(plan, world_seed=plan.world_seed + 1)
    assert elsewhere.is_foreign
    figures = after_climb(
        [
            (plan, record(plan, climb_s(plan) + 10.0)),
            (plan, record(plan, climb_s(plan) - 20.0)),
            (plan, record(plan, np.inf)),
            (elsewhere, record(plan, np.inf)),
        ]
    )
    assert figures["flights_over_the_map"] == 3
    assert figures["flights_fixed"] == 2
    assert figures["flights_fixed_in_the_climb"] == 1
    assert figures["availability"] == pytest.approx((30.0 + 40.0) / 120.0)
    assert figures["availability_of_flights_with_fix"] == pytest.approx(70.0 / 80.0)
    assert figures["median_s_from_cruise_to_first_fix"] == pytest.approx((10.0 - 20.0) / 2.0)
