from __future__ import annotations

import json

import pytest

from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix, IntegrityState, MatchedPlace, Position
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.score import score_flight, score_frames, score_json, score_report
from edge_runtime.telemetry.truth import TruePlace

FRAME = LocalFrame(47.0, 8.0)
TRACKING, COASTING = IntegrityState.TRACKING, IntegrityState.COASTING
ACQUIRING = IntegrityState.ACQUIRING


def true_place(east_m: float, viewed_north_m: float = 0.0) -> TruePlace:
    """The drone some way east, looking at ground some way north of it."""
    latitudes, longitudes = FRAME.to_geodetic([[east_m, 0.0], [east_m, viewed_north_m]])
    return TruePlace(
        float(latitudes[0]), float(longitudes[0]), float(latitudes[1]), float(longitudes[1])
    )


def fix(
    number: int,
    error_m: float | None,
    radius95_m: float = 50.0,
    state: IntegrityState = TRACKING,
    resets: int = 0,
) -> Fix:
    """Frame `number` of a flight of 10 m and 2 s a frame; its position is off to the north."""
    position = None
    if error_m is not None:
        latitude, longitude = FRAME.to_geodetic([10.0 * number, error_m])
        position = Position(float(latitude), float(longitude), 1.0, 1.0, 0.0, radius95_m)
    return Fix(
        frame=f"{number:04d}",
        time_s=100.0 + 2.0 * number,
        state=state,
        reason="",
        position=position,
        reset_counter=resets,
    )


TRUTH = {f"{number:04d}": true_place(10.0 * number) for number in range(20)}


def test_the_score_of_a_five_frame_flight_by_hand() -> None:
    fixes = [
        fix(0, None, state=ACQUIRING),
        fix(1, 10.0),
        fix(2, None, state=IntegrityState.LOST),
        fix(3, 30.0, radius95_m=20.0, state=COASTING),
        fix(4, 20.0, radius95_m=40.0, resets=1),
    ]
    score = score_flight(fixes, TRUTH)
    assert (score.frames, score.published) == (5, 3)
    assert score.first_fix_frame == "0001"
    assert score.frames_to_first_fix == 1
    assert score.seconds_to_first_fix == pytest.approx(2.0)
    assert score.availability == pytest.approx(3 / 4)
    assert score.median_error_m == pytest.approx(20.0, abs=0.01)
    assert score.p95_error_m == pytest.approx(29.0, abs=0.01)
    assert score.largest_error_m == pytest.approx(30.0, abs=0.01)
    assert score.containment == pytest.approx(2 / 3)
    assert score.median_radius95_m == pytest.approx(40.0)
    assert score.false_fixes == 0
    assert score.resets == 1


@pytest.mark.parametrize(
    ("error_m", "radius95_m", "state", "false_fixes"),
    [
        (101.0, 50.0, TRACKING, 1),
        (101.0, 50.4, TRACKING, 1),
        (99.0, 10.0, TRACKING, 0),
        (150.0, 76.0, TRACKING, 0),
        (150.0, 74.0, TRACKING, 1),
        (5000.0, 50.0, COASTING, 0),
        (None, 50.0, ACQUIRING, 0),
    ],
)
def test_a_false_fix_is_beyond_both_bounds_and_in_tracking(
    error_m: float | None, radius95_m: float, state: IntegrityState, false_fixes: int
) -> None:
    fixes = [fix(0, 5.0), fix(1, error_m, radius95_m, state)]
    assert score_flight(fixes, TRUTH).false_fixes == false_fixes


def test_time_to_first_fix_is_also_counted_from_the_first_motion() -> None:
    hover = {f"{number:04d}": true_place(max(0.0, 10.0 * (number - 4))) for number in range(20)}
    fixes = [fix(number, None, state=ACQUIRING) for number in range(9)] + [fix(9, 5.0)]
    score = score_flight(fixes, hover)
    assert score.frames_to_first_fix == 9
    # Frame 5 is the first that is more than 3 m away.
    assert score.frames_from_motion_to_first_fix == 4


def test_a_fix_before_the_first_motion_counts_negative() -> None:
    hover = {f"{number:04d}": true_place(max(0.0, 10.0 * (number - 4))) for number in range(20)}
    score = score_flight([fix(number, 5.0) for number in range(9)], hover)
    assert score.frames_from_motion_to_first_fix == -5


