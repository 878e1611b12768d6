"""`dmnil-map info`: what a region map holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_json, print_line
from dmnil_maps.describe import summary_of, table_of
from edge_runtime.command_line import Action
from edge_runtime.contract.region_map import load_region_map


def info(parser: ArgumentParser) -> Action:
    """Show what a region map holds."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("--json", action="store_true", help="print it as JSON")

    def run(options: Any) -> None:
        summary = summary_of(load_region_map(options.map))
        if options.json:
            print_json(summary)
        else:
            print_line(table_of(summary))

    return run
