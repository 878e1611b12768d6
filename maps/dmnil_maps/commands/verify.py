"""`dmnil-map verify`: is a region map whole, unaltered and where it says?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.describe import verify_map
from edge_runtime.command_line import Action


def verify(parser: ArgumentParser) -> Action:
    """Check that a region map is whole and unaltered."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("--encoder", type=Path | None, help="bundle that has to be the map's own")

    def run(options: Any) -> None:
        region_map = verify_map(options.map, options.encoder)
        with_encoder = "" if options.encoder is None else f", made with {options.encoder}"
        print_line(f"{options.map}: intact, {len(region_map.tiles):,} tiles{with_encoder}")

    return run
