"""The position fix: what leaves the drone's localiser, once per camera frame."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any


class IntegrityState(str, Enum):
    """How far positions may be trusted; they leave only in TRACKING and COASTING."""

    INIT = "INIT"
    ACQUIRING = "ACQUIRING"
    TRACKING = "TRACKING"
    COASTING = "COASTING"
    LOST = "LOST"
    OUT_OF_MAP = "OUT_OF_MAP"
    FAULT = "FAULT"

    @property
    def publishes(self) -> bool:
        """Whether a position leaves in this state."""
        return self in (IntegrityState.TRACKING, IntegrityState.COASTING)


@dataclass(frozen=True)
class Position:
    """The drone's horizontal position with its uncertainty."""

    latitude_deg: float
    longitude_deg: float
    variance_east_m2: float
    variance_north_m2: float
    covariance_east_north_m2: float
    radius95_m: float
    """The drone is inside this radius in 95 of 100 fixes, given that the track is the right one:
    while coasting, the chance that it is not comes on top (1 - `in_map_probability`)."""


@dataclass(frozen=True)
class Velocity:
    """The drone's horizontal velocity over ground with its uncertainty."""

    east_m_s: float
    north_m_s: float
    standard_deviation_m_s: float
    """Of each component."""


@dataclass(frozen=True)
class MatchedPlace:
    """A map tile that looks like the view."""

    latitude_deg: float
    longitude_deg: float
    similarity: float


@dataclass(frozen=True)
class Fix:
    """The localiser's word on one frame.

    `position` is None in every state that does not publish. `viewed_matches` are this frame's
    best tiles alone, shifted to the ground point in the image centre, best first. `engine_fault`
    says what was wrong with the engine if it was flown although it computes wrongly.
    `time_s` is the exposure on the source's clock (`time.monotonic()` in live flights) and
    `latency_ms` runs from there to the fix's leaving, None for recordings. `velocity` and the
    camera's `heading_deg` are the filter's own, None where it has none.
    """

    frame: str
    time_s: float
    state: IntegrityState
    reason: str
    position: Position | None = None
    velocity: Velocity | None = None
    heading_deg: float | None = None
    heading_standard_deviation_deg: float | None = None
    in_map_probability: float = 0.0
    viewed_matches: tuple[MatchedPlace, ...] = ()
    reset_counter: int = 0
    stage_ms: dict[str, float] = field(default_factory=dict)
    engine_fault: str = ""
    latency_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, the field names as keys."""
        return {**asdict(self), "state": self.state.value}
