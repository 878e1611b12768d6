from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.filter import FilterConfig, PoseFilter
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, Hypothesis, HypothesisConfig
from edge_runtime.localize.motion import MotionConfig, MotionModel
from edge_runtime.localize.odometry import Displacement
from edge_runtime.localize.position_grid import Bounds, PositionGrid

REGION = Bounds(-700.0, -700.0, 700.0, 700.0)
CONFIG = FilterConfig(
    cell_m=10.0,
    margin_m=300.0,
    restart_probability=0.01,
    off_map_probability=0.2,
    local_radius_m=300.0,
)
MOTION = MotionConfig(odometry_scale_error=0.15, odometry_noise_m=1.5, typical_speed_m_s=10.0)
ONLY = Hypothesis(0, 0)
STEP = Displacement(15.0, 5.0)
MOVED = np.array([STEP.east_m, STEP.north_m])
MISMATCH = 0.1


class PositionFilter(PoseFilter):
    """The filter of a camera whose heading and height are known: one grid."""

    def __init__(
        self,
        region: Bounds,
        config: FilterConfig,
        prior: tuple[np.ndarray, float] | None = None,
    ) -> None:
        one = HypothesisConfig(headings=1, heights=1)
        super().__init__(region, config, HeadingAxis(one, 5.0), HeightAxis(one, 0.1, True))
        self.motion = MotionModel(MOTION)
        self.novelty = 0.0
        if prior is not None:
            self.start_from(*prior, 1.0 - config.restart_probability)
        self.grid_of(ONLY)

    def predict(
        self, displacement: Displacement | None, elapsed_s: float, novelty: float = 0.0
    ) -> None:
        if displacement is None:
            super().predict(self.motion.unseen(elapsed_s, None))
        else:
            turned = abs(displacement.rotation_deg) > 10.0
            super().predict(self.motion.seen(displacement, elapsed_s, is_inconsistent=turned))
        self.novelty = novelty
        self._settle()

    def update(self, ratio: np.ndarray, weight: float) -> None:
        super().update({ONLY: ratio}, weight, self.novelty)
        self.motion.confirmed(weight)
        self.grid_of(ONLY)


def bumps(grid: PositionGrid, places: list[np.ndarray], height: float = 40.0) -> np.ndarray:
    """A view that resembles the ground around places (25 m) and speaks against all other."""
    ratio = np.full(grid.mass.shape, MISMATCH, np.float32)
    for east, north in places:
        squared = (grid.norths_m - north)[:, None] ** 2 + (grid.easts_m - east) ** 2
        ratio += height * np.exp(-squared / (2 * 25.0**2)).astype(np.float32)
    return ratio


def fly(
    position_filter: PositionFilter,
    start: tuple[float, float],
    steps: int,
    lookalikes: int = 4,
    seed: int = 0,
) -> np.ndarray:
    """Fly on from a true place with views that resemble random wrong places too; where it ends."""
    rng = np.random.default_rng(seed)
    place = np.array(start)
    for _ in range(steps):
        place = place + MOVED
        position_filter.predict(STEP, 1.0, 1.0)
        wrong = list(rng.uniform(-900.0, 900.0, (lookalikes, 2)))
        position_filter.update(bumps(position_filter.grid, [place, *wrong]), 1.0)
    return place


def settled_at(east: float, north: float) -> PositionFilter:
    """A filter with a prior of 30 m that a first view has confirmed."""
    place = np.array([east, north])
    position_filter = PositionFilter(REGION, CONFIG, prior=(place, 30.0))
    position_filter.update(bumps(position_filter.grid, [place]), 1.0)
    assert position_filter.is_local
    return position_filter


def all_mass(position_filter: PositionFilter) -> float:
    return position_filter.grid.total + position_filter.elsewhere


def test_cold_it_knows_nothing_and_covers_the_map_with_its_margin() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    assert not position_filter.is_local
    assert position_filter.elsewhere == CONFIG.off_map_probability
    assert position_filter.grid.bounds == REGION.grown(CONFIG.margin_m)
    assert position_filter.grid.mass.min() == position_filter.grid.mass.max()


def test_repeated_evidence_with_motion_leads_to_the_true_place() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    place = fly(position_filter, (-200.0, 100.0), 12)
    assert position_filter.is_local
    assert position_filter.elsewhere < 0.01
    assert np.linalg.norm(position_filter.grid.mean() - place) < 20.0
    held = position_filter.grid.radius_holding(position_filter.grid.mean(), 0.95)
    assert np.linalg.norm(position_filter.grid.mean() - place) < held < 60.0


def test_one_view_alone_never_makes_it_local_among_lookalikes() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    fly(position_filter, (-200.0, 100.0), 1)
    assert not position_filter.is_local


