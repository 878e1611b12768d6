"""Fixes to send, a link that keeps what is sent, and hypothesis' idea of any fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from edge_runtime.contract.fix import Fix, IntegrityState, Position, Velocity
from edge_runtime.mavlink.dialect import load_dialect

PLACE = Position(47.123456, 8.654321, 144.0, 100.0, 30.0, 32.0)
VELOCITY = Velocity(3.0, -4.0, 0.5)


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def tracked(time_s: float, **changes: Any) -> Fix:
    """A fix that tracks, with everything known."""
    fix = Fix(
        frame="000001",
        time_s=time_s,
        state=IntegrityState.TRACKING,
        reason="views agree with the map",
        position=PLACE,
        velocity=VELOCITY,
        in_map_probability=0.99,
        latency_ms=120.0,
    )
    return replace(fix, **changes)


def lost(time_s: float, state: IntegrityState = IntegrityState.LOST, **changes: Any) -> Fix:
    """A fix without a position."""
    return (
        tracked(time_s, state=state, reason="recent views contradict", position=None, velocity=None)
        if not changes
        else replace(lost(time_s, state), **changes)
    )


class KeepingLink:
    """A link whose autopilot clock runs `boot_s` behind, and that packs and parses each message."""

    def __init__(self, boot_s: float = 900.0) -> None:
        self.dialect: Any = load_dialect()
        self.target: tuple[int, int] | None = (1, 1)
        self.counters: Any = SimpleNamespace(autopilot_restarts=0, timesync_resets=0)
        self.boot_s = boot_s
        self.synced = True
        self.reachable = True
        self.sent: list[Any] = []
        self.handlers: list[Callable[[Any, float], None]] = []
        self._codec = self.dialect.MAVLink(None, srcSystem=1, srcComponent=197)
        self._far_end = self.dialect.MAVLink(None, srcSystem=1, srcComponent=1)

    def listen(self, handler: Callable[[Any, float], None]) -> None:
        self.handlers.append(handler)

    def send(self, message: Any) -> bytes:
        payload = bytes(message.pack(self._codec))
        if not self.reachable:
            return b""
        (decoded,) = self._far_end.parse_buffer(payload)
        self.sent.append(decoded)
        return payload

    def autopilot_time_us(self, monotonic_s: float) -> int | None:
        return round((monotonic_s - self.boot_s) * 1e6) if self.synced else None

    def tell(self, message: Any) -> None:
        """Let the autopilot say something."""
        message.pack(self.dialect.MAVLink(None, srcSystem=1, srcComponent=1))
        for handler in self.handlers:
            handler(message, 0.0)

    def tell_origin(self, latitude_deg: float, longitude_deg: float) -> None:
        self.tell(
            self.dialect.MAVLink_gps_global_origin_message(
                round(latitude_deg * 1e7), round(longitude_deg * 1e7), 400_000
            )
        )

    def of_type(self, name: str) -> list[Any]:
        return [message for message in self.sent if message.get_type() == name]

    @property
    def names(self) -> set[str]:
        return {message.get_type() for message in self.sent}


@dataclass
class KeepingLine:
    """A line that keeps what it is given."""

    takes: bool = True

    def __post_init__(self) -> None:
        self.data: list[bytes] = []
        self.closed = False

    def send(self, data: bytes) -> bool:
        if self.takes:
            self.data.append(data)
        return self.takes

    def close(self) -> None:
        self.closed = True


_any_number = st.floats(allow_nan=False, allow_infinity=False)
_variance = st.floats(0.0, 1e300) | st.floats(0.0, 1e6)

positions = st.builds(
    Position,
    latitude_deg=st.floats(-90.0, 90.0) | st.sampled_from([90.0, -90.0, 0.0]),
    longitude_deg=st.floats(-360.0, 360.0) | st.sampled_from([180.0, -180.0, 179.99999999]),
    variance_east_m2=_variance,
    variance_north_m2=_variance,
    covariance_east_north_m2=_any_number,
    radius95_m=st.floats(0.0, 1e300) | st.floats(0.0, 500.0),
)
velocities = st.builds(
    Velocity,
    east_m_s=_any_number,
    north_m_s=_any_number,
    standard_deviation_m_s=st.floats(0.0, 1e300),
)


@st.composite
def fixes(draw: st.DrawFn, now_s: float = 1000.0) -> Fix:
    """Any fix that a localiser could make, and a good many that it could not."""
    return Fix(
        frame=draw(st.text(max_size=300)),
        time_s=now_s + draw(st.floats(-3.0, 0.5)),
        state=draw(st.sampled_from(IntegrityState)),
        reason=draw(st.text(max_size=300)),
        position=draw(st.none() | positions),
        velocity=draw(st.none() | velocities),
        heading_deg=draw(st.none() | st.floats(0.0, 360.0)),
        in_map_probability=draw(st.floats(0.0, 1.0)),
        reset_counter=draw(st.integers(0, 100_000)),
        engine_fault=draw(st.sampled_from(["", "", "descriptors differ"])),
        latency_ms=draw(st.none() | st.floats(0.0, 1e6)),
    )
