"""What a campaign's flights together say, in groups and as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from campaign_plans import FlightPlan, TakeOffPlan
from campaign_take_off import climb_s

from edge_runtime.qualify.flight_record import FlightRecord
from edge_runtime.qualify.trial_score import TrialScore, score_trial

GROUPINGS: dict[str, Callable[[FlightPlan], str]] = {
    "by_kind": lambda plan: plan.kind,
    "by_map": lambda plan: plan.map_kind,
    "by_weather": lambda plan: plan.weather,
    "by_pitch": lambda plan: f"{plan.pitch_deg:.0f}",
}
OF_TAKE_OFFS: dict[str, Callable[[TakeOffPlan], str]] = {
    "by_spot": lambda plan: plan.spot,
    "by_turning": lambda plan: "turning in place" if plan.turn_deg_s else "not turning",
    "by_episode": lambda plan: plan.episode,
}


def figures_of(plans: Sequence[FlightPlan], records: Sequence[FlightRecord]) -> dict[str, Any]:
    """Everything that is reported of flights."""
    both = list(zip(plans, records, strict=True))
    take_offs = [(plan, record) for plan, record in both if isinstance(plan, TakeOffPlan)]
    groups = {name: _grouped(both, key) for name, key in GROUPINGS.items()}
    if take_offs:
        groups |= {name: _grouped(take_offs, key) for name, key in OF_TAKE_OFFS.items()}
    return {
        "all": asdict(score_trial(records, [plan.is_foreign for plan in plans])),
        **groups,
        "after_climb": after_climb(take_offs) if take_offs else None,
        "worst": _worst(plans, records),
    }


def after_climb(take_offs: Sequence[tuple[TakeOffPlan, FlightRecord]]) -> dict[str, Any]:
    """How flights over their map go on once they have climbed."""
    published, first_s, in_climb = [], [], 0
    for plan, record in take_offs:
        if plan.is_foreign:
            continue
        is_known = ~np.isnan(record.error_m)
        over_map = ~np.isnan(record.distinctiveness)
        flown_s = record.time_s - record.time_s[0] - climb_s(plan)
        published.append(is_known[over_map & (flown_s >= 0.0)])
        if is_known.any():
            first_s.append(float(flown_s[int(np.argmax(is_known))]))
            in_climb += first_s[-1] < 0.0
    frames = np.concatenate(published) if published else np.zeros(0, bool)
    return {
        "flights_over_the_map": len(published),
        "availability": float(frames.mean()) if frames.size else None,
        "availability_of_flights_with_fix": (
            float(np.concatenate([one for one in published if one.any()]).mean())
            if frames.any()
            else None
        ),
        "flights_fixed": len(first_s),
        "flights_fixed_in_the_climb": in_climb,
        "median_s_from_cruise_to_first_fix": float(np.median(first_s)) if first_s else None,
        "p90_s_from_cruise_to_first_fix": float(np.percentile(first_s, 90)) if first_s else None,
    }


def _grouped(both: Sequence[tuple[Any, FlightRecord]], key: Callable[[Any], str]) -> dict[str, Any]:
    groups: dict[str, list[tuple[FlightPlan, FlightRecord]]] = {}
    for plan, record in both:
        groups.setdefault(key(plan), []).append((plan, record))
    return {
        name: asdict(
            score_trial([record for _, record in group], [plan.is_foreign for plan, _ in group])
        )
        for name, group in sorted(groups.items())
    }


def _worst(plans: Sequence[FlightPlan], records: Sequence[FlightRecord]) -> list[dict[str, Any]]:
    """The flights to look at: with false fixes, or badly contained."""
    worst = []
    for plan, record in zip(plans, records, strict=True):
        score = score_trial([record], [plan.is_foreign])
        contained = 1.0 if score.containment is None else score.containment
        if score.false_fixes or score.wrong_while_coasting or contained < 0.7:
            worst.append(
                {
                    **asdict(plan),
                    "false_fixes": score.false_fixes,
                    "wrong_while_coasting": score.wrong_while_coasting,
                    "contained": score.containment,
                    "largest_error_m": score.largest_error_m,
                }
            )
    return worst


def table(figures: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        "| flights | out of map | positions | false / coasting wrong | bound per fix / per flight "
        "| contained | median radius, m | available: distinctive / all | first fix, s: median / "
        "90 % | error, m: median / 95 % / largest | out of map said: truly / wrongly |",
        "| --- " * 11 + "|",
    ]
    groups = [("all", figures["all"])]
    for grouping in (*GROUPINGS, *OF_TAKE_OFFS):
        groups += list(figures.get(grouping, {}).items())
    lines += [_row(name, TrialScore(**score)) for name, score in groups]
    return "\n".join(lines)


def _row(name: str, score: TrialScore) -> str:
    def text(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return (
        f"| {name}: {score.flights} | {score.foreign_flights} | {score.published} "
        f"| {score.false_fixes} / {score.wrong_while_coasting} "
        f"| {score.false_fix_bound:.1e} / {text(score.false_flight_bound, 3)} "
        f"| {text(score.containment, 3)} | {text(score.median_radius95_m, 0)} "
        f"| {text(score.distinctive_availability)} / {text(score.availability)} "
        f"| {text(score.median_s_to_first_fix, 0)} / {text(score.p90_s_to_first_fix, 0)} "
        f"| {text(score.median_error_m, 1)} / {text(score.p95_error_m, 0)} / "
        f"{text(score.largest_error_m, 0)} "
        f"| {text(score.foreign_flights_called_out_of_map)} / "
        f"{text(score.out_of_map_frames_over_the_map, 3)} |"
    )
