from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pymavlink", reason="needs the mavlink extra")

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_runtime.contract.errors import ConfigError
from edge_runtime.mavlink.link import MavlinkConfig, open_link
from edge_runtime.mounting import FIXED, GIMBAL, Mounting
from edge_runtime.telemetry.log import TelemetrySample
from edge_runtime.telemetry.mavlink_telemetry import MavlinkTelemetry, MavlinkTelemetryConfig
from edge_runtime.telemetry.orientation import quaternion_of_angles
from tests.simulated_autopilot import SimulatedAutopilot, autopilot_on_udp
from tests.waiting import wait_until

ON_GIMBAL = Mounting(GIMBAL, 0.0, 0.0, 0.0)
FORWARD_LOOKING = Mounting(FIXED, 0.0, -30.0, 0.0)
EARTH, VEHICLE = 64, 32
DOWN = 25


@dataclass
class Wire:
    """A link whose messages a test hands over itself; its autopilot booted 100 s before time 0."""

    dialect: Any = mavlink
    target: tuple[int, int] | None = (1, 1)
    is_synced: bool = True
    handlers: list[Callable[[Any, float], None]] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)

    def listen(self, handler: Callable[[Any, float], None]) -> None:
        self.handlers.append(handler)

    def send(self, message: Any) -> bytes:
        self.sent.append(message)
        return b"sent"

    def monotonic_s_of(self, autopilot_time_us: int) -> float | None:
        return autopilot_time_us / 1e6 - 100.0 if self.is_synced else None

    def bring(self, message: Any, received_s: float, component: int = 1) -> None:
        codec = mavlink.MAVLink(None, srcSystem=1, srcComponent=component)
        decoded = codec.decode(bytearray(message.pack(codec)))
        for handler in self.handlers:
            handler(decoded, received_s)


def stamp_ms(time_s: float) -> int:
    return round((time_s + 100.0) * 1000)


def attitude(time_s: float, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Any:
    angles = (math.radians(angle) for angle in (roll, pitch, yaw))
    return mavlink.MAVLink_attitude_message(stamp_ms(time_s), *angles, 0.0, 0.0, 0.0)


def gimbal(time_s: float, yaw: float, pitch: float, flags: int) -> Any:
    quaternion = list(quaternion_of_angles(yaw, pitch, 0.0))
    return mavlink.MAVLink_gimbal_device_attitude_status_message(
        0, 0, stamp_ms(time_s), flags, quaternion, 0.0, 0.0, 0.0, 0
    )


def altitude(time_s: float, relative: float, terrain: float = float("nan")) -> Any:
    return mavlink.MAVLink_altitude_message(
        stamp_ms(time_s) * 1000, 0.0, 500.0, 0.0, relative, terrain, -1.0
    )


def position(time_s: float, relative: float, lat: int = 473977418, lon: int = 85455939) -> Any:
    return mavlink.MAVLink_global_position_int_message(
        stamp_ms(time_s), lat, lon, 500_000, round(relative * 1000), 1234, -567, 0, 9000
    )


def distance(time_s: float, metres: float, direction: int = DOWN, number: int = 0) -> Any:
    return mavlink.MAVLink_distance_sensor_message(
        stamp_ms(time_s), 20, 5000, round(metres * 100), 0, number, direction, 0
    )


def telemetry_of(
    wire: Wire, mounting: Mounting = FORWARD_LOOKING, **settings: Any
) -> MavlinkTelemetry:
    config = MavlinkTelemetryConfig(**{"request_rate_hz": 0.0, **settings})
    return MavlinkTelemetry(wire, config, mounting)  # type: ignore[arg-type]


def known(sample: TelemetrySample | None) -> TelemetrySample:
    assert sample is not None
    return sample


# Attitude


def test_attitude_is_interpolated_to_the_exposure() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0, yaw=350.0, pitch=2.0), 10.03)
    wire.bring(attitude(10.1, yaw=10.0, pitch=4.0), 10.13)
    sample = known(telemetry.at(10.05))
    assert ((sample.heading_deg or 0.0) + 180.0) % 360.0 == pytest.approx(180.0, abs=0.1)
    assert sample.pitch_deg == pytest.approx(-27.0, abs=0.1)
    assert sample.time_s == 10.05
    assert sample.height_m is None


