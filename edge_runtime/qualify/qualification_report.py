"""What an engineer reads before trusting a map: figures, what they rest on, and a verdict."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from edge_runtime.contract.artefact import write_manifest, write_whole
from edge_runtime.qualify.qualification import Qualification
from edge_runtime.qualify.trial_score import DISTINCTIVE, TrialScore, score_trial
from edge_runtime.qualify.weak_areas import AreaCells, area_cells, draw_weak_areas

QUALIFICATION_KIND = "qualification"
QUALIFICATION_SCHEMA_VERSION = 1
REPORT_FILE = "report.json"
WEAK_AREAS_FILE = "weak_areas.png"
LEAST_CONTAINMENT, MOST_CONTAINMENT = 0.93, 0.99
LEAST_AVAILABILITY = 0.9


def write_qualification(result: Qualification, folder: Path) -> tuple[TrialScore, AreaCells]:
    """Write the report and the picture of weak areas into a folder.

    Raises:
        OutputError: If the picture cannot be written.
        MapError: If the map's preview cannot be read.
    """
    score = score_trial(result.records, result.is_foreign, result.config.seed)
    cells = area_cells(result.region_map, result.records, result.is_foreign)
    title = f"{result.config.map.name.removesuffix('.map')}: {len(result.records)} flights"
    picture = draw_weak_areas(result.region_map, cells, result.records, result.is_foreign, title)
    write_whole(folder / WEAK_AREAS_FILE, cv2.imencode(".png", picture)[1].tobytes())
    text = json.dumps(report_json(result, score, cells), indent=2) + "\n"
    (folder / REPORT_FILE).write_text(text, encoding="utf-8")
    write_manifest(folder, QUALIFICATION_KIND, QUALIFICATION_SCHEMA_VERSION, {})
    return score, cells


def report_json(result: Qualification, score: TrialScore, cells: AreaCells) -> dict[str, Any]:
    """All figures as plain values; settings that only say where files are left out."""
    config = asdict(result.config)
    settings = {
        name: value for name, value in config.items() if name not in ("output", "map", "encoder")
    }
    return {
        "map": str(result.config.map),
        "encoder_sha256": result.region_map.encoder_sha256,
        "views_from": "the map's imagery" if result.has_imagery else "the map's descriptors",
        "score": asdict(score),
        "weak_share_of_cells": cells.weak_share,
        "settings": json.loads(json.dumps(settings, default=str)),
        "flights": [
            {
                "foreign": away,
                "states": {
                    state: int((record.state == state).sum()) for state in set(record.state)
                },
                "appearance": appearance.as_dict(),
            }
            for record, away, appearance in zip(
                result.records, result.is_foreign, result.appearances, strict=True
            )
        ],
    }


def report_text(result: Qualification, score: TrialScore, cells: AreaCells) -> str:
    """The figures as a person reads them, and what they do not tell."""
    over_map = score.flights - score.foreign_flights
    lines = [
        f"{score.flights} simulated flights of {result.config.frames} frames in "
        f"{result.wall_s:.0f} s: {over_map} over the map, {score.foreign_flights} elsewhere",
        f"found     {_share(score.flights_with_fix)} of the flights over the map got a position, "
        + (
            "none"
            if score.median_s_to_first_fix is None
            else f"after {score.median_s_to_first_fix:.0f} s (median), "
            f"{score.p90_s_to_first_fix:.0f} s (9 of 10 of these)"
        ),
        f"available {_share(score.availability)} of the frames after the first fix; "
        f"{_share(score.distinctive_availability)} where the map is distinctive "
        f"(tiles of {DISTINCTIVE:g} or more)",
    ]
    if score.median_error_m is not None:
        lines += [
            f"error     median {score.median_error_m:.1f} m, 95 % {score.p95_error_m:.1f} m, "
            f"largest {score.largest_error_m:.1f} m",
            f"contained {_share(score.containment)} within the stated 95 % radius "
            f"(median {score.median_radius95_m:.0f} m)"
            + (
                ""
                if score.containment_range is None
                else f"; other flights might give {score.containment_range[0]:.3f} to "
                f"{score.containment_range[1]:.3f}"
            ),
        ]
    lines += [
        false_fix_text(score),
        f"elsewhere {_share(score.foreign_flights_called_out_of_map)} of the flights elsewhere "
        f"were called out of the map, {_share(score.out_of_map_frames_over_the_map)} of the "
        "frames over it wrongly",
    ]
    if cells.weak_share is not None:
        lines.append(
            f"weak      {100 * cells.weak_share:.0f} % of the map's cells that enough frames saw "
            f"are tracked in less than half of them; {100 * (1.0 - cells.is_known.mean()):.0f} % "
            "of the map was not seen enough to tell: fly more for that"
        )
    lines += ["", *(f"! {text}" for text in concerns(result, score)), *_caveats(result)]
    lines.append(f"{result.config.output / WEAK_AREAS_FILE}, {result.config.output / REPORT_FILE}")
    return "\n".join(line for line in lines)


def false_fix_text(score: TrialScore) -> str:
    """False fixes and how sure the figure is, plainly."""
    return (
        f"false     {score.false_fixes} of {score.tracking} fixes while tracking, in "
        f"{score.flights_with_false_fixes} of {score.flights} flights; "
        f"{score.wrong_while_coasting} more while coasting\n"
        f"          so with 95 % confidence at most {_percent(score.false_flight_bound)} of such "
        f"flights have any; at most {_percent(score.false_fix_bound)} of the fixes are false, "
        "were fixes of one flight independent, which they are not"
    )


def concerns(result: Qualification, score: TrialScore) -> list[str]:
    """What speaks against trusting the map; empty where nothing does."""
    found = []
    if score.false_fixes:
        found.append(
            f"{score.false_fixes} false fixes: do not fly this map with this encoder for anything "
            "that relies on it before they are understood"
        )
    if score.wrong_while_coasting:
        found.append(f"{score.wrong_while_coasting} positions were as wrong while coasting")
    if score.containment is None:
        found.append("no position was published at all: the map does not serve at this height")
    elif score.containment < LEAST_CONTAINMENT:
        found.append(
            f"the stated radius holds {_share(score.containment)} instead of 0.95: too small here"
        )
    elif score.containment_range is not None and score.containment_range[0] > MOST_CONTAINMENT:
        found.append(f"the stated radius holds {_share(score.containment)}: wider than it must be")
    if (
        score.distinctive_availability is not None
        and score.distinctive_availability < LEAST_AVAILABILITY
    ):
        found.append(
            f"even where the map is distinctive only {_share(score.distinctive_availability)} of "
            "the frames have a position"
        )
    return found


def _caveats(result: Qualification) -> list[str]:
    errors = result.config.localiser.telemetry_error
    if result.has_imagery:
        lines = [
            "Views were rendered from the map's own picture, changed in light, season's colours, "
            "haze, blur, noise and",
            f"compression (strength {result.config.strength:g}). Reality is harder: buildings have "
            "sides, trees grow, things are",
            "built and razed. These figures are what to hope for at best, and weak areas the least "
            "to avoid.",
        ]
    else:
        lines = [
            "This map carries no picture, so views were drawn from its descriptors, at a cosine of "
            f"{result.config.view_similarity:g} to the tile",
            "truly viewed: this tells how well the map's places can be told apart and the filter "
            "at work, and nothing",
            "about the encoder. Build the map with its imagery for a test that means more.",
        ]
    lines.append(
        f"Telemetry was wrong by {errors.heading_deg:g} degrees of heading, "
        f"{errors.pitch_deg:g} of pitch and roll, {100 * errors.height_share:g} % of height "
        "(one sigma)."
    )
    if result.config.foreign is None:
        lines.append(
            "Flights elsewhere saw "
            + (
                "this map's picture mirrored; give another region's map by --foreign for a "
                "country of another kind."
                if result.has_imagery
                else "ground that no tile resembles."
            )
        )
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.2g} %"
