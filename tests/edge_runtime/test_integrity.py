from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import IntegrityState
from edge_runtime.localize.integrity import (
    IntegrityConfig,
    IntegrityMonitor,
    PosteriorSummary,
    ViewEvidence,
)

CONFIG = IntegrityConfig(
    acquire_radius_m=75.0,
    tracking_radius_m=150.0,
    lost_radius_m=500.0,
    acquire_elsewhere=0.01,
    tracking_elsewhere=0.03,
    lost_elsewhere=0.5,
    consistent_score=4.0,
    confirm_radius_m=150.0,
    confirmations=3,
    confirmation_views=5,
    rival_margin=1.5,
    acquire_distant=0.005,
    tracking_distant=0.02,
    largest_speed_m_s=50.0,
    off_map_probability=0.95,
    off_map_prior=0.2,
)
GOOD = PosteriorSummary(radius95_m=40.0, elsewhere=0.001, is_local=True)
NOWHERE = PosteriorSummary(radius95_m=float("inf"), elsewhere=0.4, is_local=False)
AGREES = ViewEvidence(score=5.0, prior_radius_m=50.0)
DISAGREES = ViewEvidence(score=0.0, prior_radius_m=50.0)
PICKS_A_PLACE = ViewEvidence(score=5.0, prior_radius_m=400.0)


def summary(
    radius95_m: float = 40.0, elsewhere: float = 0.001, is_local: bool = True
) -> PosteriorSummary:
    return PosteriorSummary(radius95_m, elsewhere, is_local)


def new_monitor() -> IntegrityMonitor:
    return IntegrityMonitor(CONFIG)


def tracking_monitor() -> IntegrityMonitor:
    monitor = new_monitor()
    for _ in range(CONFIG.confirmations):
        monitor.update(GOOD, AGREES)
    assert monitor.state is IntegrityState.TRACKING
    return monitor


def lost_monitor() -> IntegrityMonitor:
    monitor = tracking_monitor()
    monitor.update(NOWHERE, DISAGREES)
    assert monitor.state is IntegrityState.LOST
    return monitor


# The first fix


def test_it_stays_in_init_until_a_view_can_be_used() -> None:
    monitor = new_monitor()
    assert monitor.state is IntegrityState.INIT
    assert monitor.update(NOWHERE, None) == (IntegrityState.INIT, "no usable view yet")
    assert monitor.update(GOOD, None)[0] is IntegrityState.INIT


def test_the_first_usable_view_begins_acquisition() -> None:
    state, reason = new_monitor().update(NOWHERE, DISAGREES)
    assert state is IntegrityState.ACQUIRING
    assert reason == "no place on the map stands out yet"


def test_nothing_is_published_before_enough_views_confirm() -> None:
    monitor = new_monitor()
    states = [monitor.update(GOOD, AGREES)[0] for _ in range(CONFIG.confirmations)]
    waiting = [IntegrityState.ACQUIRING] * (CONFIG.confirmations - 1)
    assert states == [*waiting, IntegrityState.TRACKING]


def test_the_reason_counts_the_confirmations() -> None:
    monitor = new_monitor()
    monitor.update(GOOD, AGREES)
    assert monitor.update(GOOD, DISAGREES)[1] == "1 of 3 confirming views"


@pytest.mark.parametrize("score", [0.0, CONFIG.consistent_score - 0.01, float("nan"), -1e9])
def test_views_that_do_not_speak_for_the_position_confirm_nothing(score: float) -> None:
    monitor = new_monitor()
    for _ in range(50):
        assert not monitor.update(GOOD, ViewEvidence(score, 50.0))[0].publishes


def test_frames_without_evidence_confirm_nothing() -> None:
    monitor = new_monitor()
    monitor.update(GOOD, AGREES)
    for _ in range(50):
        assert monitor.update(GOOD, None)[0] is IntegrityState.ACQUIRING


def test_a_place_picked_out_of_a_wide_area_is_coasting_until_a_view_confirms_it() -> None:
    monitor = new_monitor()
    for _ in range(CONFIG.confirmations - 1):
        monitor.update(NOWHERE, PICKS_A_PLACE)
    picked = IntegrityState.COASTING, "one view's word, not yet confirmed by another"
    assert monitor.update(GOOD, PICKS_A_PLACE) == picked
    assert monitor.update(GOOD, DISAGREES) == picked
    assert monitor.update(GOOD, None) == picked
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING


