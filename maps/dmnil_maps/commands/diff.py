"""`dmnil-map diff`: what is different between two maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_json, print_line
from dmnil_maps.operations.difference import difference_of, table_of
from dmnil_maps.operations.difference_outputs import write_geojson, write_picture
from edge_runtime.command_line import Action
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.region_map import load_region_map


def diff(parser: ArgumentParser) -> Action:
    """Show which tiles one region map has, lacks or shows differently than another."""
    parser.add_argument("first", type=Path, help="region map, such as the older one")
    parser.add_argument("second", type=Path, help="region map to compare with it")
    parser.add_argument(
        "--limit", type=float, default=0.98, help="cosine below which a tile counts as changed"
    )
    parser.add_argument("-o", "--output", type=Path | None, help="picture to write, NAME.png")
    parser.add_argument("--geojson", type=Path | None, help="footprints to write, NAME.geojson")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")

    def run(options: Any) -> None:
        if not -1.0 <= options.limit <= 1.0:
            raise ConfigError(f"limit is a cosine, -1 to 1, not {options.limit}")
        if options.output is not None and options.output.suffix.lower() != ".png":
            raise ConfigError(f"{options.output} is not named .png")
        difference = difference_of(
            load_region_map(options.first), load_region_map(options.second), options.limit
        )
        if options.output is not None:
            write_picture(options.output, difference)
        if options.geojson is not None:
            write_geojson(options.geojson, difference)
        if options.json:
            print_json(difference.as_dict())
        else:
            print_line(table_of(difference))

    return run
