"""What many flights together say: false fixes and how sure that is, containment, availability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.qualify.flight_record import FlightRecord
from edge_runtime.score import FALSE_FIX_M, FALSE_FIX_RADII

DISTINCTIVE = 0.5
"""Tiles of at least this distinctiveness are places where a map should be enough."""
CONFIDENCE = 0.95
_RESAMPLES = 400


@dataclass(frozen=True)
class TrialScore:
    """Many flights pooled; shares are 0-1, None where there was nothing to share.

    A bound is the largest rate that would still let as few events as were seen, or fewer, happen
    in one trial of 20 (Clopper and Pearson 1934). Fixes of one flight are not independent: the
    bound per flight is the honest one, that per fix what it would be if they were.
    """

    flights: int
    foreign_flights: int
    frames: int
    published: int
    tracking: int
    false_fixes: int
    false_fix_bound: float
    flights_with_false_fixes: int
    false_flight_bound: float
    false_fixes_of_foreign_flights: int
    wrong_while_coasting: int
    containment: float | None
    containment_range: tuple[float, float] | None
    """95 % range by drawing whole flights anew."""
    availability: float | None
    """Share of frames over the map, after a flight's first fix, with a position."""
    distinctive_availability: float | None
    """Likewise, where the map is distinctive."""
    flights_with_fix: float | None
    """Share of the flights over the map that got a position at all."""
    median_s_to_first_fix: float | None
    p90_s_to_first_fix: float | None
    median_error_m: float | None
    p95_error_m: float | None
    largest_error_m: float | None
    median_radius95_m: float | None
    foreign_flights_called_out_of_map: float | None
    out_of_map_frames_over_the_map: float | None
    """Share of frames over the map that were called out of it."""
    resets: int


def score_trial(
    records: Sequence[FlightRecord], foreign: Sequence[bool], seed: int = 0
) -> TrialScore:
    """Pool flights.

    Args:
        records: One a flight.
        foreign: Whether each flight was elsewhere than on the map.
        seed: Of the resampling behind `containment_range`.
    """
    is_foreign = np.array(foreign, bool)
    false, coasting = zip(*(_false_fixes(record) for record in records), strict=True)
    over_map = [record for record, away in zip(records, is_foreign, strict=True) if not away]
    tracking = sum(int((record.state == IntegrityState.TRACKING.value).sum()) for record in records)
    false_counts = np.array(false)
    first_s = [_first_fix_s(record) for record in over_map]
    found_s = [seconds for seconds in first_s if seconds is not None]
    after = [_after_first_fix(record) for record in over_map]
    known = _joined(record.error_m[np.isfinite(record.error_m)] for record in over_map)
    radii = _joined(record.radius95_m[np.isfinite(record.error_m)] for record in over_map)
    out_called = [
        bool((record.state == IntegrityState.OUT_OF_MAP.value).any())
        for record, away in zip(records, is_foreign, strict=True)
        if away
    ]
    contained, inside_range = _containment(over_map, seed)
    return TrialScore(
        flights=len(records),
        foreign_flights=int(is_foreign.sum()),
        frames=sum(len(record.state) for record in records),
        published=sum(int((~np.isnan(record.error_m)).sum()) for record in records),
        tracking=tracking,
        false_fixes=int(false_counts.sum()),
        false_fix_bound=upper_bound(int(false_counts.sum()), tracking),
        flights_with_false_fixes=int((false_counts > 0).sum()),
        false_flight_bound=upper_bound(int((false_counts > 0).sum()), len(records)),
        false_fixes_of_foreign_flights=int(false_counts[is_foreign].sum()),
        wrong_while_coasting=int(np.sum(coasting)),
        containment=contained,
        containment_range=inside_range,
        availability=_share(_joined(published for published, _ in after)),
        distinctive_availability=_share(
            _joined(published[distinct >= DISTINCTIVE] for published, distinct in after)
        ),
        flights_with_fix=len(found_s) / len(over_map) if over_map else None,
        median_s_to_first_fix=_percentile(np.array(found_s), 50),
        p90_s_to_first_fix=_percentile(np.array(found_s), 90),
        median_error_m=_percentile(known, 50),
        p95_error_m=_percentile(known, 95),
        largest_error_m=_percentile(known, 100),
        median_radius95_m=_percentile(radii, 50),
        foreign_flights_called_out_of_map=_share(np.array(out_called, float)),
        out_of_map_frames_over_the_map=_share(
            _joined(
                record.state[~np.isnan(record.distinctiveness)] == IntegrityState.OUT_OF_MAP.value
                for record in over_map
            )
        ),
        resets=sum(int(record.resets[-1]) for record in records if len(record.resets)),
    )


def upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The one-sided Clopper-Pearson bound of a rate; 3 / trials, nearly, where none happened."""
    if trials == 0 or events >= trials:
        return 1.0
    low, high = events / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(events, trials, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(events: int, trials: int, rate: float) -> float:
    """Probability of so many events or fewer."""
    count = np.arange(events + 1)
    choose = np.array(
        [
            math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
            for k in range(events + 1)
        ]
    )
    if rate >= 1.0:
        return 0.0
    terms = choose + count * math.log(rate) + (trials - count) * math.log1p(-rate)
    return float(np.exp(terms).sum())


def _false_fixes(record: FlightRecord) -> tuple[int, int]:
    """False fixes, and the like while coasting."""
    with np.errstate(invalid="ignore"):
        wrong = record.error_m > np.fmax(FALSE_FIX_M, FALSE_FIX_RADII * record.radius95_m)
    tracking = record.state == IntegrityState.TRACKING.value
    return int((wrong & tracking).sum()), int((wrong & ~tracking).sum())


def _first_fix_s(record: FlightRecord) -> float | None:
    published = np.flatnonzero(~np.isnan(record.error_m))
    return float(record.time_s[published[0]] - record.time_s[0]) if published.size else None


def _after_first_fix(
    record: FlightRecord,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Whether a position was published, and distinctiveness, of frames over the map after it."""
    published = ~np.isnan(record.error_m)
    first = int(np.argmax(published)) if published.any() else len(published)
    counts = ~np.isnan(record.distinctiveness)
    counts[:first] = False
    return published[counts].astype(np.float64), record.distinctiveness[counts]


def _containment(
    records: Sequence[FlightRecord], seed: int
) -> tuple[float | None, tuple[float, float] | None]:
    inside, count = [], []
    for record in records:
        known = np.isfinite(record.error_m)
        inside.append(int((record.error_m[known] <= record.radius95_m[known]).sum()))
        count.append(int(known.sum()))
    inside_by_flight, by_flight = np.array(inside), np.array(count)
    if not by_flight.sum():
        return None, None
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(by_flight), (_RESAMPLES, len(by_flight)))
    totals = by_flight[drawn].sum(axis=1)
    shares = inside_by_flight[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(inside_by_flight.sum() / by_flight.sum()), (float(low), float(high))


def _joined(parts: object) -> npt.NDArray[np.float64]:
    arrays = [np.asarray(part, np.float64) for part in parts]  # type: ignore[attr-defined]
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _share(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None


def _percentile(values: npt.NDArray[np.float64], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values.size else None