@pytest.mark.parametrize("beyond_m", [-1.0, 1.0])
def test_a_view_confirms_what_was_known_well_before_it(beyond_m: float) -> None:
    monitor = tracking_monitor()
    evidence = ViewEvidence(5.0, CONFIG.confirm_radius_m + beyond_m)
    confirmed = IntegrityState.TRACKING if beyond_m < 0.0 else IntegrityState.COASTING
    assert monitor.update(GOOD, evidence)[0] is confirmed


def test_confirmations_are_counted_over_the_latest_views_only() -> None:
    monitor = new_monitor()
    for score in [AGREES, AGREES, DISAGREES, DISAGREES, DISAGREES, DISAGREES, AGREES]:
        assert monitor.update(GOOD, score)[0] is IntegrityState.ACQUIRING
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.ACQUIRING
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (summary(radius95_m=75.1), "95 % radius is 75 m"),
        (summary(elsewhere=0.011), "no place on the map stands out yet"),
        (summary(is_local=False), "no place on the map stands out yet"),
    ],
)
def test_no_first_fix_from_a_posterior_that_is_not_good_enough(
    bad: PosteriorSummary, reason: str
) -> None:
    monitor = new_monitor()
    for _ in range(20):
        assert monitor.update(bad, AGREES) == (IntegrityState.ACQUIRING, reason)
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING


def test_the_first_fix_is_no_reset() -> None:
    assert tracking_monitor().reset_counter == 0


# While publishing


def test_tracking_goes_on_while_all_is_well() -> None:
    monitor = tracking_monitor()
    for _ in range(20):
        assert monitor.update(GOOD, AGREES) == (
            IntegrityState.TRACKING,
            "views agree with the map",
        )


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        (summary(elsewhere=0.04), "4 % doubt in the track"),
        (summary(radius95_m=151.0), "95 % radius is 151 m"),
    ],
)
def test_it_coasts_on_doubt_and_on_a_wide_radius_and_tracks_again_after(
    worse: PosteriorSummary, reason: str
) -> None:
    monitor = tracking_monitor()
    assert monitor.update(worse, AGREES) == (IntegrityState.COASTING, reason)
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING
    assert monitor.reset_counter == 0


def test_while_tracking_it_bears_more_than_at_the_first_fix() -> None:
    assert tracking_monitor().update(summary(140.0, 0.025), AGREES)[0] is IntegrityState.TRACKING


def test_it_coasts_once_no_recent_view_agrees() -> None:
    monitor = tracking_monitor()
    states = [monitor.update(GOOD, DISAGREES)[0] for _ in range(5)]
    assert states == [IntegrityState.TRACKING] * 4 + [IntegrityState.COASTING]
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING


def test_frames_without_evidence_neither_confirm_nor_contradict() -> None:
    monitor = tracking_monitor()
    for _ in range(50):
        assert monitor.update(GOOD, None)[0] is IntegrityState.TRACKING


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (summary(radius95_m=CONFIG.lost_radius_m + 1.0), "95 % radius grew to 501 m"),
        (summary(elsewhere=0.5), "recent views contradict the track"),
        (summary(is_local=False), "recent views contradict the track"),
    ],
)
@pytest.mark.parametrize("coasting", [False, True])
def test_it_is_lost_when_the_posterior_is(
    bad: PosteriorSummary, reason: str, coasting: bool
) -> None:
    monitor = tracking_monitor()
    if coasting:
        monitor.update(summary(radius95_m=200.0), None)
        assert monitor.state is IntegrityState.COASTING
    assert monitor.update(bad, None) == (IntegrityState.LOST, reason)


# After a loss


def test_a_lost_drone_is_lost_and_not_acquiring_until_it_is_found() -> None:
    monitor = lost_monitor()
    for _ in range(10):
        assert monitor.update(NOWHERE, DISAGREES)[0] is IntegrityState.LOST


