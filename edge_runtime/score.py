"""How good a flight's fixes were, against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix, IntegrityState
from edge_runtime.contract.geodesy import ground_distance_m
from edge_runtime.telemetry.truth import TruePlace

HIT_RADIUS_M = 50.0
FALSE_FIX_M = 100.0
FALSE_FIX_RADII = 2.0
MOTION_BEGINS_M = 3.0


@dataclass(frozen=True)
class FrameScore:
    """Each view on its own: where its best tiles lie from the ground point truly viewed."""

    frames: int
    recall_at_1: float
    recall_at_5: float
    median_error_m: float


@dataclass(frozen=True)
class FlightScore:
    """The published positions of the drone; shares are 0-1, None where nothing was published."""

    frames: int
    published: int
    first_fix_frame: str | None
    frames_to_first_fix: int | None
    frames_from_motion_to_first_fix: int | None
    """Negative if the fix came while the drone still stood or climbed."""
    seconds_to_first_fix: float | None
    availability: float
    median_error_m: float | None
    p95_error_m: float | None
    largest_error_m: float | None
    containment: float | None
    median_radius95_m: float | None
    false_fixes: int
    resets: int
    wrong_while_coasting: int = 0
    """Positions published while COASTING that a false fix's bounds would reject."""


def score_frames(
    fixes: Sequence[Fix], truth: Mapping[str, TruePlace], first_frame: str | None = None
) -> FrameScore | None:
    """Recall at 50 m of the viewed ground point; None if the fixes carry no matches.

    Args:
        first_frame: Leave out frames whose name sorts before this one.
    """
    first_errors, best_of_five = [], []
    for fix in _known(fixes, truth):
        if not fix.viewed_matches or (first_frame is not None and fix.frame < first_frame):
            continue
        place = truth[fix.frame]
        errors = [
            float(
                ground_distance_m(
                    match.latitude_deg,
                    match.longitude_deg,
                    place.viewed_ground_latitude_deg,
                    place.viewed_ground_longitude_deg,
                )
            )
            for match in fix.viewed_matches[:5]
        ]
        first_errors.append(errors[0])
        best_of_five.append(min(errors))
    if not first_errors:
        return None
    return FrameScore(
        frames=len(first_errors),
        recall_at_1=float(np.mean(np.array(first_errors) <= HIT_RADIUS_M)),
        recall_at_5=float(np.mean(np.array(best_of_five) <= HIT_RADIUS_M)),
        median_error_m=float(np.median(first_errors)),
    )


def score_flight(fixes: Sequence[Fix], truth: Mapping[str, TruePlace]) -> FlightScore:
    """Availability, accuracy and integrity of the published positions.

    Raises:
        SourceError: If no fix has a true place.
    """
    known = _known(fixes, truth)
    errors, radii = [], []
    wrong = {IntegrityState.TRACKING: 0, IntegrityState.COASTING: 0}
    first: int | None = None
    for number, fix in enumerate(known):
        if fix.position is None:
            continue
        first = number if first is None else first
        place, position = truth[fix.frame], fix.position
        error = float(
            ground_distance_m(
                position.latitude_deg,
                position.longitude_deg,
                place.drone_latitude_deg,
                place.drone_longitude_deg,
            )
        )
        errors.append(error)
        radii.append(position.radius95_m)
        if error > max(FALSE_FIX_M, FALSE_FIX_RADII * position.radius95_m):
            wrong[fix.state] += 1
    if first is None:
        return FlightScore(
            len(known), 0, None, None, None, None, 0.0, None, None, None, None, None, 0, 0
        )
    motion = _motion_begins(known, truth)
    return FlightScore(
        frames=len(known),
        published=len(errors),
        first_fix_frame=known[first].frame,
        frames_to_first_fix=first,
        frames_from_motion_to_first_fix=None if motion is None else first - motion,
        seconds_to_first_fix=known[first].time_s - known[0].time_s,
        availability=len(errors) / (len(known) - first),
        median_error_m=float(np.median(errors)),
        p95_error_m=float(np.percentile(errors, 95)),
        largest_error_m=float(np.max(errors)),
        containment=float(np.mean(np.array(errors) <= np.array(radii))),
        median_radius95_m=float(np.median(radii)),
        false_fixes=wrong[IntegrityState.TRACKING],
        resets=known[-1].reset_counter,
        wrong_while_coasting=wrong[IntegrityState.COASTING],
    )


def score_report(frames: FrameScore | None, flight: FlightScore) -> str:
    """Both scores as a person reads them."""
    lines = []
    if frames is not None:
        lines.append(
            f"frames    {frames.frames} views: R@1 {frames.recall_at_1:.3f}, "
            f"R@5 {frames.recall_at_5:.3f} at {HIT_RADIUS_M:.0f} m, "
            f"median {frames.median_error_m:.1f} m"
        )
    if flight.published == 0:
        lines.append(f"flight    {flight.frames} frames: no position published")
        return "\n".join(lines)
    lines += [
        f"flight    {flight.frames} frames, {flight.published} with a position, "
        f"{flight.resets} relocalisations",
        f"first fix {flight.first_fix_frame}, {flight.seconds_to_first_fix:.1f} s and "
        f"{flight.frames_to_first_fix} frames after the start"
        + (
            ""
            if flight.frames_from_motion_to_first_fix is None
            else f", {flight.frames_from_motion_to_first_fix} frames after motion began"
        ),
        f"available {flight.availability:.3f} of the frames after it",
        f"error     median {flight.median_error_m:.1f} m, 95 % {flight.p95_error_m:.1f} m, "
        f"largest {flight.largest_error_m:.1f} m",
        f"contained {flight.containment:.3f} within the stated 95 % radius "
        f"(median {flight.median_radius95_m:.0f} m)",
        f"false     {flight.false_fixes} fixes beyond both {FALSE_FIX_M:.0f} m and "
        f"{FALSE_FIX_RADII:.0f} x the stated radius; {flight.wrong_while_coasting} more coasting",
    ]
    return "\n".join(lines)


def score_json(frames: FrameScore | None, flight: FlightScore) -> dict[str, Any]:
    """Both scores as plain values."""
    return {"frames": None if frames is None else asdict(frames), "flight": asdict(flight)}


def _known(fixes: Sequence[Fix], truth: Mapping[str, TruePlace]) -> list[Fix]:
    known = [fix for fix in fixes if fix.frame in truth]
    if not known:
        raise SourceError("no frame of the fixes has a row in the truth: are they of one flight?")
    return known


def _motion_begins(fixes: Sequence[Fix], truth: Mapping[str, TruePlace]) -> int | None:
    """Number of the first fix whose true position is away from the first one's."""
    places = [truth[fix.frame] for fix in fixes]
    moved = ground_distance_m(
        places[0].drone_latitude_deg,
        places[0].drone_longitude_deg,
        [place.drone_latitude_deg for place in places],
        [place.drone_longitude_deg for place in places],
    )
    away = np.flatnonzero(moved > MOTION_BEGINS_M)
    return int(away[0]) if away.size else None
