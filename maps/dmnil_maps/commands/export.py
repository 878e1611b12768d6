"""`dmnil-map export`: a map's tiles for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.parquet import export_parquet
from edge_runtime.command_line import Action
from edge_runtime.contract.region_map import load_region_map


def export(parser: ArgumentParser) -> Action:
    """Write a region map's tiles as a GeoParquet file."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("-o", "--output", type=Path, required=True, help="file, NAME.parquet")
    parser.add_argument(
        "--descriptors", type=bool, default=True, help="whether to write the tiles' descriptors"
    )

    def run(options: Any) -> None:
        region_map = load_region_map(options.map)
        written = export_parquet(region_map, options.output, descriptors=options.descriptors)
        size_mb = written.stat().st_size / 1e6
        print_line(f"{written}: {len(region_map.tiles):,} tiles, {size_mb:.1f} MB")

    return run