def test_relocalisation_needs_all_confirmations_anew_and_counts_a_reset() -> None:
    monitor = lost_monitor()
    states = [monitor.update(GOOD, AGREES)[0] for _ in range(3)]
    assert states == [IntegrityState.LOST, IntegrityState.LOST, IntegrityState.TRACKING]
    assert monitor.reset_counter == 1


def test_after_dead_reckoning_too_far_one_view_may_bring_the_track_back_unconfirmed() -> None:
    monitor = tracking_monitor()
    monitor.update(summary(radius95_m=CONFIG.lost_radius_m + 1.0), None)
    assert monitor.state is IntegrityState.LOST
    assert monitor.update(GOOD, None)[0] is IntegrityState.LOST
    assert monitor.update(GOOD, PICKS_A_PLACE)[0] is IntegrityState.COASTING
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING
    assert monitor.reset_counter == 1


def test_every_relocalisation_counts_once() -> None:
    monitor = tracking_monitor()
    for resets in range(1, 4):
        monitor.update(NOWHERE, DISAGREES)
        for _ in range(10):
            monitor.update(GOOD, AGREES)
        assert monitor.reset_counter == resets


# Off the map


FITS_NOTHING = ViewEvidence(score=0.0, prior_radius_m=float("inf"), best_score=4.0)


def test_views_that_fit_nothing_of_the_map_over_enough_new_ground_say_so() -> None:
    monitor = new_monitor()
    states = [monitor.update(NOWHERE, FITS_NOTHING)[0] for _ in range(15)]
    first = states.index(IntegrityState.OUT_OF_MAP)
    assert first >= CONFIG.confirmation_views
    assert states[:first] == [IntegrityState.ACQUIRING] * first
    assert states[first:] == [IntegrityState.OUT_OF_MAP] * (15 - first)
    assert monitor.update(NOWHERE, None)[1] == "the last 15 views fit nothing of the map"


def test_the_same_ground_seen_again_does_not_say_so() -> None:
    monitor = new_monitor()
    stale = replace(FITS_NOTHING, novelty=0.01)
    for _ in range(100):
        assert monitor.update(NOWHERE, stale)[0] is IntegrityState.ACQUIRING


def test_views_that_were_compared_with_a_small_part_of_the_map_do_not_say_so() -> None:
    monitor = new_monitor()
    nearby = replace(FITS_NOTHING, prior_radius_m=100.0)
    for _ in range(100):
        assert monitor.update(NOWHERE, nearby)[0] is IntegrityState.ACQUIRING


def test_a_local_filter_in_doubt_is_not_off_the_map() -> None:
    monitor = new_monitor()
    for _ in range(30):
        state, _ = monitor.update(summary(elsewhere=0.99), FITS_NOTHING)
    assert state is IntegrityState.ACQUIRING


def test_from_off_the_map_a_position_can_be_acquired() -> None:
    monitor = new_monitor()
    for _ in range(20):
        monitor.update(NOWHERE, FITS_NOTHING)
    assert monitor.state is IntegrityState.OUT_OF_MAP
    states = [monitor.update(GOOD, AGREES)[0] for _ in range(3)]
    assert states == [IntegrityState.ACQUIRING] * 2 + [IntegrityState.TRACKING]


def test_a_lost_drone_may_turn_out_to_be_off_the_map() -> None:
    monitor = lost_monitor()
    states = [monitor.update(NOWHERE, FITS_NOTHING)[0] for _ in range(20)]
    assert states[0] is IntegrityState.LOST
    assert states[-1] is IntegrityState.OUT_OF_MAP


def test_a_track_beyond_the_maps_edge_coasts_while_it_is_known_and_is_out_of_the_map_after() -> (
    None
):
    monitor = tracking_monitor()
    beyond = replace(GOOD, off_map=1.0)
    assert monitor.update(beyond, None)[0] is IntegrityState.TRACKING
    assert monitor.update(replace(beyond, radius95_m=140.0), None)[0].publishes
    left = replace(beyond, radius95_m=151.0)
    out = IntegrityState.OUT_OF_MAP, "the track has left the map"
    assert monitor.update(left, None) == out
    assert monitor.update(left, None) == out


