"""Anything may come down the line: the link counts it and goes on."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("pymavlink", reason="needs the mavlink extra")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymavlink.dialects.v20 import ardupilotmega as mavlink

from edge_runtime.mavlink.framing import FrameCutter
from edge_runtime.mavlink.link import MavlinkConfig, MavlinkLink
from edge_runtime.mavlink.signing import open_codec
from edge_runtime.telemetry.mavlink_telemetry import MavlinkTelemetry, MavlinkTelemetryConfig

CODEC = mavlink.MAVLink(None, srcSystem=1, srcComponent=1)
NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 1.0, -1.0, float("nan"), float("inf")])
SIGNED_16 = st.integers(-(2**15), 2**15 - 1)
UNSIGNED_16 = st.integers(0, 2**16 - 1)
SIGNED_32 = st.integers(-(2**31), 2**31 - 1)
STAMPS = st.integers(0, 2**32 - 1)
SHORT = st.integers(0, 255)

MESSAGES = st.one_of(
    st.builds(mavlink.MAVLink_heartbeat_message, SHORT, SHORT, SHORT, STAMPS, SHORT, SHORT),
    st.builds(mavlink.MAVLink_attitude_message, STAMPS, *[NUMBERS] * 6),
    st.builds(mavlink.MAVLink_attitude_quaternion_message, STAMPS, *[NUMBERS] * 7),
    st.builds(mavlink.MAVLink_altitude_message, st.integers(0, 2**64 - 1), *[NUMBERS] * 6),
    st.builds(
        mavlink.MAVLink_global_position_int_message,
        STAMPS,
        *[SIGNED_32] * 4,
        *[SIGNED_16] * 3,
        UNSIGNED_16,
    ),
    st.builds(
        mavlink.MAVLink_distance_sensor_message,
        STAMPS,
        *[UNSIGNED_16] * 3,
        SHORT,
        SHORT,
        SHORT | st.just(25),
        SHORT,
    ),
    st.builds(
        mavlink.MAVLink_gimbal_device_attitude_status_message,
        SHORT,
        SHORT,
        STAMPS,
        UNSIGNED_16,
        st.lists(NUMBERS, min_size=4, max_size=4),
        *[NUMBERS] * 3,
        STAMPS,
    ),
    st.builds(mavlink.MAVLink_local_position_ned_message, STAMPS, *[NUMBERS] * 6),
    st.builds(mavlink.MAVLink_timesync_message, *[st.integers(-(2**63), 2**63 - 1)] * 2),
).map(lambda message: bytes(message.pack(CODEC)))


@pytest.fixture(scope="module")
def link() -> Iterator[MavlinkLink]:
    link = MavlinkLink(MavlinkConfig("udpin:127.0.0.1:0"))
    link._dispatch(_parsed(mavlink.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3)), 0.0)
    yield link
    link.close()


def _parsed(message: Any) -> Any:
    return CODEC.decode(bytearray(message.pack(CODEC)))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=80) | MESSAGES, max_size=12), st.randoms(use_true_random=False))
def test_random_and_mutated_bytes_do_no_harm(
    link: MavlinkLink, pieces: list[bytes], chance: random.Random
) -> None:
    telemetry = MavlinkTelemetry(link, MavlinkTelemetryConfig(velocity="local_position_ned"))
    faults = link.counters.listener_faults
    cutter = FrameCutter(link._codec)
    taken = 0
    for piece in pieces:
        data = bytearray(piece)
        if data and chance.random() < 0.5:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        now_s = time.monotonic()
        for message in cutter.take(bytes(data)):
            taken += len(message.get_msgbuf())
            link._dispatch(message, now_s)
        sample = telemetry.at(now_s)
        assert sample is None or sample.is_finite
    fed = sum(map(len, pieces))
    assert taken + cutter.garbage_bytes + cutter.waiting_bytes == fed
    assert link.counters.listener_faults == faults
    telemetry.close()
    link._listeners = ()


@settings(max_examples=100, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=8), st.data())
def test_whole_messages_come_through_however_the_bytes_are_cut(
    frames: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    cutter = FrameCutter(CODEC)
    messages = [
        message
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for message in cutter.take(stream[start:end])
    ]
    assert [bytes(message.get_msgbuf()) for message in messages] == frames
    assert cutter.garbage_bytes == cutter.refused == 0


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.integers(0, 10**6), st.integers(1, 255))
def test_no_altered_message_passes_under_a_key(frame: bytes, place: int, flip: int) -> None:
    key = bytes(range(32))
    sender = open_codec(mavlink, 1, 1, key)
    receiver = FrameCutter(open_codec(mavlink, 1, 197, key))
    message = CODEC.decode(bytearray(frame))
    signed = bytearray(message.pack(sender))
    signed[place % len(signed)] ^= flip
    kinds = [message.get_type() for message in receiver.take(bytes(signed))]
    assert all(kind.startswith("UNKNOWN") for kind in kinds)


def test_a_hundred_thousand_mutations_in_bulk() -> None:
    chance = random.Random(1)
    frame = mavlink.MAVLink_attitude_message(1, 0.1, 0.2, 0.3, 0.0, 0.0, 0.0).pack(CODEC)
    cutter = FrameCutter(CODEC)
    for _ in range(100_000):
        data = bytearray(frame)
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cutter.take(bytes(data))
    assert cutter.garbage_bytes > 0
    assert cutter.waiting_bytes < 600
    cutter.take(bytes(600))
    assert [m.get_type() for m in cutter.take(bytes(frame))] == ["ATTITUDE"]