def test_messages_count_from_their_stamp_where_the_clock_is_known() -> None:
    for is_synced, heading_deg in ((True, 50.0), (False, 40.0)):
        wire = Wire(is_synced=is_synced)
        telemetry = telemetry_of(wire)
        for number in range(5):
            wire.bring(attitude(10.0 + number / 10, yaw=10.0 * number), 10.1 + number / 10)
        expected = heading_deg - 20.0
        assert known(telemetry.at(10.3)).heading_deg == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("stamp_s", [-99.0, 5.0, 30.0])
def test_an_impossible_stamp_gives_way_to_the_arrival(stamp_s: float) -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(stamp_s, yaw=77.0), 10.0)
    assert known(telemetry.at(10.0)).heading_deg == pytest.approx(77.0, abs=1e-3)
    assert telemetry.age_s(10.0) == 0.0


def test_an_attitude_is_held_for_a_short_while_and_then_is_none() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, longest_attitude_age_s=0.3)
    assert telemetry.at(10.0) is None
    assert telemetry.age_s(10.0) == float("inf")
    wire.bring(attitude(10.0), 10.0)
    assert telemetry.at(9.6) is None
    assert telemetry.at(9.75) is not None
    assert telemetry.at(10.25) is not None
    assert telemetry.at(10.35) is None
    assert telemetry.age_s(10.35) == pytest.approx(0.35)
    wire.bring(attitude(20.0), 20.0)
    assert telemetry.at(15.0) is None


def test_both_attitude_messages_say_the_same() -> None:
    samples = []
    for message in (
        attitude(10.0, yaw=30.0, pitch=10.0, roll=-20.0),
        mavlink.MAVLink_attitude_quaternion_message(
            stamp_ms(10.0), *quaternion_of_angles(30.0, 10.0, -20.0), 0.0, 0.0, 0.0
        ),
    ):
        wire = Wire()
        telemetry = telemetry_of(wire)
        wire.bring(message, 10.0)
        samples.append(known(telemetry.at(10.0)))
    assert samples[0].pitch_deg == pytest.approx(samples[1].pitch_deg, abs=1e-4)
    assert samples[0].heading_deg == pytest.approx(samples[1].heading_deg, abs=1e-4)
    assert samples[0].roll_deg == pytest.approx(samples[1].roll_deg, abs=1e-4)


def test_a_fixed_camera_that_looks_down_leans_as_the_drone_does() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, Mounting())
    wire.bring(attitude(10.0, yaw=90.0, pitch=5.0), 10.0)
    wire.bring(attitude(20.0, yaw=90.0, roll=5.0), 20.0)
    nose_up, right_wing_down = known(telemetry.at(10.0)), known(telemetry.at(20.0))
    assert (nose_up.heading_deg, nose_up.pitch_deg) == pytest.approx((90.0, -85.0))
    # Its right wing low, an eastbound drone's belly faces north.
    assert right_wing_down.pitch_deg == pytest.approx(-85.0)
    rotation = known(replace(right_wing_down, height_m=1.0)).pose.attitude.rotation  # type: ignore[union-attr]
    lean = math.sin(math.radians(5.0))
    assert rotation[2] == pytest.approx([0.0, lean, -math.cos(math.radians(5.0))], abs=1e-6)
    assert rotation[1] == pytest.approx([-1.0, 0.0, 0.0], abs=1e-6)


def test_swaying_about_straight_down_never_turns_the_picture() -> None:
    """By its angles, halfway from a lean to the left to one to the right may be any heading."""
    wire = Wire()
    telemetry = telemetry_of(wire, Mounting())
    wire.bring(attitude(10.0, roll=-3.0), 10.0)
    wire.bring(attitude(10.1, roll=3.0), 10.1)
    for time_s in np.linspace(10.0, 10.1, 21):
        sample = known(telemetry.at(float(time_s)))
        picture_down = known(replace(sample, height_m=1.0)).pose.attitude.rotation[1]  # type: ignore[union-attr]
        assert picture_down == pytest.approx([0.0, -1.0, 0.0], abs=1e-6)