def test_one_view_brings_a_track_back_from_beyond_the_edge_and_counts_a_reset() -> None:
    monitor = tracking_monitor()
    monitor.update(replace(GOOD, off_map=1.0, radius95_m=151.0), None)
    assert monitor.update(GOOD, PICKS_A_PLACE)[0] is IntegrityState.COASTING
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING
    assert monitor.reset_counter == 1


def test_a_wide_radius_over_the_map_is_no_leaving() -> None:
    monitor = tracking_monitor()
    assert monitor.update(summary(radius95_m=200.0), None)[0] is IntegrityState.COASTING


# Places that no drone can fly between


def at(east_m: float, time_s: float, **changes: Any) -> PosteriorSummary:
    return replace(GOOD, east_north_m=(east_m, 0.0), time_s=time_s, **changes)


def tracking_at_origin() -> IntegrityMonitor:
    monitor = IntegrityMonitor(replace(CONFIG, acquire_travel_m=0.0))
    for second in range(CONFIG.confirmations):
        monitor.update(at(0.0, float(second)), AGREES)
    assert monitor.state is IntegrityState.TRACKING
    return monitor


REACH_M = CONFIG.largest_speed_m_s * 1.0 + 2 * GOOD.radius95_m


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_a_position_that_implies_an_impossible_speed_does_not_leave(direction: float) -> None:
    monitor = tracking_at_origin()
    jumped = monitor.update(at(direction * (REACH_M + 1.0), 3.0), AGREES)
    assert jumped == (IntegrityState.LOST, "the position jumped further than a drone can fly")
    for second in (4.0, 5.0):
        assert not monitor.update(at(direction * REACH_M, second), AGREES)[0].publishes
    assert monitor.update(at(direction * REACH_M, 6.0), AGREES)[0] is IntegrityState.TRACKING
    assert monitor.reset_counter == 1


def test_a_position_within_a_drones_reach_leaves() -> None:
    monitor = tracking_at_origin()
    assert monitor.update(at(REACH_M - 1.0, 3.0), AGREES)[0] is IntegrityState.TRACKING


def test_after_a_gap_a_drone_may_be_further_away() -> None:
    monitor = tracking_at_origin()
    assert monitor.update(at(2 * REACH_M, 10.0), AGREES)[0] is IntegrityState.TRACKING


def test_views_that_picked_places_far_apart_do_not_confirm_each_other() -> None:
    monitor = new_monitor()
    for second in range(30):
        state, _ = monitor.update(at(1000.0 * (second % 2), float(second)), AGREES)
        assert state is IntegrityState.ACQUIRING


# Rival places


def test_no_first_fix_while_a_distant_place_is_still_in_question() -> None:
    monitor = new_monitor()
    rivalled = replace(GOOD, distant=0.01)
    for _ in range(20):
        assert monitor.update(rivalled, AGREES) == (
            IntegrityState.ACQUIRING,
            "1.0 % for a distant place",
        )
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING


def test_it_coasts_while_a_distant_place_comes_into_question() -> None:
    monitor = tracking_monitor()
    coasting = IntegrityState.COASTING, "5 % for a distant place"
    assert monitor.update(replace(GOOD, distant=0.05), AGREES) == coasting
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING


@pytest.mark.parametrize(("beyond", "confirms"), [(-0.1, True), (0.1, False)])
def test_a_view_that_scores_much_higher_elsewhere_confirms_nothing(
    beyond: float, confirms: bool
) -> None:
    monitor = new_monitor()
    best = AGREES.score + CONFIG.rival_margin + beyond
    states = [monitor.update(GOOD, replace(AGREES, best_score=best))[0] for _ in range(10)]
    assert (IntegrityState.TRACKING in states) is confirms


# Always


FRAMES = st.lists(
    st.tuples(
        st.builds(summary, st.floats(5.0, 600.0), st.floats(0.0, 1.0), st.booleans())
        | st.sampled_from([GOOD, GOOD, GOOD, NOWHERE]),
        st.none() | st.sampled_from([AGREES, AGREES, DISAGREES, PICKS_A_PLACE]),
    ),
    max_size=60,
)


