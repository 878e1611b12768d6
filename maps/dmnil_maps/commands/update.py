"""`dmnil-map update`: newer imagery into an existing map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_json, print_line
from dmnil_maps.operations.update import UpdateConfig, UpdateReport, update_map
from edge_runtime.command_line import Action


def update(parser: ArgumentParser) -> Action:
    """Bring a region map up to newer imagery: only what changed is described again."""
    parser.add_argument("map", type=Path, help="region map to start from; it stays as it is")
    parser.add_argument(
        "--imagery", type=Path, nargs="+", required=True, help="newer imagery, of all or of a part"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="map to write, NAME.map")
    parser.add_argument(
        "--previous",
        type=Path,
        nargs="+",
        default=[],
        help="the imagery that the map was made of, to compare with",
    )
    parser.add_class_arguments(UpdateConfig, None, skip={"map", "imagery", "output", "previous"})
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")

    def run(options: Any) -> None:
        values = options.as_dict()
        as_json = values.pop("json")
        values["imagery"], values["previous"] = tuple(options.imagery), tuple(options.previous)
        report = update_map(UpdateConfig(**values))
        if as_json:
            print_json(report.as_dict())
        else:
            print_line(_report_text(report))

    return run


def _report_text(report: UpdateReport) -> str:
    return (
        f"{report.output}: {report.changed:,} of {report.compared:,} tiles described again, "
        f"{report.added:,} added, {report.tiles:,} in all, in {report.wall_s:.1f} s"
    )
