"""`dmnil-map keygen` and `dmnil-map sign`: maps that say who made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.signing import make_keys, sign_map
from edge_runtime.command_line import Action


def keygen(parser: ArgumentParser) -> Action:
    """Make a pair of Ed25519 keys: the private one signs maps, the public one flies with them."""
    parser.add_argument("private", type=Path, help="private key to write, private.pem")
    parser.add_argument("public", type=Path, help="public key to write, public.pem")

    def run(options: Any) -> None:
        make_keys(options.private, options.public)
        print_line(
            f"{options.private}: keep it secret, it signs maps\n"
            f"{options.public}: for the drones, edge_runtime run --require-signed {options.public}"
        )

    return run


def sign(parser: ArgumentParser) -> Action:
    """Sign a region map, so that drones can tell who made it and that nobody altered it."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("--key", type=Path, required=True, help="private key, a PEM file")

    def run(options: Any) -> None:
        print_line(f"{sign_map(options.map, options.key)}: signed")

    return run