def test_once_local_the_grid_is_small_and_moves_along() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    fly(position_filter, (-200.0, 100.0), 12)
    bounds = position_filter.grid.bounds
    assert max(bounds.east_m - bounds.west_m, bounds.north_m - bounds.south_m) < 800.0
    before = position_filter.grid.mean()
    position_filter.predict(Displacement(400.0, -30.0), 1.0, 0.0)
    np.testing.assert_allclose(position_filter.grid.mean() - before, [400.0, -30.0], atol=1.0)


@pytest.mark.parametrize("ratio", [1.0, 0.1, 7.0])
def test_views_that_suit_every_place_alike_never_make_it_local(ratio: float) -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    for _ in range(60):
        position_filter.predict(STEP, 1.0, 1.0)
        uninformative = np.full(position_filter.grid.mass.shape, ratio, np.float32)
        position_filter.update(uninformative, 1.0)
        assert not position_filter.is_local


def test_views_of_random_places_never_make_it_local() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    rng = np.random.default_rng(6)
    for _ in range(60):
        position_filter.predict(STEP, 1.0, 1.0)
        wrong = list(rng.uniform(-900.0, 900.0, (5, 2)))
        position_filter.update(bumps(position_filter.grid, wrong), 1.0)
        assert not position_filter.is_local


def test_an_update_is_bayes_rule_against_elsewhere() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    ratio = np.ones(position_filter.grid.mass.shape, np.float32)
    ratio[3, 4] = 11.0
    cell = float(position_filter.grid.mass[3, 4])
    position_filter.update(ratio, 1.0)
    total = 1.0 + 10.0 * cell
    assert position_filter.grid.mass[3, 4] == pytest.approx(11.0 * cell / total, rel=1e-4)
    assert position_filter.elsewhere == pytest.approx(0.2 / total, rel=1e-4)


def test_half_a_view_twice_is_one_view() -> None:
    once, twice = PositionFilter(REGION, CONFIG), PositionFilter(REGION, CONFIG)
    ratio = bumps(once.grid, [np.array([50.0, 60.0])])
    once.update(ratio, 1.0)
    twice.update(ratio, 0.5)
    twice.update(ratio, 0.5)
    np.testing.assert_allclose(twice.grid.mass, once.grid.mass, rtol=1e-3, atol=1e-9)
    assert twice.elsewhere == pytest.approx(once.elsewhere, abs=1e-5)


def test_a_view_of_nothing_new_says_nothing() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    before = position_filter.grid.mass.copy()
    position_filter.update(bumps(position_filter.grid, [np.zeros(2)]), 0.0)
    np.testing.assert_array_equal(position_filter.grid.mass, before)


# Kidnapped


def test_a_lock_on_the_wrong_place_is_given_up_and_the_true_one_found() -> None:
    position_filter = settled_at(-500.0, -500.0)
    place = np.array([100.0, 200.0])
    was_cold_after: int | None = None
    for step in range(40):
        place = place + MOVED
        position_filter.predict(STEP, 1.0, 1.0)
        position_filter.update(bumps(position_filter.grid, [place]), 1.0)
        if was_cold_after is None and not position_filter.is_local:
            was_cold_after = step
    assert was_cold_after is not None
    assert was_cold_after < 6
    assert position_filter.is_local
    assert np.linalg.norm(position_filter.grid.mean() - place) < 20.0


def test_one_view_that_flatly_contradicts_a_settled_place_makes_it_cold_at_once() -> None:
    position_filter = settled_at(0.0, 0.0)
    position_filter.predict(STEP, 1.0, 1.0)
    odds = position_filter.elsewhere / (1.0 - position_filter.elsewhere)
    flat = np.full(position_filter.grid.mass.shape, odds / 2.0, np.float32)
    position_filter.update(flat, 1.0)
    assert not position_filter.is_local
    assert all_mass(position_filter) == pytest.approx(1.0, abs=1e-4)


def test_off_the_map_elsewhere_grows() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    elsewhere = [position_filter.elsewhere]
    for _ in range(6):
        position_filter.predict(STEP, 1.0, 1.0)
        nothing_like_it = np.full(position_filter.grid.mass.shape, MISMATCH, np.float32)
        position_filter.update(nothing_like_it, 1.0)
        elsewhere.append(position_filter.elsewhere)
    assert elsewhere[1:4] == sorted(elsewhere[1:4])
    assert elsewhere[1] > 2 * elsewhere[0]
    assert min(elsewhere[3:]) > 0.95


