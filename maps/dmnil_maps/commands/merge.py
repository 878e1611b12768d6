"""`dmnil-map merge`: several region maps as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.operations.merge import merge_maps
from edge_runtime.command_line import Action


def merge(parser: ArgumentParser) -> Action:
    """Put region maps together that are parts of one build, or updates of it."""
    parser.add_argument("maps", type=Path, nargs="+", help="region maps; the first ones win")
    parser.add_argument("-o", "--output", type=Path, required=True, help="map to write, NAME.map")

    def run(options: Any) -> None:
        report = merge_maps(options.maps, options.output)
        print_line(
            f"{report.output}: {report.tiles:,} tiles, {report.overlapping:,} more were in maps "
            "named earlier"
        )

    return run
