"""Fixes with impossible numbers, on their way out."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from random import Random

from edge_runtime.contract.fix import Fix, IntegrityState, Position, Velocity
from edge_runtime.outputs.json_udp import JsonUdpConfig, JsonUdpOutput
from edge_runtime.outputs.nmea_output import NmeaConfig, NmeaOutput
from tests.hostile.mutation import VALUES
from tests.hostile.reader import HarmError, InputReader


def fix_outputs(folder: Path, closing: ExitStack) -> InputReader:
    """Fixes with impossible numbers, to NMEA and JSON: told as lost, or not at all."""

    class Line:
        last = b""

        def send(self, payload: bytes) -> bool:
            self.last = payload
            return True

        def close(self) -> None: ...

    lines = Line(), Line()
    clock = {"now_s": 100.0}
    now = lambda: clock["now_s"]  # noqa: E731
    outputs = [
        NmeaOutput(NmeaConfig(), lines[0], clock=now),
        JsonUdpOutput(JsonUdpConfig(), lines[1], clock=now),
    ]
    numbers = [value for value in VALUES if isinstance(value, float)] + [90.0, 181.0, -720.0]

    def make(rng: Random) -> bytes:
        number = lambda usual: rng.choice(numbers) if rng.random() < 0.2 else usual  # noqa: E731
        fix = Fix(
            rng.choice(("000001", "", "\x00\n$", "ä" * 300)),
            number(rng.uniform(-2.0, 0.5)),
            rng.choice(list(IntegrityState)),
            rng.choice(("views agree", "*\r\n$GP")),
            Position(*(number(usual) for usual in (47.1, 8.2, 4.0, 9.0, 0.3, 12.5))),
            velocity=Velocity(number(3.0), number(1.0), number(0.5)),
            heading_deg=number(12.0),
            heading_standard_deviation_deg=number(3.0),
            in_map_probability=number(0.9),
            latency_ms=number(20.0),
        )
        return json.dumps(fix.as_dict()).encode()

    def read(data: bytes) -> bool:
        values = json.loads(data)
        clock["now_s"] += 5.0
        fix = Fix(
            **{
                **values,
                "time_s": clock["now_s"] + values["time_s"],
                "state": IntegrityState(values["state"]),
                "position": Position(**values["position"]),
                "velocity": Velocity(**values["velocity"]),
                "viewed_matches": (),
            }
        )
        sent = [message for output in outputs for message in output.publish(fix)]
        for message in sent:
            if message.output == "nmea":
                _check_sentence(message.payload)
            else:
                json.loads(message.payload, parse_constant=_refuse_constant)
        return bool(sent)

    return InputReader(make, read)


def _check_sentence(payload: bytes) -> None:
    body, _, checksum = payload.removeprefix(b"$").removesuffix(b"\r\n").partition(b"*")
    total = 0
    for byte in body:
        total ^= byte
    low = body.lower()
    if len(payload) > 82 or f"{total:02X}".encode() != checksum:
        raise HarmError(f"not a sentence: {payload!r}")
    if b"nan" in low or b"inf" in low:
        raise HarmError(f"a sentence with no number: {payload!r}")


def _refuse_constant(name: str) -> None:
    raise HarmError(f"{name} in JSON")
