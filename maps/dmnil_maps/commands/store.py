"""`dmnil-map store`: a region map into a vector store, from which missions are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.store.fill import store_map
from edge_runtime.command_line import Action


def store(parser: ArgumentParser) -> Action:
    """Put a region map's tiles into Milvus; `dmnil-map cut --milvus` takes missions out."""
    parser.add_argument("map", type=Path, help="region map; it stays as it is")
    parser.add_argument(
        "--milvus",
        type=str,
        required=True,
        help="http://host:19530 of a server (its token in MILVUS_TOKEN), or a local NAME.db",
    )
    parser.add_argument("--collection", type=str | None, help="its name there, else the map's own")
    parser.add_argument(
        "--replace", action="store_true", help="in place of another map in that collection"
    )

    def run(options: Any) -> None:
        report = store_map(options.map, options.milvus, options.collection, replace=options.replace)
        print_line(
            f"{options.milvus}: collection {report.collection} holds {report.tiles:,} tiles of "
            f"{options.map}, {report.added:,} of them new"
        )

    return run