def test_without_trust_in_the_compass_the_heading_is_unknown() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, use_heading=False)
    wire.bring(attitude(10.0, yaw=40.0, pitch=3.0), 10.0)
    sample = known(telemetry.at(10.0))
    assert sample.heading_deg is None
    assert sample.pitch_deg == pytest.approx(-27.0, abs=1e-4)
    assert sample.pose is None


# Gimbal


def test_a_gimbal_in_the_earth_frame_needs_no_vehicle() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, ON_GIMBAL)
    wire.bring(gimbal(10.0, yaw=120.0, pitch=-50.0, flags=EARTH), 10.0, component=154)
    sample = known(telemetry.at(10.0))
    assert (sample.heading_deg, sample.pitch_deg) == pytest.approx((120.0, -50.0), abs=1e-3)


def test_a_gimbal_in_the_vehicle_frame_turns_with_the_vehicle_at_the_exposure() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, ON_GIMBAL)
    for number in range(11):
        wire.bring(attitude(10.0 + number / 50, yaw=10.0 * number, roll=15.0), 10.0 + number / 50)
    wire.bring(gimbal(10.0, yaw=20.0, pitch=-50.0, flags=VEHICLE), 10.0, component=154)
    wire.bring(gimbal(10.2, yaw=20.0, pitch=-50.0, flags=VEHICLE), 10.2, component=154)
    sample = known(telemetry.at(10.11))
    assert (sample.heading_deg, sample.pitch_deg) == pytest.approx((75.0, -50.0), abs=1e-2)
    assert sample.roll_deg == pytest.approx(0.0, abs=1e-2)


@pytest.mark.parametrize(("flags", "heading_deg"), [(16, 20.0), (0, 110.0)])
def test_an_old_gimbal_says_by_its_yaw_lock_which_frame_it_means(
    flags: int, heading_deg: float
) -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, ON_GIMBAL)
    wire.bring(attitude(10.0, yaw=90.0), 10.0)
    wire.bring(gimbal(10.0, yaw=20.0, pitch=-50.0, flags=flags), 10.0)
    assert known(telemetry.at(10.0)).heading_deg == pytest.approx(heading_deg, abs=1e-3)


def test_a_gimbal_relative_to_an_unknown_vehicle_leaves_the_heading_unknown() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, ON_GIMBAL)
    wire.bring(gimbal(10.0, yaw=20.0, pitch=-50.0, flags=VEHICLE), 10.0)
    sample = known(telemetry.at(10.0))
    assert sample.heading_deg is None
    assert sample.pitch_deg == pytest.approx(-50.0, abs=1e-3)


def test_a_silent_gimbal_is_not_replaced_by_the_vehicles_attitude() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, ON_GIMBAL)
    wire.bring(gimbal(9.0, yaw=0.0, pitch=-50.0, flags=EARTH), 9.0)
    wire.bring(attitude(10.0), 10.0)
    assert telemetry.at(10.0) is None
    assert telemetry.age_s(10.0) == pytest.approx(1.0)


def test_of_two_gimbals_the_first_is_followed_until_it_falls_silent() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, ON_GIMBAL)
    for number in range(20):
        wire.bring(gimbal(10.0 + number / 10, 10.0, -50.0, EARTH), 10.0 + number / 10, 154)
        wire.bring(gimbal(10.05 + number / 10, 99.0, -10.0, EARTH), 10.05 + number / 10, 171)
    assert known(telemetry.at(11.02)).heading_deg == pytest.approx(10.0, abs=1e-3)
    wire.bring(gimbal(15.0, 99.0, -10.0, EARTH), 15.0, 171)
    assert known(telemetry.at(15.0)).heading_deg == pytest.approx(99.0, abs=1e-3)


def test_mounting_offsets_turn_what_the_gimbal_says() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, Mounting(GIMBAL, 8.0, -4.0, 1.0))
    wire.bring(gimbal(10.0, yaw=120.0, pitch=-50.0, flags=EARTH), 10.0)
    sample = known(telemetry.at(10.0))
    assert (sample.heading_deg, sample.pitch_deg, sample.roll_deg) == pytest.approx(
        (128.0, -54.0, 1.0), abs=1e-3
    )


