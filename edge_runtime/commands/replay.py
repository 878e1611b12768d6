"""`edge_runtime replay`: fly a logged flight again, as it was or with other settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from jsonargparse import ArgumentParser

from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines, write_json
from edge_runtime.localize.config import LocaliserConfig

EXIT_DIFFERS = 1
_LOCALISER = "localiser"


def replay(parser: ArgumentParser) -> Action:
    """Fly a logged flight again: the same fixes bit for bit, or a comparison with other settings.

    Exits 1 where nothing was changed and the fixes differ nevertheless.
    """
    from edge_runtime.replay import ReplayConfig, replay
    from edge_runtime.replay_comparison import figures_json, flight_figures, track_distance

    parser.add_argument("flight", type=Path, help="flight directory, finished or cut off")
    parser.add_argument(
        "-o", "--output", type=Path | None, help="write the new flight directory, NAME.flight"
    )
    parser.add_argument("--truth", type=Path | None, help="CSV with the true places by frame")
    parser.add_argument("--encoder", type=Path | None, help="another encoder bundle")
    parser.add_argument("--map", type=Path | None, help="another region map, or where it is now")
    parser.add_argument("--precision", type=str | None, help="another graph of the encoder")
    parser.add_argument("--engine", type=str | None, help="another inference engine")
    parser.add_argument("--threads", type=int | None, help="threads of the engine")
    parser.add_argument("--json", type=Path | None, help="write the figures to this file too")
    parser.add_class_arguments(LocaliserConfig, _LOCALISER)
    # What is not given stays as it was flown, whatever the defaults are today.
    parser.set_defaults({f"{_LOCALISER}.{name}": None for name in _leaves(LocaliserConfig)})

    def act(options: Any) -> None:
        changed = {
            name: value
            for name, value in options[_LOCALISER].items(branches=False)
            if value is not None
        }
        names = ("flight", "output", "truth", "encoder", "map", "precision", "engine", "threads")
        report = replay(ReplayConfig(**{name: options[name] for name in names}, localiser=changed))
        flown = flight_figures(report.flown, report.truth)
        again = flight_figures(report.again, report.truth)
        distance = track_distance(report.flown, report.again)
        print_lines(_report_text(report, flown, again, distance))
        if options.json is not None:
            figures = figures_json(flown, again, distance)
            same = {"is_same": report.is_same, "changes": report.changes}
            write_json(options.json, {**same, **figures})
        if not report.is_same and not report.changes:
            raise SystemExit(EXIT_DIFFERS)

    return act


def _report_text(report: Any, flown: Any, again: Any, distance: Any) -> str:
    from edge_runtime.replay_comparison import comparison_table

    lines = [f"changed   {change}" for change in report.changes]
    if report.missing:
        lines.append(
            f"missing   {len(report.missing)} flown frames have no picture in the log, the first "
            f"is {report.missing[0]}: from there on fixes may differ"
        )
    if report.is_same:
        lines.append(f"the same  {len(report.again)} fixes, bit for bit")
        if not report.changes:
            return "\n".join(lines)
    elif report.difference is not None:
        lines.append(f"differs   {report.difference}")
        if not report.changes:
            lines += [f"software  {line}" for line in report.other_software]
    lines.append(comparison_table(flown, again))
    if distance is not None:
        lines.append(
            f"apart     median {distance.median_m:.1f} m, 95 % {distance.p95_m:.1f} m, largest "
            f"{distance.largest_m:.1f} m over {distance.frames} frames with both positions"
        )
    return "\n".join(lines)


def _leaves(kind: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings in nested dataclasses."""
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from _leaves(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
