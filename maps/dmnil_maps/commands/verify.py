"""`dmnil-map verify`: is a region map whole, unaltered and where it says?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.describe import verify_map
from edge_runtime.command_line import Action
from edge_runtime.contract.artefact import SIGNATURE_NAME
from edge_runtime.map_signature import require_signature


def verify(parser: ArgumentParser) -> Action:
    """Check that a region map is whole and unaltered."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("--encoder", type=Path | None, help="bundle that has to be the map's own")
    parser.add_argument("--key", type=Path | None, help="public key that has to confirm the map")

    def run(options: Any) -> None:
        if options.key is not None:
            require_signature(options.map, options.key)
        region_map = verify_map(options.map, options.encoder)
        with_encoder = "" if options.encoder is None else f", made with {options.encoder}"
        signed = "" if options.key is None else f", signed by {options.key}'s owner"
        if options.key is None and (options.map / SIGNATURE_NAME).exists():
            signed = ", its signature not checked (--key does)"
        print_line(f"{options.map}: intact, {len(region_map.tiles):,} tiles{with_encoder}{signed}")

    return run