def test_back_over_the_map_it_is_found_again() -> None:
    position_filter = PositionFilter(REGION, CONFIG)
    for _ in range(30):
        position_filter.predict(STEP, 1.0, 1.0)
        nothing_like_it = np.full(position_filter.grid.mass.shape, MISMATCH, np.float32)
        position_filter.update(nothing_like_it, 1.0)
    place = fly(position_filter, (-300.0, 0.0), 14)
    assert position_filter.is_local
    assert np.linalg.norm(position_filter.grid.mean() - place) < 20.0


# Motion


def test_known_motion_spreads_less_than_unknown() -> None:
    radii = []
    for displacement in (Displacement(20.0, 0.0), None):
        position_filter = settled_at(0.0, 0.0)
        position_filter.predict(displacement, 4.0, 0.0)
        grid = position_filter.grid
        radii.append(grid.radius_holding(grid.mean(), 0.9))
    assert radii[0] < 45.0
    assert radii[1] == pytest.approx(np.sqrt(4.605) * 40.0, rel=0.2)


def test_motion_by_an_inconsistent_heading_is_trusted_less() -> None:
    spreads = []
    for rotation_deg in (0.0, 90.0):
        position_filter = settled_at(0.0, 0.0)
        position_filter.predict(Displacement(40.0, 0.0, rotation_deg), 1.0, 0.0)
        grid = position_filter.grid
        spreads.append(float(np.trace(grid.covariance(grid.mean()))))
    assert spreads[1] > spreads[0] + 2 * 30.0**2


def test_dead_reckoning_carries_on_beyond_the_maps_edge() -> None:
    position_filter = settled_at(650.0, 0.0)
    for _ in range(50):
        position_filter.predict(Displacement(20.0, 0.0), 1.0, 0.0)
    assert position_filter.grid.mean()[0] == pytest.approx(1650.0, abs=5.0)
    assert position_filter.elsewhere < 0.02


def test_doubt_grows_with_independent_views_only() -> None:
    position_filter = settled_at(0.0, 0.0)
    before = position_filter.elsewhere
    everywhere = np.ones(position_filter.grid.mass.shape, np.float32)
    for _ in range(20):
        position_filter.predict(Displacement(0.0, 0.0), 0.0, novelty=1.0)
    position_filter.update(everywhere, 0.0)
    assert position_filter.elsewhere == pytest.approx(before + 0.01 * (1.0 - before), abs=1e-4)
    position_filter.novelty = 0.0
    position_filter.update(everywhere, 0.0)
    assert position_filter.elsewhere == pytest.approx(before + 0.01 * (1.0 - before), abs=1e-4)


STEPS = st.lists(
    st.tuples(
        st.none() | st.builds(Displacement, *[st.floats(-80.0, 80.0)] * 2, st.floats(-90.0, 90.0)),
        st.floats(0.0, 10.0),
        st.floats(0.0, 1.0),
        st.tuples(st.floats(-900.0, 900.0), st.floats(-900.0, 900.0)),
        st.floats(0.0, 20000.0),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, starts_local=st.booleans())
def test_probability_always_adds_up_to_one(steps: list, starts_local: bool) -> None:
    prior = (np.array([100.0, -100.0]), 80.0) if starts_local else None
    position_filter = PositionFilter(REGION, CONFIG, prior)
    for displacement, elapsed_s, novelty, place, height in steps:
        position_filter.predict(displacement, elapsed_s, novelty)
        assert all_mass(position_filter) == pytest.approx(1.0, abs=1e-4)
        position_filter.update(bumps(position_filter.grid, [np.array(place)], height), novelty)
        assert all_mass(position_filter) == pytest.approx(1.0, abs=1e-4)
        assert -1e-6 <= position_filter.elsewhere <= 1.0
        assert position_filter.grid.mass.min() >= 0.0


# Priors


def test_a_prior_is_where_it_starts() -> None:
    position_filter = PositionFilter(REGION, CONFIG, prior=(np.array([250.0, -120.0]), 60.0))
    assert position_filter.elsewhere == pytest.approx(CONFIG.restart_probability, abs=1e-5)
    np.testing.assert_allclose(position_filter.grid.mean(), [250.0, -120.0], atol=5.0)
    held = position_filter.grid.radius_holding(np.array([250.0, -120.0]), 0.9899)
    assert held == pytest.approx(60.0, abs=8.0)


def test_a_prior_of_no_radius_is_a_cell() -> None:
    position_filter = PositionFilter(REGION, CONFIG, prior=(np.array([252.0, -118.0]), 0.0))
    assert np.linalg.norm(position_filter.grid.mean() - [252.0, -118.0]) < 10.0
    assert position_filter.grid.total == pytest.approx(0.99, abs=1e-5)


def test_one_view_that_agrees_with_a_prior_settles_it() -> None:
    assert settled_at(250.0, -120.0).elsewhere < 0.002


def test_a_wide_prior_is_not_yet_a_place() -> None:
    position_filter = PositionFilter(REGION, CONFIG, prior=(np.zeros(2), 600.0))
    assert not position_filter.is_local
    grid = position_filter.grid
    far = np.hypot(grid.easts_m, grid.norths_m[:, None]) > 610.0
    assert grid.mass[far].max() == 0.0
    assert all_mass(position_filter) == pytest.approx(1.0, abs=1e-5)


def test_a_prior_off_the_map_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="prior lies outside the map: check its latitude"):
        PositionFilter(REGION, CONFIG, prior=(np.array([5000.0, 0.0]), 100.0))


