"""What comes over the network: requests to the monitor, bytes on the autopilot's line."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any

from edge_runtime.contract.region_map import load_region_map
from edge_runtime.mavlink.framing import FrameCutter
from edge_runtime.mavlink.link import MavlinkConfig, MavlinkLink
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.monitor.http_server import EventStream, Response, parse_request
from edge_runtime.monitor.monitor import Monitor
from edge_runtime.mounting import GIMBAL, Mounting
from edge_runtime.outputs.mavlink_config import MavlinkOutputConfig
from edge_runtime.outputs.mavlink_output import MavlinkOutput
from edge_runtime.sample_flight import SAMPLE_MAP
from edge_runtime.telemetry.mavlink_telemetry import MavlinkTelemetry, MavlinkTelemetryConfig
from tests.hostile.mutation import mutated
from tests.hostile.reader import HarmError, InputReader, require_finite


def http_request(folder: Path, closing: ExitStack) -> InputReader:
    monitor = Monitor(MonitorConfig(), load_region_map(SAMPLE_MAP), {}, None)
    paths = ("/", "/events", "/about.json", "/metrics", "/healthz", "/camera.jpg", "/preview.jpg")
    seeds = tuple(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8350\r\nAccept: */*\r\nX-A: b\r\n\r\n".encode()
        for path in (*paths, "/map.jpg?12", "/../../etc/passwd")
    )

    def read(data: bytes) -> bool:
        head, end, _ = data.partition(b"\r\n\r\n")
        try:
            request = parse_request(head + end)
        except ValueError:  # answered with 400
            return False
        answer = monitor._respond(request)
        if isinstance(answer, EventStream):
            answer.next_message()
            return True
        if not isinstance(answer, Response):
            raise HarmError(f"an answer of no kind: {answer!r}")
        return answer.status is HTTPStatus.OK

    return InputReader(lambda rng: mutated(rng, rng.choice(seeds), seeds), read)


_TELEMETRY = (
    *("HEARTBEAT", "ATTITUDE", "ATTITUDE_QUATERNION", "ALTITUDE", "GLOBAL_POSITION_INT"),
    *("DISTANCE_SENSOR", "GIMBAL_DEVICE_ATTITUDE_STATUS", "LOCAL_POSITION_NED", "TIMESYNC"),
    *("COMMAND_ACK", "GPS_GLOBAL_ORIGIN", "HOME_POSITION", "SYSTEM_TIME", "STATUSTEXT"),
)
_MOST_WAITING = 300


def _field(rng: Random, kind: str) -> Any:
    if kind in ("float", "double"):
        usual = rng.gauss(0.0, rng.choice((0.5, 3.0, 100.0)))
        return rng.choice((usual, usual, usual, math.nan, math.inf, -math.inf, 3e38, 0.0, 1.0))
    bits = {"int8_t": 8, "uint8_t": 8, "int16_t": 16, "uint16_t": 16, "int32_t": 32}
    size = bits.get(kind, 32 if kind == "uint32_t" else 64)
    low, high = (0, 2**size - 1) if kind.startswith("u") else (-(2 ** (size - 1)), 2 ** (size - 1))
    high -= not kind.startswith("u")
    return rng.choice((low, high, 0, 1, min(high, 25), rng.randint(low, high), rng.randint(0, 100)))


def _message(rng: Random, dialect: Any, codec: Any) -> bytes:
    everything = dialect.mavlink_map
    name = rng.choice(_TELEMETRY)
    kinds = [kind for kind in everything.values() if kind.msgname == name]
    kind = kinds[0] if kinds and rng.random() < 0.9 else rng.choice(list(everything.values()))
    values = dict(zip(kind.fieldnames, _field_values(rng, kind), strict=True))
    return bytes(kind(**values).pack(codec))


def _field_values(rng: Random, kind: Any) -> list[Any]:
    lengths = dict(zip(kind.ordered_fieldnames, kind.array_lengths, strict=True))
    values: list[Any] = []
    for name, field in zip(kind.fieldnames, kind.fieldtypes, strict=True):
        length = lengths[name]
        if field == "char":
            values.append(rng.randbytes(max(1, length)))
        else:
            several = [_field(rng, field) for _ in range(length)]
            values.append(several if length else _field(rng, field))
    return values


def mavlink(folder: Path, closing: ExitStack) -> InputReader:
    """Bytes on the autopilot's line: framing, link, telemetry, and what the outputs hear."""
    link = MavlinkLink(MavlinkConfig("udpin:127.0.0.1:0"))
    closing.callback(link.close)
    config = MavlinkTelemetryConfig(velocity="local_position_ned")
    telemetries = [MavlinkTelemetry(link, config, Mounting(kind)) for kind in ("fixed", GIMBAL)]
    feeds = [
        MavlinkOutputConfig(feed="px4"),
        MavlinkOutputConfig(feed="ardupilot", ardupilot_message="odometry"),
    ]
    outputs = [MavlinkOutput(feed, link) for feed in feeds]
    codec = link.dialect.MAVLink(None, srcSystem=1, srcComponent=1)
    heartbeat = bytes(link.dialect.MAVLink_heartbeat_message(2, 12, 0, 0, 4, 3).pack(codec))
    cutter = FrameCutter(link._codec)
    state = {"now_s": time.monotonic()}

    def make(rng: Random) -> bytes:
        codec.srcComponent = rng.choice((1, 1, 1, 1, 154, 197))
        pieces = [_message(rng, link.dialect, codec) for _ in range(rng.randrange(1, 6))]
        pieces = [mutated(rng, piece) if rng.random() < 0.25 else piece for piece in pieces]
        if rng.random() < 0.3:
            pieces.append(heartbeat)
        return b"".join(pieces)

    def read(data: bytes) -> bool:
        faults = link.counters.listener_faults
        state["now_s"] += 0.05
        now_s = state["now_s"]
        messages = cutter.take(data)
        for message in messages:
            link._dispatch(message, now_s)
        if link.counters.listener_faults > faults:
            raise HarmError("a listener failed")
        if cutter.waiting_bytes > _MOST_WAITING or len(link._clock._outstanding) > 20:
            raise HarmError("what waits grows without bound")
        for telemetry in telemetries:
            for past_s in (0.0, 0.03, 0.4):
                require_finite(telemetry.at(now_s - past_s))
        for output in outputs:
            output.tick(now_s)
        return bool(messages)

    return InputReader(make, read)
