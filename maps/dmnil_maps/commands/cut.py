"""`dmnil-map cut`: the part of a region map that a mission needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.area import GeodeticArea
from dmnil_maps.area_files import bounds_area, corridor_area, polygon_area
from dmnil_maps.commands.printing import print_line
from dmnil_maps.operations.cut import cut_map
from dmnil_maps.store.cut import cut_from_store
from edge_runtime.command_line import Action
from edge_runtime.contract.errors import ConfigError


def cut(parser: ArgumentParser) -> Action:
    """Cut a part out of a region map: bounds, a polygon, or a corridor along a route."""
    parser.add_argument(
        "map", type=Path | None, nargs="?", help="region map to cut from; it stays as it is"
    )
    parser.add_argument(
        "--milvus",
        type=str | None,
        help="cut from this store instead of a map: see dmnil-map store",
    )
    parser.add_argument("--collection", type=str | None, help="which map of the store")
    parser.add_argument("-o", "--output", type=Path, required=True, help="map to write, NAME.map")
    parser.add_argument(
        "--bounds", type=str | None, help="west,south,east,north in degrees: --bounds=8.5,47,8.6,48"
    )
    parser.add_argument(
        "--polygon", type=Path | None, help="GeoJSON file with one or more polygons"
    )
    parser.add_argument("--corridor", type=Path | None, help="route: GPX, or a line in GeoJSON")
    parser.add_argument(
        "--width", type=float | None, help="metres from edge to edge of the corridor"
    )

    def run(options: Any) -> None:
        if (options.map is None) == (options.milvus is None):
            raise ConfigError("give a map to cut from, or --milvus URI")
        if options.collection is not None and options.milvus is None:
            raise ConfigError("--collection goes with --milvus")
        area = _area(options)
        report = (
            cut_map(options.map, options.output, area)
            if options.milvus is None
            else cut_from_store(options.milvus, options.collection, options.output, area)
        )
        left_out = "".join(
            f"; its {footprint_m:g} m level has none there"
            for footprint_m in report.levels_left_out
        )
        print_line(f"{report.output}: {report.tiles:,} of {report.tiles_before:,} tiles{left_out}")

    return run


def _area(options: Any) -> GeodeticArea:
    given = [name for name in ("bounds", "polygon", "corridor") if options[name] is not None]
    if len(given) != 1:
        raise ConfigError("give one of --bounds, --polygon and --corridor")
    if (options.width is None) == (options.corridor is not None):
        raise ConfigError("--corridor and --width go together")
    if options.bounds is not None:
        return bounds_area(options.bounds)
    if options.polygon is not None:
        return polygon_area(options.polygon)
    return corridor_area(options.corridor, options.width)
