"""Two flights over the same frames, side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.geodesy import ground_distance_m
from edge_runtime.score import FlightScore, score_flight
from edge_runtime.telemetry.truth import TruePlace

_NOT_COMPARED = frozenset({"stage_ms", "latency_ms", "engine_fault"})
"""What measures the machine and not the flight."""


@dataclass(frozen=True)
class Difference:
    """Where two flights part."""

    frame: str
    time_s: float
    field: str
    """The first field that differs, dotted."""
    flown: Any
    again: Any

    def __str__(self) -> str:
        name = f"frame {self.frame}" if self.frame else f"the fix without a view at {self.time_s} s"
        return f"{name}: {self.field} was {self.flown}, is {self.again}"


def difference_between(flown: Fix, again: Fix) -> Difference | None:
    """The first field in which two fixes differ in any bit; times that were measured do not count.

    Both are compared as the log writes them, which keeps every bit of a number.
    """
    first, second = (json.loads(json.dumps(fix.as_dict())) for fix in (flown, again))
    for name in first:
        if name in _NOT_COMPARED:
            continue
        found = _first_difference(name, first[name], second[name])
        if found is not None:
            return Difference(flown.frame, flown.time_s, *found)
    return None


@dataclass(frozen=True)
class FlightFigures:
    """One of the flights in figures; shares are 0-1, None where nothing was published."""

    frames: int
    published: int
    availability: float
    """Share of the frames with a position, from the first of them on."""
    first_fix: str | None
    states: dict[str, int]
    resets: int
    median_radius95_m: float | None
    score: FlightScore | None
    """Against the truth, where there is one."""


@dataclass(frozen=True)
class TrackDistance:
    """How far the two flights' positions are apart where both published one."""

    frames: int
    median_m: float
    p95_m: float
    largest_m: float


def flight_figures(fixes: Sequence[Fix], truth: Mapping[str, TruePlace] | None) -> FlightFigures:
    """A flight in figures."""
    places = [number for number, fix in enumerate(fixes) if fix.position is not None]
    radii = [fix.position.radius95_m for fix in fixes if fix.position is not None]
    score = None
    if truth is not None:
        try:
            score = score_flight(fixes, truth)
        except SourceError:
            raise SourceError("the truth knows none of the flight's frames") from None
    return FlightFigures(
        frames=len(fixes),
        published=len(places),
        availability=len(places) / (len(fixes) - places[0]) if places else 0.0,
        first_fix=fixes[places[0]].frame if places else None,
        states=dict(Counter(fix.state.value for fix in fixes)),
        resets=fixes[-1].reset_counter if fixes else 0,
        median_radius95_m=float(np.median(radii)) if radii else None,
        score=score,
    )


def track_distance(flown: Sequence[Fix], again: Sequence[Fix]) -> TrackDistance | None:
    """Distance between tracks, frame by frame; None if no frame has both positions.

    Args:
        again: As many fixes as `flown`, of the same frames.
    """
    both = [
        (one.position, other.position)
        for one, other in zip(flown, again, strict=True)
        if one.position is not None and other.position is not None
    ]
    if not both:
        return None
    distances = ground_distance_m(
        [one.latitude_deg for one, _ in both],
        [one.longitude_deg for one, _ in both],
        [other.latitude_deg for _, other in both],
        [other.longitude_deg for _, other in both],
    )
    return TrackDistance(
        frames=len(both),
        median_m=float(np.median(distances)),
        p95_m=float(np.percentile(distances, 95)),
        largest_m=float(np.max(distances)),
    )


def comparison_table(flown: FlightFigures, again: FlightFigures) -> str:
    """Both flights' figures in two columns."""
    states = sorted(flown.states.keys() | again.states.keys())
    rows = [
        ("", "as flown", "again"),
        ("frames", str(flown.frames), str(again.frames)),
        ("with a position", str(flown.published), str(again.published)),
        ("available after the first", f"{flown.availability:.3f}", f"{again.availability:.3f}"),
        ("first fix", flown.first_fix or "none", again.first_fix or "none"),
        ("relocalisations", str(flown.resets), str(again.resets)),
        (
            "median 95 % radius, m",
            _metres(flown.median_radius95_m),
            _metres(again.median_radius95_m),
        ),
        *(
            (state.lower(), str(flown.states.get(state, 0)), str(again.states.get(state, 0)))
            for state in states
        ),
    ]
    if flown.score is not None and again.score is not None:
        for label, name in (
            ("median error, m", "median_error_m"),
            ("95 % error, m", "p95_error_m"),
            ("largest error, m", "largest_error_m"),
            ("inside its 95 % radius", "containment"),
            ("false fixes", "false_fixes"),
        ):
            one, other = getattr(flown.score, name), getattr(again.score, name)
            rows.append((label, _figure(one), _figure(other)))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip()
        for row in rows
    )


def figures_json(
    flown: FlightFigures, again: FlightFigures, distance: TrackDistance | None
) -> dict[str, Any]:
    """All figures as plain values."""
    return {
        "flown": asdict(flown),
        "again": asdict(again),
        "distance": None if distance is None else asdict(distance),
    }


def _first_difference(name: str, first: Any, second: Any) -> tuple[str, Any, Any] | None:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in first.keys() | second.keys():
            if key not in first or key not in second:
                return f"{name}.{key}", first.get(key), second.get(key)
        parts = [(f"{name}.{key}", first[key], second[key]) for key in first]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        parts = [(f"{name}[{n}]", *pair) for n, pair in enumerate(zip(first, second, strict=True))]
    else:
        # By their text, so that NaN is itself and -0.0 is not 0.0.
        return None if json.dumps(first) == json.dumps(second) else (name, first, second)
    for part in parts:
        found = _first_difference(*part)
        if found is not None:
            return found
    return None


def _metres(value: float | None) -> str:
    return "none" if value is None else f"{value:.0f}"


def _figure(value: float | int | None) -> str:
    if value is None:
        return "none"
    return str(value) if isinstance(value, int) else f"{value:.2f}"
