"""What the monitor keeps of a flight: sums, the newest values, the track.

The flight loop only hands things over (`Handover`), in well under a microsecond each and without a
lock. The monitor's own thread takes them and is alone in changing the tally.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from numbers import Real

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.fix import Fix, IntegrityState
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.monitor.details import FixDetails
from edge_runtime.monitor.exposition import Histogram
from edge_runtime.telemetry.log import TelemetrySample

SECONDS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_FIXES_WAITING = 4096
_TRACK_POINTS = 3000
_MOST_STAGES = 32
_MOST_COUNTERS = 200
_RATE_WINDOW_S = 5.0

CounterValue = float | str


@dataclass(frozen=True)
class SeenFrame:
    """A frame as it reached the flight loop."""

    number: int
    image: npt.NDArray[np.uint8] | None
    sample: TelemetrySample | None
    at_s: float


@dataclass(frozen=True)
class SeenDetails:
    """What a fix was made from."""

    number: int
    details: FixDetails
    at_s: float


@dataclass
class Handover:
    """From the flight loop to the monitor's thread: the newest wins, but every fix is counted."""

    started_s: float
    frame: SeenFrame | None = None
    frames: int = 0
    sample_at_s: float | None = None
    details: SeenDetails | None = None
    matched: SeenDetails | None = None
    """The newest details with matches: not every view is searched for."""
    fixes: deque[tuple[Fix, float]] = field(default_factory=lambda: deque(maxlen=_FIXES_WAITING))
    counters: tuple[Mapping[str, object], float] | None = None
    """The loop's figures, and when it told them."""
    alive_at_s: float | None = None


@dataclass(frozen=True)
class TrackPoint:
    """A published position in the map's frame."""

    east_m: float
    north_m: float
    radius95_m: float
    state: IntegrityState
    stretch: int
    """Points of one stretch follow each other without a fix that had no position."""


class Tally:
    """Everything that metrics, health and the page are made of.

    Args:
        handover: Where the flight loop leaves what is new.
        frame: The map's frame, in which the track is kept.
    """

    def __init__(self, handover: Handover, frame: LocalFrame) -> None:
        self.handover = handover
        self._frame = frame
        self.fix: Fix | None = None
        self.fix_at_s = 0.0
        self.fixes_by_state: Counter[IntegrityState] = Counter()
        self.latency = Histogram(SECONDS_BOUNDS)
        self.stages: dict[str, Histogram] = {}
        self.counters: dict[str, CounterValue] = {}
        self.track: deque[TrackPoint] = deque(maxlen=_TRACK_POINTS)
        self.track_points = 0
        self._counters_at_s = 0.0
        self._stretch = 0
        self._reset_counter = 0
        self._recent_s: deque[float] = deque(maxlen=512)

    def refresh(self) -> None:
        """Take what the flight loop left; to be called by one thread only."""
        fixes = self.handover.fixes
        while True:
            try:
                fix, at_s = fixes.popleft()
            except IndexError:
                break
            self._count(fix, at_s)
        given = self.handover.counters
        if given is not None:
            self.counters = dict(islice(_flat(given[0]), _MOST_COUNTERS))
            self._counters_at_s = given[1]

    @property
    def fixes(self) -> int:
        """Fixes so far, with and without a position."""
        return self.fixes_by_state.total()

    def fixes_per_s(self, now_s: float) -> float:
        """Rate of fixes over the last seconds."""
        since_s = max(now_s - _RATE_WINDOW_S, self.handover.started_s)
        recent = sum(at_s > since_s for at_s in self._recent_s)
        return recent / max(now_s - since_s, 1e-3)

    def telemetry_age_s(self, now_s: float) -> float | None:
        """Seconds since telemetry came: as the loop tells it, else since a frame last had some."""
        told = self.counters.get("telemetry_age_s")
        if isinstance(told, (int, float)):
            return float(told) + now_s - self._counters_at_s
        at_s = self.handover.sample_at_s
        return None if at_s is None else now_s - at_s

    def _count(self, fix: Fix, at_s: float) -> None:
        self.fix, self.fix_at_s = fix, at_s
        self.fixes_by_state[fix.state] += 1
        self._recent_s.append(at_s)
        if fix.latency_ms is not None:
            self.latency.observe(fix.latency_ms / 1e3)
        for stage, milliseconds in fix.stage_ms.items():
            if stage not in self.stages and len(self.stages) < _MOST_STAGES:
                self.stages[stage] = Histogram(SECONDS_BOUNDS)
            if stage in self.stages:
                self.stages[stage].observe(milliseconds / 1e3)
        position = fix.position
        if position is None or fix.reset_counter != self._reset_counter:
            self._stretch += 1
        self._reset_counter = fix.reset_counter
        if position is not None:
            east, north = self._frame.to_local(position.latitude_deg, position.longitude_deg)
            self.track.append(
                TrackPoint(float(east), float(north), position.radius95_m, fix.state, self._stretch)
            )
            self.track_points += 1


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, CounterValue]]:
    """Numbers and texts by name, those of a group behind the group's; the rest is left out."""
    for name, value in values.items():
        if isinstance(value, str):
            yield f"{prefix}{name}", value
        elif isinstance(value, Real):
            yield f"{prefix}{name}", float(value)
        elif isinstance(value, Mapping) and not prefix:
            yield from _flat(value, f"{name}_")