def test_a_prior_beside_the_map_within_the_margin_is_accepted() -> None:
    position_filter = PositionFilter(REGION, CONFIG, prior=(np.array([900.0, 0.0]), 50.0))
    np.testing.assert_allclose(position_filter.grid.mean(), [900.0, 0.0], atol=5.0)


@pytest.mark.parametrize(
    "setting",
    [
        {"cell_m": 0.0},
        {"local_radius_m": -1.0},
        {"restart_probability": 0.0},
        {"restart_probability": 0.5},
        {"off_map_probability": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="filter"):
        FilterConfig(**setting)


@pytest.mark.parametrize("gap_s", [600.0, 1e6, 1.7e9])
def test_a_gap_of_any_length_leaves_a_small_grid_and_all_mass(gap_s: float) -> None:
    position_filter = settled_at(0.0, 0.0)
    position_filter.predict(None, gap_s, 0.0)
    assert position_filter.grid.mass.size < 1_000_000
    assert position_filter.grid.total + position_filter.elsewhere == pytest.approx(1.0, abs=1e-3)


def test_hovering_noise_grows_with_time_not_with_the_frame_rate() -> None:
    slow, fast = settled_at(0.0, 0.0), settled_at(0.0, 0.0)
    for _ in range(10):
        slow.predict(Displacement(0.0, 0.0), 1.0, 0.0)
    for _ in range(300):
        fast.predict(Displacement(0.0, 0.0), 1.0 / 30.0, 0.0)
    variances = [
        position_filter.grid.covariance(position_filter.grid.mean())[0, 0]
        for position_filter in (slow, fast)
    ]
    assert variances[0] == pytest.approx(variances[1], rel=0.05)


def three_heights() -> PoseFilter:
    axes = HypothesisConfig(headings=1, heights=3)
    pose_filter = PoseFilter(REGION, CONFIG, HeadingAxis(axes, 5.0), HeightAxis(axes, 0.1, True))
    for height in range(3):
        pose_filter.grid_of(Hypothesis(0, height))
    return pose_filter


def test_a_place_that_only_an_unlikely_height_sees_does_not_prove_that_height() -> None:
    resembled = np.array([200.0, 200.0])
    pose_filter = three_heights()
    for _ in range(3):
        offered = pose_filter.look(0.0, 0.0, 3, 0.01)
        assert offered[0] == Hypothesis(0, 1)
        above = Hypothesis(0, 2)
        share = pose_filter.weights()[above] / sum(pose_filter.weights()[h] for h in offered)
        before, grid = pose_filter.weights()[above], pose_filter.grid_of(above)
        ratio = bumps(grid, [resembled], height=1e4)
        pose_filter.update({above: ratio}, weight=1.0)
        assert share < 0.2
        assert pose_filter.weights()[above] < 1.5 * before
    assert not pose_filter.is_local


def test_a_view_under_a_part_of_the_hypotheses_weighs_as_much_as_their_share() -> None:
    seen, asked = three_heights(), three_heights()
    offered = seen.look(0.0, 0.0, 3, 0.01)
    likeliest = offered[0]
    weights = seen.weights()
    share = weights[likeliest] / sum(weights[hypothesis] for hypothesis in offered)
    ratio = bumps(seen.grid_of(likeliest), [np.array([0.0, 0.0])])
    seen.update({likeliest: ratio}, weight=1.0)
    asked.update({likeliest: ratio}, weight=share)
    np.testing.assert_allclose(seen.grid.mass, asked.grid.mass, rtol=1e-5)
    assert 0.5 < share < 0.9


def test_a_view_under_all_hypotheses_that_were_worth_one_counts_in_full() -> None:
    looked, unasked = three_heights(), three_heights()
    offered = looked.look(0.0, 0.0, 2, 0.01)
    ratios = {h: bumps(looked.grid_of(h), [np.array([0.0, 0.0])]) for h in offered}
    looked.update(ratios, weight=1.0)
    unasked.update(ratios, weight=1.0)
    np.testing.assert_array_equal(looked.grid.mass, unasked.grid.mass)