@given(frames=FRAMES)
def test_positions_leave_only_as_promised(
    frames: list[tuple[PosteriorSummary, ViewEvidence | None]],
) -> None:
    monitor = new_monitor()
    supports: list[bool] = []
    last_support: ViewEvidence | None = None
    has_published = False
    for posterior, view in frames:
        before, resets = monitor.state, monitor.reset_counter
        if view is not None:
            supports.append(view.score >= CONFIG.consistent_score)
            last_support = view if supports[-1] else last_support
        state, reason = monitor.update(posterior, view)
        assert state is monitor.state
        assert reason
        if state.publishes:
            assert posterior.is_local
            assert posterior.radius95_m <= CONFIG.lost_radius_m
            assert posterior.elsewhere < CONFIG.lost_elsewhere
        if state is IntegrityState.TRACKING:
            assert posterior.radius95_m <= CONFIG.tracking_radius_m
            assert posterior.elsewhere <= CONFIG.tracking_elsewhere
            assert last_support is not None
            assert last_support.prior_radius_m <= CONFIG.confirm_radius_m
        acquired = state.publishes and not before.publishes
        if acquired:
            assert sum(supports[-CONFIG.confirmation_views :]) >= CONFIG.confirmations
            assert posterior.radius95_m <= CONFIG.acquire_radius_m
            assert posterior.elsewhere <= CONFIG.acquire_elsewhere
        if before.publishes and not state.publishes:
            assert state is IntegrityState.LOST
        assert monitor.reset_counter - resets == (acquired and has_published)
        has_published = has_published or state.publishes


@pytest.mark.parametrize(
    "setting",
    [
        {"acquire_radius_m": 0.0},
        {"acquire_radius_m": 200.0},
        {"tracking_radius_m": CONFIG.lost_radius_m + 1.0},
        {"confirmations": 0},
        {"confirmations": 6},
        {"largest_speed_m_s": 0.0},
        {"off_map_prior": 0.99},
        {"largest_off_map_log_ratio": 0.0},
    ],
)
def test_settings_that_contradict_each_other_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="integrity"):
        IntegrityConfig(**setting)


def test_views_of_a_climb_over_one_field_make_no_first_fix() -> None:
    monitor = IntegrityMonitor(IntegrityConfig(acquire_travel_m=30.0))
    view = ViewEvidence(score=7.0, prior_radius_m=20.0)

    def at(east_m: float, time_s: float) -> tuple[IntegrityState, str]:
        summary = PosteriorSummary(20.0, 0.0, True, east_north_m=(east_m, 0.0), time_s=time_s)
        return monitor.update(summary, view)

    climbing = [at(float(second % 3), float(second)) for second in range(8)]
    assert {state for state, _ in climbing} == {IntegrityState.ACQUIRING}
    assert climbing[-1][1] == "only 2 m flown between the confirming views"
    states = [at(10.0 * (second - 7), float(second))[0] for second in range(8, 12)]
    assert states == [
        IntegrityState.ACQUIRING,
        IntegrityState.ACQUIRING,
        IntegrityState.TRACKING,
        IntegrityState.TRACKING,
    ]


def test_views_from_before_a_place_stood_out_count_for_no_distance_flown() -> None:
    monitor = IntegrityMonitor(IntegrityConfig(acquire_travel_m=30.0))

    def at(second: int, is_local: bool, score: float) -> tuple[IntegrityState, str]:
        summary = PosteriorSummary(
            20.0, 0.0, is_local, east_north_m=(0.0, 0.0), time_s=float(second)
        )
        return monitor.update(summary, ViewEvidence(score, prior_radius_m=20.0))

    for second in range(3):
        assert at(second, is_local=False, score=7.0)[0] is IntegrityState.ACQUIRING
    state, reason = at(3, is_local=True, score=0.0)
    assert state is IntegrityState.ACQUIRING
    assert reason == "only 0 m flown between the confirming views"


def test_a_drone_that_moved_unseen_coasts_until_a_view_confirms_where_to() -> None:
    monitor = tracking_monitor()
    assert monitor.update(GOOD, None)[0] is IntegrityState.TRACKING
    monitor.lose_sight()
    state, reason = monitor.update(GOOD, None)
    assert state is IntegrityState.COASTING
    assert reason == "moved unseen, not yet confirmed by a view"
    assert monitor.update(GOOD, DISAGREES)[0] is IntegrityState.COASTING
    assert monitor.update(GOOD, AGREES)[0] is IntegrityState.TRACKING
