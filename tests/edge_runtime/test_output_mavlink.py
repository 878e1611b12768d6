"""What an autopilot hears of the fixes: by feed, by state, and never a position too many."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.outputs.mavlink_config import ArdupilotMessage, MavlinkOutputConfig
from edge_runtime.outputs.mavlink_messages import status_text
from edge_runtime.outputs.mavlink_origin import north_east_m
from edge_runtime.outputs.mavlink_output import MavlinkOutput
from edge_runtime.outputs.publication import deviation_m, longitude_within_180
from edge_runtime.outputs.utc_clock import UtcClock, gps_week_and_ms

pytest.importorskip("pymavlink", reason="pymavlink is not installed: the extra `mavlink` brings it")

from tests.edge_runtime.peers.autopilot_models import (
    ArdupilotGps,
    ArdupilotPositionReset,
    ArdupilotVisualOdometry,
    Px4AuxiliaryPosition,
)
from tests.edge_runtime.peers.flown_fixes import (
    PLACE,
    VELOCITY,
    Clock,
    KeepingLink,
    fixes,
    lost,
    tracked,
)

FUSED = {"GLOBAL_POSITION_SENSOR", "ODOMETRY", "GPS_INPUT", "COMMAND_INT"}
HARMLESS = {"HEARTBEAT", "STATUSTEXT", "NAMED_VALUE_FLOAT"}
SILENT_STATES = [state for state in IntegrityState if not state.publishes]
WALL_S = 1_790_000_000.0


class Flown:
    """An output with its link, clock and wall clock."""

    def __init__(self, wall_s: float = WALL_S, **config: Any) -> None:
        self.clock = Clock()
        self.link = KeepingLink()
        self.output = MavlinkOutput(
            MavlinkOutputConfig(**config),
            self.link,
            clock=self.clock,
            utc=UtcClock(lambda: wall_s, self.clock),
        )

    def fly(self, *flown: Fix) -> list[Any]:
        """Publish fixes, each 0.12 s after its exposure; the fused messages that left."""
        before = len(self.link.sent)
        for fix in flown:
            self.clock.now_s = fix.time_s + 0.12
            self.output.publish(fix)
        return [m for m in self.link.sent[before:] if m.get_type() in FUSED]

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.now_s += seconds
        self.output.tick(self.clock.now_s)


def odometry_flown(**config: Any) -> Flown:
    flown = Flown(feed="ardupilot", **config)
    flown.link.tell_origin(47.1, 8.6)
    return flown


def test_shadow_mode_is_the_default_and_sends_nothing_that_an_estimator_fuses() -> None:
    flown = Flown()
    for number in range(40):
        flown.fly(tracked(1000.0 + 0.2 * number, reset_counter=number // 10))
        flown.tick()
    assert flown.link.names == HARMLESS
    assert flown.link.of_type("STATUSTEXT")[0].text == "Vision in shadow mode: feeds nothing"


def test_px4_is_fed_a_position_with_its_source_age_and_deviation() -> None:
    flown = Flown(feed="px4", sensor_id=7)
    (message,) = flown.fly(tracked(1000.0))
    assert message.get_type() == "GLOBAL_POSITION_SENSOR"
    assert (message.target_system, message.target_component, message.id) == (1, 1, 7)
    assert (message.lat, message.lon) == (471234560, 86543210)
    assert message.source == 2
    assert message.flags == 0
    assert message.time_usec == 100_120_000
    assert message.processing_time == 120_000
    assert message.eph == pytest.approx(deviation_m(PLACE), rel=1e-6)
    assert all(map(math.isnan, (message.alt, message.alt_ellipsoid, message.epv)))


def test_the_deviation_is_the_worse_of_covariance_and_stated_radius() -> None:
    narrow = replace(PLACE, radius95_m=0.0)
    # Eigenvalues of [[144, 30], [30, 100]]: 122 +- sqrt(22^2 + 30^2).
    assert deviation_m(narrow) == pytest.approx(math.sqrt(122 + math.hypot(22, 30)))
    assert deviation_m(replace(PLACE, radius95_m=244.77)) == pytest.approx(100.0, rel=1e-4)


def test_px4s_rules_admit_what_is_sent_to_it() -> None:
    flown = Flown(feed="px4")
    model = Px4AuxiliaryPosition()
    for number in range(10):
        (message,) = flown.fly(tracked(1000.0 + 0.2 * number))
        arrived_us = flown.link.autopilot_time_us(flown.clock.now_s + 0.005)
        assert arrived_us is not None
        assert model.take(message, arrived_us)
    latitude, longitude, deviation = model.fused[-1]
    assert (latitude, longitude) == pytest.approx((PLACE.latitude_deg, PLACE.longitude_deg))
    assert deviation == pytest.approx(deviation_m(PLACE))


def test_px4s_default_horizon_drops_fixes_that_took_longer_than_the_advised_one_allows() -> None:
    flown = Flown(feed="px4")
    flown.clock.now_s = 1000.35
    flown.output.publish(tracked(1000.0))
    (message,) = flown.link.of_type("GLOBAL_POSITION_SENSOR")
    assert not Px4AuxiliaryPosition().take(message, 100_350_000)
    assert Px4AuxiliaryPosition(delay_max_ms=400.0).take(message, 100_350_000)


def test_while_coasting_the_deviation_grows_or_the_position_stays() -> None:
    coasting = tracked(1000.0, state=IntegrityState.COASTING)
    (message,) = Flown(feed="px4").fly(coasting)
    assert message.eph == pytest.approx(2 * deviation_m(PLACE), rel=1e-6)
    withholding = Flown(feed="px4", coasting="withhold")
    assert withholding.fly(coasting) == []
    assert withholding.output.withheld == {"coasting": 1}


@pytest.mark.parametrize("state", SILENT_STATES)
def test_px4_and_a_gps_hear_nothing_in_a_state_that_does_not_publish(
    state: IntegrityState,
) -> None:
    impossible = tracked(1000.2, state=state)
    assert Flown(feed="px4").fly(lost(1000.0, state), impossible) == []
    for message in ("gps_input", "position_reset"):
        flown = Flown(feed="ardupilot", ardupilot_message=message)
        assert flown.fly(lost(1000.0, state), impossible) == []


@pytest.mark.parametrize("state", SILENT_STATES)
def test_ardupilots_odometry_says_that_it_failed_and_gives_no_number(
    state: IntegrityState,
) -> None:
    flown = odometry_flown()
    (first,) = flown.fly(tracked(1000.0))
    (failed,) = flown.fly(tracked(1000.2, state=state))
    assert first.quality > 0
    assert failed.quality == -1
    assert failed.time_usec == 100_200_000
    assert all(map(math.isnan, (failed.x, failed.y, failed.z, failed.vx, failed.vy, failed.vz)))
    assert not ArdupilotVisualOdometry((47.1, 8.6)).take(failed)
    careless = ArdupilotVisualOdometry((47.1, 8.6), quality_min=-1)
    assert not careless.take(failed)
    assert careless.refused == ["NaN"]


def test_a_broken_engine_feeds_nobody() -> None:
    broken = tracked(1000.0, engine_fault="cosine 0.4")
    assert Flown(feed="px4").fly(broken) == []
    (failed,) = odometry_flown().fly(broken)
    assert failed.quality == -1


def test_an_old_fix_is_not_sent_and_none_twice() -> None:
    flown = Flown(feed="px4")
    assert len(flown.fly(tracked(1000.0), tracked(1000.0), tracked(999.9))) == 1
    flown.clock.now_s = 1002.0
    flown.output.publish(tracked(1000.5))
    assert len(flown.link.of_type("GLOBAL_POSITION_SENSOR")) == 1
    assert flown.output.withheld == {"not newer than the last": 2, "stale": 1}


def test_an_uncertain_position_is_kept_back_and_odometrys_limit_is_narrower() -> None:
    wide = tracked(1000.0, position=replace(PLACE, radius95_m=100.0))
    assert len(Flown(feed="px4").fly(wide)) == 1
    (failed,) = odometry_flown().fly(wide)
    assert failed.quality == -1
    wider = tracked(1000.0, position=replace(PLACE, radius95_m=200.0))
    assert Flown(feed="px4").fly(wider) == []


@pytest.mark.parametrize("feed", ["px4", "ardupilot"])
def test_nothing_is_fed_without_an_autopilot_or_its_clock(feed: Any) -> None:
    flown = Flown(feed=feed)
    flown.link.synced = False
    assert flown.fly(tracked(1000.0)) == []
    flown.link.synced, flown.link.target = True, None
    assert flown.fly(tracked(1000.2)) == []
    assert flown.output.withheld == {"autopilot or its clock unknown": 2}


def test_ardupilot_counts_the_very_place_that_was_meant_from_its_own_origin() -> None:
    flown = odometry_flown()
    model = ArdupilotVisualOdometry((47.1, 8.6))
    far = replace(PLACE, latitude_deg=47.3, longitude_deg=8.9)
    for number, place in enumerate((PLACE, far)):
        (message,) = flown.fly(tracked(1000.0 + number, position=place))
        assert model.take(message)
        latitude, longitude, _ = model.fused[-1]
        assert latitude == pytest.approx(place.latitude_deg, abs=1e-7)
        assert longitude == pytest.approx(place.longitude_deg, abs=1e-7)
    assert model.velocities == []


def test_odometry_has_the_exposures_time_and_a_covariance_that_states_the_deviation() -> None:
    (message,) = odometry_flown().fly(tracked(1000.0))
    assert message.time_usec == 100_000_000
    assert list(message.q) == [1.0, 0.0, 0.0, 0.0]
    north, both, east = (message.pose_covariance[i] for i in (0, 1, 6))
    longest = (north + east) / 2 + math.hypot((north - east) / 2, both)
    assert math.sqrt(longest) == pytest.approx(deviation_m(PLACE), rel=1e-5)
    assert north / east == pytest.approx(100 / 144, rel=1e-5)
    assert message.pose_covariance[11] == 1e4


def test_odometry_carries_a_velocity_only_where_asked_and_known() -> None:
    flown = odometry_flown(odometry_velocity=True)
    model = ArdupilotVisualOdometry((47.1, 8.6))
    for message in flown.fly(tracked(1000.0), tracked(1000.2, velocity=None)):
        assert model.take(message)
    assert model.velocities == [(-4.0, 3.0)]


def test_odometry_waits_for_the_origin_asks_for_it_and_gives_one_only_if_told_to() -> None:
    flown = Flown(feed="ardupilot", origin=(47.0, 8.5, 431.0))
    assert flown.fly(tracked(1000.0)) == []
    assert flown.output.withheld == {"autopilot's origin unknown": 1}
    flown.tick()
    (request,) = flown.link.of_type("COMMAND_LONG")
    assert (request.command, request.param1) == (512, 49.0)
    assert flown.link.of_type("SET_GPS_GLOBAL_ORIGIN") == []
    flown.tick(2.5)
    (given_one,) = flown.link.of_type("SET_GPS_GLOBAL_ORIGIN")
    assert (given_one.latitude, given_one.longitude) == (470000000, 85000000)
    assert given_one.altitude == 431_000
    flown.link.tell_origin(47.1, 8.6)
    assert len(flown.fly(tracked(1010.0))) == 1
    flown.tick(2.5)
    assert len(flown.link.of_type("SET_GPS_GLOBAL_ORIGIN")) == 1


def test_an_origin_that_is_known_is_asked_for_again_and_followed_when_it_moved() -> None:
    flown = odometry_flown(origin=(47.0, 8.5, 431.0))
    flown.tick()
    for _ in range(40):
        flown.tick(0.5)
    assert len(flown.link.of_type("COMMAND_LONG")) == 3
    assert flown.link.of_type("SET_GPS_GLOBAL_ORIGIN") == []
    flown.link.tell_origin(0.0, 0.0)
    flown.link.tell_origin(47.2, 8.7)
    (message,) = flown.fly(tracked(1030.0))
    assert (message.x, message.y) == pytest.approx(north_east_m((47.2, 8.7), PLACE), abs=1e-2)


def test_a_place_across_the_antimeridian_is_near_its_origin() -> None:
    place = replace(PLACE, latitude_deg=0.0, longitude_deg=-179.99)
    assert north_east_m((0.0, 179.99), place) == pytest.approx((0.0, 2226.4), abs=0.1)
    place = replace(PLACE, latitude_deg=0.0, longitude_deg=179.99)
    assert north_east_m((0.0, -179.99), place) == pytest.approx((0.0, -2226.4), abs=0.1)


def test_a_position_that_no_local_frame_reaches_is_not_odometry() -> None:
    flown = odometry_flown()
    assert flown.fly(tracked(1000.0, position=replace(PLACE, latitude_deg=-47.0))) == []
    assert flown.output.withheld == {"too far from the autopilot's origin": 1}


@pytest.mark.parametrize(("feed", "own", "other"), [("px4", 12, 3), ("ardupilot", 3, 12)])
def test_an_autopilot_of_another_make_is_not_fed(feed: Any, own: int, other: int) -> None:
    flown = odometry_flown() if feed == "ardupilot" else Flown(feed=feed)
    heartbeat = flown.link.dialect.MAVLink_heartbeat_message
    flown.link.tell(heartbeat(2, other, 0, 0, 4, 3))
    assert flown.fly(tracked(1000.0)) == []
    flown.tick(2.5)
    told = [message.text for message in flown.link.of_type("STATUSTEXT")]
    assert "Vision feeds nothing: another autopilot" in told
    flown.link.tell(heartbeat(2, own, 0, 0, 4, 3))
    assert len(flown.fly(tracked(1010.0))) == 1


def test_shadow_mode_and_px4_never_set_an_origin() -> None:
    for feed in ("shadow", "px4"):
        flown = Flown(feed=feed, origin=(47.0, 8.5, 431.0))
        for _ in range(5):
            flown.tick(2.5)
        assert flown.link.names <= HARMLESS


@pytest.mark.parametrize("sign", ["autopilot_restarts", "timesync_resets"])
def test_after_the_autopilot_restarts_its_old_origin_counts_no_more(sign: str) -> None:
    flown = odometry_flown()
    assert len(flown.fly(tracked(1000.0))) == 1
    setattr(flown.link.counters, sign, 1)
    flown.link.boot_s = 1000.0
    assert flown.fly(tracked(1000.2)) == []
    flown.link.tell_origin(47.2, 8.7)
    (message,) = flown.fly(tracked(1000.4))
    assert (message.x, message.y) == pytest.approx(north_east_m((47.2, 8.7), PLACE), abs=1e-2)


def test_a_new_track_raises_the_reset_counter_which_wraps_at_a_byte() -> None:
    flown = odometry_flown()
    messages = flown.fly(
        *(
            tracked(1000.0 + 0.2 * number, reset_counter=counter)
            for number, counter in enumerate((0, 1, 255, 256, 257))
        )
    )
    assert [message.reset_counter for message in messages] == [0, 1, 255, 0, 1]
    model = ArdupilotVisualOdometry((47.1, 8.6))
    assert all(model.take(message) for message in messages)
    assert model.resets == 4


def test_slow_odometry_is_warned_of_once_a_minute() -> None:
    flown = odometry_flown(status_interval_s=0.0)
    for number in range(60):
        flown.fly(tracked(1000.0 + 0.5 * number))
        flown.tick()
    texts = [message.text for message in flown.link.of_type("STATUSTEXT")]
    assert texts.count("Vision below the 4 Hz that odometry needs") == 1


def test_a_gps_is_fed_only_with_the_filters_velocity() -> None:
    flown = Flown(feed="ardupilot", ardupilot_message="gps_input")
    model = ArdupilotGps()
    (message,) = flown.fly(tracked(1000.0), tracked(1000.2, velocity=None))
    assert model.take(message)
    assert model.velocities == [(-4.0, 3.0)]
    assert flown.output.withheld == {"no velocity": 1}
    assert message.horiz_accuracy == pytest.approx(deviation_m(PLACE), rel=1e-6)
    assert message.speed_accuracy == 0.5
    assert message.satellites_visible == 0
    assert message.ignore_flags == 1 | 2 | 4 | 16 | 128
    week, week_ms = gps_week_and_ms(WALL_S - 0.12)
    assert (message.time_week, message.time_week_ms) == (week, week_ms)


def test_a_gps_is_not_fed_by_a_clock_that_was_never_set() -> None:
    flown = Flown(wall_s=1000.0, feed="ardupilot", ardupilot_message="gps_input")
    assert flown.fly(tracked(1000.0)) == []
    assert flown.output.withheld == {"no UTC": 1}


def test_gps_weeks_start_on_the_sixth_of_january_1980_and_know_the_leap_seconds() -> None:
    assert gps_week_and_ms(315964800.0 - 18.0) == (0, 0)
    # 2026-11-22 00:00:00 UTC is a Sunday: 2446 weeks and 18 s after the epoch.
    assert gps_week_and_ms(1_795_305_600.0) == (2446, 18_000)


def test_position_resets_are_sparse_and_follow_a_new_track_at_once() -> None:
    flown = Flown(feed="ardupilot", ardupilot_message="position_reset", position_reset_s=10.0)
    model = ArdupilotPositionReset()
    counters = [0] * 30 + [1] * 70
    messages = flown.fly(
        *(tracked(1000.0 + 0.2 * n, reset_counter=counter) for n, counter in enumerate(counters))
    )
    assert [message.param1 for message in messages] == pytest.approx(
        [100.12, 106.12, 116.12], abs=0.01
    )
    assert all(model.take(message) for message in messages)
    assert model.accepted[0] == pytest.approx(
        (PLACE.latitude_deg, PLACE.longitude_deg, deviation_m(PLACE))
    )
    assert messages[0].param2 == pytest.approx(0.12)
    assert flown.fly(tracked(1100.0, state=IntegrityState.COASTING)) == []


def test_the_answers_to_position_resets_are_counted() -> None:
    flown = Flown(feed="ardupilot", ardupilot_message="position_reset")
    flown.link.tell(flown.link.dialect.MAVLink_command_ack_message(43003, 2))
    assert flown.output.answers == {2: 1}


def test_a_reset_that_reached_nobody_is_told_again() -> None:
    flown = Flown(feed="ardupilot", ardupilot_message="position_reset")
    flown.link.reachable = False
    assert flown.fly(tracked(1000.0)) == []
    flown.link.reachable = True
    assert len(flown.fly(tracked(1000.2))) == 1


def test_what_is_not_sent_is_not_logged_as_sent() -> None:
    flown = Flown(feed="px4")
    flown.link.reachable = False
    flown.clock.now_s = 1000.1
    assert flown.output.publish(tracked(1000.0)) == []
    flown.link.reachable = True
    sent = flown.output.publish(tracked(1000.05))
    assert sent[0].name == "GLOBAL_POSITION_SENSOR"
    assert sent[0].payload.startswith(b"\xfd")
    assert (sent[0].output, sent[0].time_s) == ("mavlink", 1000.1)


def test_the_heartbeat_is_once_a_second_and_tells_how_it_goes() -> None:
    flown = Flown()
    for _ in range(25):
        flown.tick(0.2)
    assert len(flown.link.of_type("HEARTBEAT")) == 5
    beats = []
    for number, state in enumerate(
        (IntegrityState.TRACKING, IntegrityState.LOST, IntegrityState.FAULT)
    ):
        flown.fly(tracked(1010.0 + 2 * number, state=state))
        flown.tick(1.0)
        beats.append(flown.link.of_type("HEARTBEAT")[-1])
    states = [flown.link.of_type("HEARTBEAT")[0], *beats]
    assert [beat.system_status for beat in states] == [1, 4, 3, 5]
    assert {(beat.type, beat.autopilot) for beat in states} == {(18, 8)}
    assert {beat.get_srcComponent() for beat in states} == {197}


def test_a_flapping_state_is_told_no_more_often_than_is_readable() -> None:
    flown = Flown(status_interval_s=2.0)
    for number in range(100):
        state = (IntegrityState.TRACKING, IntegrityState.COASTING)[number % 2]
        flown.fly(tracked(1000.0 + 0.2 * number, state=state))
        flown.tick()
    assert 2 <= len(flown.link.of_type("STATUSTEXT")) <= 11


def test_a_change_is_told_with_its_severity_and_steadiness_is_not() -> None:
    flown = Flown(status_interval_s=0.0)
    flown.fly(tracked(1000.0))
    flown.fly(*(tracked(1000.2 + 0.2 * n) for n in range(20)))
    flown.fly(lost(1010.0), lost(1011.0))
    flown.fly(tracked(1012.0, reset_counter=1), tracked(1013.0, engine_fault="cosine 0.4"))
    told = [(m.severity, m.text) for m in flown.link.of_type("STATUSTEXT")]
    assert told == [
        (5, "Vision in shadow mode: feeds nothing"),
        (6, "Vision TRACKING +-32 m"),
        (4, "Vision LOST: recent views contradict"),
        (6, "Vision TRACKING +-32 m, reset 1"),
        (3, "Vision engine fault: cosine 0.4"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"coasting_growth": 0.5},
        {"largest_deviation_m": -1.0},
        {"sensor_id": 0},
        {"gps_id": 256},
        {"position_reset_s": 0.0},
        {"origin": (91.0, 0.0, 0.0)},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"outputs\.mavlink"):
        MavlinkOutputConfig(**wrong)


feeds = st.sampled_from(
    [("shadow", "odometry"), ("px4", "odometry")]
    + [("ardupilot", message) for message in get_args(ArdupilotMessage)]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(fixes(), min_size=1, max_size=4), feeds, st.booleans())
def test_whatever_the_fix_messages_are_valid_and_no_position_leaves_that_may_not(
    flown_fixes: list[Fix], feed: tuple[Any, Any], withholds: bool
) -> None:
    flown = Flown(
        feed=feed[0],
        ardupilot_message=feed[1],
        coasting="withhold" if withholds else "feed",
        odometry_velocity=True,
        largest_deviation_m=1e9,
    )
    flown.link.tell_origin(-33.0, 179.9)
    exposures = []
    for fix in flown_fixes:
        before = len(flown.link.sent)
        flown.output.publish(fix)
        for message in flown.link.sent[before:]:
            if message.get_type() not in FUSED:
                continue
            assert feed[0] != "shadow"
            exposures.append(fix.time_s)
            if message.get_type() == "ODOMETRY" and message.quality < 0:
                assert math.isnan(message.x)
                continue
            assert fix.state.publishes
            assert not fix.engine_fault
            assert not (withholds and fix.state is IntegrityState.COASTING)
            assert fix.position is not None
            assert flown.clock.now_s - fix.time_s <= 1.0
            _assert_same_place(message, fix.position)
    assert exposures == sorted(set(exposures))
    flown.tick(10.0)


def _assert_same_place(message: Any, position: Position) -> None:
    if message.get_type() == "ODOMETRY":
        assert all(math.isfinite(value) for value in (message.x, message.y, message.z))
        expected = north_east_m((-33.0, 179.9), position)
        assert (message.x, message.y) == pytest.approx(expected, rel=1e-6, abs=1e-3)
        return
    if message.get_type() == "COMMAND_INT":
        latitude, longitude, deviation = message.x, message.y, message.param3
    else:
        latitude, longitude = message.lat, message.lon
        is_gps = message.get_type() == "GPS_INPUT"
        deviation = message.horiz_accuracy if is_gps else message.eph
    assert latitude / 1e7 == pytest.approx(position.latitude_deg, abs=5.1e-8)
    assert longitude / 1e7 == pytest.approx(
        longitude_within_180(position.longitude_deg), abs=5.1e-8
    )
    assert abs(longitude) <= 1_800_000_000
    assert 0.0 < deviation < math.inf


@given(st.floats(-85.0, 85.0), st.floats(-180.0, 180.0), st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_local_positions_turn_back_into_the_same_place_by_ardupilots_rule(
    latitude_deg: float, longitude_deg: float, north_deg: float, east_deg: float
) -> None:
    place = replace(
        PLACE,
        latitude_deg=latitude_deg + north_deg,
        longitude_deg=longitude_within_180(longitude_deg + east_deg),
    )
    model = ArdupilotVisualOdometry((latitude_deg, longitude_deg))
    back = model._location(*north_east_m((latitude_deg, longitude_deg), place))
    assert back[0] == pytest.approx(place.latitude_deg, abs=1e-9)
    turn = (back[1] - place.longitude_deg + 180.0) % 360.0 - 180.0
    assert turn == pytest.approx(0.0, abs=1e-9)


_word = st.integers(-(2**31), 2**31 - 1)


@given(_word, _word, st.integers(0, 255), st.integers(0, 65535), st.integers(0, 255))
def test_whatever_the_autopilot_says_the_output_goes_on(
    latitude: int, longitude: int, kind: int, command: int, result: int
) -> None:
    flown = Flown(feed="ardupilot")
    dialect = flown.link.dialect
    flown.link.tell(dialect.MAVLink_gps_global_origin_message(latitude, longitude, 0))
    flown.link.tell(dialect.MAVLink_command_ack_message(command, result))
    flown.link.tell(dialect.MAVLink_heartbeat_message(2, kind, 0, 0, 4, 3))
    flown.tick()
    for message in flown.fly(tracked(1000.0)):
        assert kind != 12
        assert abs(latitude) <= 900_000_000
        assert math.hypot(message.x, message.y) <= 500_001.0


def test_velocity_that_is_no_number_is_none() -> None:
    flown = Flown(feed="ardupilot", ardupilot_message="gps_input")
    assert flown.fly(tracked(1000.0, velocity=replace(VELOCITY, east_m_s=math.nan))) == []


def test_a_status_text_that_is_too_long_ends_with_a_whole_word() -> None:
    dialect = KeepingLink().dialect
    told = status_text(dialect, 6, "Vision ACQUIRING: no place on the map stands out yet").text
    assert told == "Vision ACQUIRING: no place on the map stands out.."
    assert status_text(dialect, 6, "x" * 50).text == "x" * 50
    assert status_text(dialect, 6, "x" * 51).text == "x" * 48 + ".."
