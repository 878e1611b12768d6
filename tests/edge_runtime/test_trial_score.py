from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.qualify.flight_record import FlightRecord
from edge_runtime.qualify.trial_score import score_trial, upper_bound

NONE = float("nan")


def record(
    states: str,
    errors: list[float],
    radii: list[float] | None = None,
    distinct: list[float] | None = None,
) -> FlightRecord:
    """A flight of a frame a second; states by their first letters."""
    names = {"A": "ACQUIRING", "T": "TRACKING", "C": "COASTING", "L": "LOST", "O": "OUT_OF_MAP"}
    count = len(states)
    published = [state in "TC" for state in states]
    return FlightRecord(
        time_s=np.arange(count, dtype=float),
        state=np.array([names[state] for state in states]),
        error_m=np.array([e if p else NONE for e, p in zip(errors, published, strict=True)]),
        radius95_m=np.array(
            [r if p else NONE for r, p in zip(radii or [20.0] * count, published, strict=True)]
        ),
        distinctiveness=np.array(distinct or [1.0] * count),
        viewed_east_m=np.zeros(count),
        viewed_north_m=np.zeros(count),
        resets=np.zeros(count, np.int64),
    )


def test_no_event_in_many_trials_is_bounded_by_the_rule_of_three() -> None:
    assert upper_bound(0, 10_000) == pytest.approx(3.0 / 10_000, rel=0.002)
    # Exactly: 1 - 0.05^(1/n).
    assert upper_bound(0, 20) == pytest.approx(1.0 - 0.05 ** (1.0 / 20.0))


@pytest.mark.parametrize(
    ("events", "trials", "bound"), [(1, 10, 0.3942), (2, 100, 0.0616), (5, 10, 0.7776)]
)
def test_bounds_are_those_of_clopper_and_pearson(events: int, trials: int, bound: float) -> None:
    assert upper_bound(events, trials) == pytest.approx(bound, abs=1e-4)


def test_nothing_tried_bounds_nothing() -> None:
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(7, 7) == 1.0


@given(st.integers(0, 50), st.integers(51, 100_000))
def test_more_events_or_fewer_trials_bound_less(events: int, trials: int) -> None:
    bound = upper_bound(events, trials)
    assert events / trials < bound <= 1.0
    assert upper_bound(events + 1, trials) > bound
    assert upper_bound(events, trials + 1) < bound


def test_a_false_fix_lies_beyond_both_limits_and_is_tracked() -> None:
    errors = [99.0, 101.0, 150.0, 201.0, 300.0]
    flight = record("TTTTC", errors, [20.0, 20.0, 80.0, 101.0, 20.0])
    score = score_trial([flight], [False])
    assert score.tracking == 4
    assert score.false_fixes == 1
    assert score.wrong_while_coasting == 1
    assert score.flights_with_false_fixes == 1


def test_every_position_published_elsewhere_is_false() -> None:
    away = record("AATT", [NONE, NONE, np.inf, np.inf], [1e9] * 4)
    score = score_trial([record("TTTT", [1.0] * 4), away], [False, True])
    assert score.false_fixes == 2
    assert score.false_fixes_of_foreign_flights == 2
    assert score.containment == 1.0
    assert score.largest_error_m == 1.0


def test_containment_pools_all_positions() -> None:
    first, second = record("TTT", [10.0, 19.9, 20.1]), record("C", [30.0], [40.0])
    score = score_trial([first, second], [False, False])
    assert score.containment == pytest.approx(3 / 4)
    assert score.containment_range is not None
    low, high = score.containment_range
    assert low == pytest.approx(2 / 3)
    assert high == pytest.approx(1.0)


def test_availability_counts_frames_over_the_map_after_the_first_fix() -> None:
    flight = record("AATLTT", [0.0] * 6, distinct=[1.0, 1.0, 0.2, 0.9, 0.9, NONE])
    score = score_trial([flight], [False])
    assert score.availability == pytest.approx(2 / 3)
    assert score.distinctive_availability == pytest.approx(1 / 2)
    assert score.median_s_to_first_fix == 2.0


def test_flights_without_a_fix_are_counted_and_have_no_time_to_it() -> None:
    score = score_trial([record("AAAA", [0.0] * 4), record("AATT", [5.0] * 4)], [False, False])
    assert score.flights_with_fix == 0.5
    assert score.median_s_to_first_fix == 2.0
    assert score.availability == 1.0


def test_out_of_map_is_right_elsewhere_and_wrong_over_the_map() -> None:
    over = record("AOTT", [1.0] * 4)
    away, silent = record("AAOO", [0.0] * 4), record("AAAA", [0.0] * 4)
    score = score_trial([over, away, silent], [False, True, True])
    assert score.foreign_flights_called_out_of_map == 0.5
    assert score.out_of_map_frames_over_the_map == 0.25


def test_flights_that_publish_nothing_give_no_figures_rather_than_zeros() -> None:
    score = score_trial([record("AAAA", [0.0] * 4)], [False])
    assert score.containment is None
    assert score.median_error_m is None
    assert score.false_fix_bound == 1.0