def test_a_flight_that_publishes_nothing_has_no_errors_and_no_availability() -> None:
    score = score_flight([fix(number, None, state=ACQUIRING) for number in range(3)], TRUTH)
    assert (score.frames, score.published, score.availability) == (3, 0, 0.0)
    assert score.median_error_m is None
    assert score.containment is None
    assert score.first_fix_frame is None
    assert score.false_fixes == 0


def test_frames_without_truth_are_left_out() -> None:
    known = {name: place for name, place in TRUTH.items() if name != "0002"}
    score = score_flight([fix(1, 10.0), fix(2, 500.0), fix(3, 10.0)], known)
    assert (score.frames, score.published, score.false_fixes) == (2, 2, 0)


def test_fixes_of_another_flight_are_refused() -> None:
    with pytest.raises(SourceError, match="are they of one flight"):
        score_flight([fix(1, 10.0)], {"else.jpg": true_place(0.0)})
    with pytest.raises(SourceError, match="are they of one flight"):
        score_frames([fix(1, 10.0)], {"else.jpg": true_place(0.0)})


# Frames


def seen(number: int, *errors_m: float) -> Fix:
    """A frame whose matches lie these distances east of the ground truly viewed."""
    matches = []
    for error_m in errors_m:
        latitude, longitude = FRAME.to_geodetic([10.0 * number + error_m, 80.0])
        matches.append(MatchedPlace(float(latitude), float(longitude), 5.0))
    return Fix(f"{number:04d}", 0.0, ACQUIRING, "", viewed_matches=tuple(matches))


VIEWED_TRUTH = {f"{number:04d}": true_place(10.0 * number, 80.0) for number in range(20)}


def test_recall_is_of_the_viewed_ground_point_at_50_m() -> None:
    fixes = [
        seen(0, 10.0, 500.0),
        seen(1, 300.0, 400.0, 49.0),
        seen(2, 51.0, 600.0, 600.0, 600.0, 600.0, 1.0),
        seen(3, -40.0),
    ]
    score = score_frames(fixes, VIEWED_TRUTH)
    assert score is not None
    assert score.frames == 4
    assert score.recall_at_1 == pytest.approx(2 / 4)
    # The sixth match of frame 2 does not count.
    assert score.recall_at_5 == pytest.approx(3 / 4)
    assert score.median_error_m == pytest.approx((40.0 + 51.0) / 2, abs=0.01)


def test_frames_without_matches_do_not_count() -> None:
    score = score_frames([fix(0, None), seen(1, 10.0)], VIEWED_TRUTH)
    assert score is not None
    assert (score.frames, score.recall_at_1) == (1, 1.0)
    assert score_frames([fix(0, 5.0)], VIEWED_TRUTH) is None


def test_frames_before_the_first_asked_for_are_left_out() -> None:
    fixes = [seen(1, 500.0), seen(2, 10.0)]
    score = score_frames(fixes, VIEWED_TRUTH, first_frame="0002")
    assert score is not None
    assert (score.frames, score.recall_at_1) == (1, 1.0)


# For people and machines


def test_the_report_says_what_counts() -> None:
    flight = score_flight([fix(0, 10.0), fix(1, 200.0, 20.0, resets=2)], TRUTH)
    report = score_report(score_frames([seen(0, 10.0)], VIEWED_TRUTH), flight)
    assert "1 views: R@1 1.000, R@5 1.000 at 50 m, median 10.0 m" in report
    assert "2 frames, 2 with a position, 2 relocalisations" in report
    assert "contained 0.500" in report
    assert "false     1 fixes" in report


def test_the_report_of_a_silent_flight_is_short() -> None:
    flight = score_flight([fix(0, None, state=ACQUIRING)], TRUTH)
    assert score_report(None, flight) == "flight    1 frames: no position published"


def test_the_score_is_plain_json() -> None:
    flight = score_flight([fix(0, 10.0), fix(1, 200.0, 20.0)], TRUTH)
    frames = score_frames([seen(0, 10.0)], VIEWED_TRUTH)
    text = json.dumps(score_json(frames, flight), allow_nan=False)
    assert json.loads(text)["flight"]["published"] == 2
    assert json.loads(text)["frames"]["recall_at_1"] == 1.0
    assert score_json(None, flight)["frames"] is None