# Height


def test_the_nearest_measure_of_the_ground_is_the_height() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0), 10.0)

    def height() -> tuple[str | None, float | None]:
        return telemetry.height_source(10.0), known(telemetry.at(10.0)).height_m

    assert height() == (None, None)
    wire.bring(position(10.0, 41.0), 10.0)
    assert height() == ("relative_alt", 41.0)
    wire.bring(altitude(10.0, relative=42.0), 10.0)
    assert height() == ("altitude_relative", 42.0)
    wire.bring(altitude(10.01, relative=42.0, terrain=43.0), 10.01)
    assert height()[0] == "altitude_relative"  # the unknown terrain is the nearer in time
    wire.bring(altitude(10.02, relative=42.0, terrain=43.0), 10.02)
    assert telemetry.height_source(10.02) == "terrain"
    wire.bring(distance(10.0, 44.0), 10.0)
    assert height() == ("distance_sensor", 44.0)


def test_a_distance_is_corrected_for_the_vehicles_tilt() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0, pitch=20.0, roll=10.0), 10.0)
    wire.bring(distance(10.0, 40.0), 10.0)
    expected = 40.0 * math.cos(math.radians(20.0)) * math.cos(math.radians(10.0))
    assert known(telemetry.at(10.0)).height_m == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "message",
    [
        distance(10.0, 50.0),  # its very maximum is what many sensors say of nothing
        distance(10.0, 0.2),
        distance(10.0, 0.0),
        distance(10.0, 30.0, direction=0),
    ],
)
def test_a_distance_out_of_range_or_not_downward_is_no_height(message: Any) -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0), 10.0)
    wire.bring(position(10.0, 41.0), 10.0)
    wire.bring(message, 10.0)
    assert telemetry.height_source(10.0) == "relative_alt"


def test_a_steeply_banked_beam_is_no_height() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0, roll=45.0), 10.0)
    wire.bring(distance(10.0, 30.0), 10.0)
    assert telemetry.height_source(10.0) is None


def test_a_sensor_that_leaves_its_range_is_not_held() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0), 10.0)
    wire.bring(position(10.0, 48.0), 10.0)
    wire.bring(distance(10.0, 49.0), 10.0)
    wire.bring(distance(10.1, 50.0), 10.1)
    wire.bring(attitude(10.2), 10.2)
    assert telemetry.height_source(10.0) == "distance_sensor"
    assert telemetry.height_source(10.2) == "relative_alt"


def test_an_old_height_is_unknown() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire, longest_height_age_s=1.0)
    wire.bring(position(10.0, 41.0), 10.0)
    wire.bring(attitude(12.0), 12.0)
    assert known(telemetry.at(12.0)).height_m is None


# What is not believed


def test_the_autopilots_own_position_changes_nothing() -> None:
    samples = []
    for lat, lon in ((473977418, 85455939), (-338688197, 1512092955), (0, 0)):
        wire = Wire()
        telemetry = telemetry_of(wire)
        wire.bring(attitude(10.0, yaw=20.0), 10.0)
        wire.bring(position(10.0, 41.0, lat, lon), 10.0)
        samples.append(known(telemetry.at(10.0)))
    assert samples[0] == samples[1] == samples[2]
    assert samples[0].height_m == 41.0
    assert samples[0].velocity_east_m_s is None


def test_velocity_is_taken_only_from_the_source_that_is_named() -> None:
    expected = {"none": None, "global_position_int": -5.67, "local_position_ned": 3.0}
    for source, east_m_s in expected.items():
        wire = Wire()
        telemetry = telemetry_of(wire, velocity=source)
        wire.bring(attitude(10.0), 10.0)
        wire.bring(position(10.0, 41.0), 10.0)
        local = mavlink.MAVLink_local_position_ned_message(
            stamp_ms(10.0), 99.0, 99.0, -40.0, 4.0, 3.0, 0.0
        )
        wire.bring(local, 10.0)
        assert known(telemetry.at(10.0)).velocity_east_m_s == east_m_s


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_counted_and_left_out(value: float) -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0, yaw=30.0), 10.0)
    wire.bring(attitude(10.1, yaw=value), 10.1)
    wire.bring(altitude(10.1, relative=value), 10.1)
    assert telemetry.unusable == 2
    assert known(telemetry.at(10.1)).heading_deg == pytest.approx(30.0, abs=1e-4)


def test_another_components_attitude_is_not_the_vehicles() -> None:
    wire = Wire()
    telemetry = telemetry_of(wire)
    wire.bring(attitude(10.0), 10.0, component=154)
    assert telemetry.at(10.0) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"velocity": "gps"},
        {"longest_attitude_age_s": 0.0},
        {"longest_height_age_s": float("nan")},
        {"request_rate_hz": -1.0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        MavlinkTelemetryConfig(**settings)


# Asking for messages


def test_missing_messages_are_asked_for_ever_more_rarely() -> None:
    wire = Wire()
    telemetry_of(wire, ON_GIMBAL, request_rate_hz=25.0)
    heartbeat = mavlink.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3)
    for second in range(40):
        wire.bring(altitude(float(second), 40.0), float(second))
        wire.bring(heartbeat, float(second))
    asked = [int(message.param1) for message in wire.sent]
    assert mavlink.MAVLINK_MSG_ID_ALTITUDE not in asked
    assert asked.count(mavlink.MAVLINK_MSG_ID_ATTITUDE) == 3  # after 2, 8 and 20 s
    assert asked.count(mavlink.MAVLINK_MSG_ID_GIMBAL_DEVICE_ATTITUDE_STATUS) == 3
    command = next(m for m in wire.sent if m.param1 == mavlink.MAVLINK_MSG_ID_ATTITUDE)
    assert (command.command, command.param2) == (mavlink.MAV_CMD_SET_MESSAGE_INTERVAL, 40_000.0)
    assert (command.target_system, command.target_component) == (1, 1)


def test_nothing_is_asked_where_the_rate_is_nought() -> None:
    wire = Wire()
    telemetry_of(wire)
    for second in range(20):
        wire.bring(mavlink.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3), float(second))
    assert wire.sent == []


# Over a real line


def test_telemetry_follows_a_turning_drone_over_udp() -> None:
    turn_deg_s = 90.0

    def stream(autopilot: SimulatedAutopilot) -> list[Any]:
        now_ms = autopilot.boot_ms
        yaw = math.radians(turn_deg_s * now_ms / 1000.0)
        return [
            mavlink.MAVLink_attitude_message(now_ms, 0.0, 0.0, yaw, 0.0, 0.0, 0.0),
            mavlink.MAVLink_global_position_int_message(now_ms, 0, 0, 0, 60_000, 0, 0, 0, 65535),
        ]

    link = open_link(MavlinkConfig("udpin:127.0.0.1:0"))
    try:
        telemetry = MavlinkTelemetry(link, MavlinkTelemetryConfig(), FORWARD_LOOKING)
        assert link.local_port is not None
        with autopilot_on_udp(link.local_port) as autopilot:
            autopilot.stream = stream
            assert wait_until(lambda: link.is_synced)

            def is_followed() -> bool:
                """Whether a moment that has passed is known to 5 ms, and looking took no longer."""
                moment_s = time.monotonic() - 0.1
                truth_deg = turn_deg_s * (autopilot.clock_ns / 1e9 - (time.monotonic() - moment_s))
                sample = telemetry.at(moment_s)
                if sample is None or sample.heading_deg is None or sample.height_m != 60.0:
                    return False
                return abs((sample.heading_deg - truth_deg + 180.0) % 360.0 - 180.0) < 0.5

            assert wait_until(lambda: all(is_followed() for _ in range(5)))
            assert wait_until(lambda: "COMMAND_LONG" in autopilot.names_heard())
            autopilot.silent = True
            assert wait_until(lambda: telemetry.at(time.monotonic()) is None)
    finally:
        telemetry.close()
        link.close()
