"""`dmnil-map build`: imagery to region map."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.area import GeodeticArea
from dmnil_maps.area_files import bounds_area, corridor_area, polygon_area
from dmnil_maps.build import build_with_report
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.commands.printing import print_json, print_line
from dmnil_maps.levels import footprints_for, parse_camera, parse_heights
from edge_runtime.command_line import Action
from edge_runtime.contract.errors import ConfigError


def build(parser: ArgumentParser) -> Action:
    """Build a region map from satellite imagery."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "sources",
        type=Path,
        nargs="+",
        help="GeoTIFF or anything else that GDAL opens, or folder of XYZ tiles (z/x/y.jpg); of "
        "several the first is on top",
    )
    parser.add_argument("--encoder", type=Path, required=True, help="encoder bundle to describe by")
    parser.add_argument("-o", "--output", type=Path, required=True, help="map to write, NAME.map")
    parser.add_argument(
        "--footprints",
        type=str | None,
        help="metres of ground along a tile's side, 120 if left out; several, separated by commas, "
        "make levels",
    )
    parser.add_argument(
        "--camera",
        type=str | None,
        help="choose the footprints for this camera: its camera.yaml, or 35 mm equivalent lens and "
        "picture size such as 24mm@4000x3000",
    )
    parser.add_argument(
        "--heights", type=str | None, help="metres above ground that --camera flies at: 60-150"
    )
    parser.add_argument(
        "--camera_pitch", type=float, default=-90.0, help="how --camera looks; -90 is straight down"
    )
    parser.add_argument(
        "--bounds", type=str | None, help="only here: west,south,east,north in degrees"
    )
    parser.add_argument("--polygon", type=Path | None, help="only here: GeoJSON file with polygons")
    parser.add_argument(
        "--corridor", type=Path | None, help="only along this route: GPX, or GeoJSON lines"
    )
    parser.add_argument("--width", type=float | None, help="metres from edge to edge of --corridor")
    parser.add_argument(
        "--stride_ratio", type=float, default=0.25, help="tile spacing as a share of the footprint"
    )
    parser.add_argument("--zoom", type=int | None, help="zoom of a tile folder, not its highest")
    parser.add_argument(
        "--crs", type=str | None, help="reference system of imagery that names none: EPSG:32632"
    )
    parser.add_argument(
        "--tms", type=bool | None, help="whether tile folders count rows from the south"
    )
    parser.add_argument(
        "--descriptor_size", type=int, default=256, help="values kept per tile, on the map's axes"
    )
    parser.add_argument(
        "--precision", default="fp32", help="graph to run: fp32, fp16, int8 or int8-cpu"
    )
    parser.add_argument(
        "--compress", default="none", help="storage of descriptors: none (float16), int8 or pq"
    )
    parser.add_argument(
        "--coarse_index",
        type=bool | None,
        help="index levels for searches without a prior; if left out, those above 50,000 tiles",
    )
    parser.add_argument(
        "--engine", default="onnxruntime", help="what runs the graph, as for edge_runtime run"
    )
    parser.add_argument(
        "--readers", type=int, default=2, help="threads that read imagery ahead of the encoder"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="the encoder's threads; 0 leaves it to the engine"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="tiles encoded at a time")
    parser.add_argument(
        "--ray",
        type=str | None,
        help="describe the tiles on this Ray cluster: host:port of its head, auto, or local",
    )
    parser.add_argument(
        "--imagery",
        type=bool,
        default=False,
        help="store the imagery itself in the map too: for refining positions, and for viewing",
    )
    parser.add_argument(
        "--imagery_resolution_m",
        type=float | None,
        help="metres a pixel of it; as the encoder sees the finest level if left out",
    )
    parser.add_argument(
        "--terrain",
        type=Path | None,
        help="raster of elevations in metres, to keep a small grid of: for ground that is not flat",
    )
    parser.add_argument(
        "--terrain_resolution_m",
        type=float | None,
        help="metres between its points; the raster's own, but at least 10, if left out",
    )
    parser.add_argument("--imagery_date", default="", help="when the imagery was taken, to keep")
    parser.add_argument("--attribution", default="", help="whom to credit for it, to keep")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")

    def run(options: Any) -> None:
        report = build_with_report(
            BuildConfig(
                imagery=tuple(options.sources),
                encoder=options.encoder,
                output=options.output,
                footprints_m=_footprints(options),
                stride_ratio=options.stride_ratio,
                area=_area(options),
                zoom=options.zoom,
                crs=options.crs,
                tms=options.tms,
                descriptor_size=options.descriptor_size,
                storage="float16" if options.compress == "none" else options.compress,
                coarse_index=options.coarse_index,
                precision=options.precision,
                engine=options.engine,
                threads=options.threads,
                readers=options.readers,
                batch_size=options.batch_size,
                ray=options.ray,
                imagery_date=options.imagery_date,
                attribution=options.attribution,
                carry_imagery=options.imagery,
                imagery_resolution_m=options.imagery_resolution_m,
                terrain=options.terrain,
                terrain_resolution_m=options.terrain_resolution_m,
            )
        )
        if options.json:
            print_json(report.as_dict())
            return
        damage = (
            f", {report.damaged_blocks} damaged blocks of imagery left out"
            if report.damaged_blocks
            else ""
        )
        print_line(
            f"{report.output}: {report.tiles:,} tiles in {report.wall_s:.1f} s, "
            f"{report.tiles_per_second:.1f} tiles/s, {report.encoder_share:.0%} of the time in "
            f"the encoder{damage}"
        )
        if report.compression is not None:
            print_line(f"{options.compress}: {report.compression}")

    return run


def _footprints(options: Any) -> tuple[float, ...]:
    if options.camera is None and options.heights is None:
        return _metres(options.footprints or "120")
    if options.footprints is not None:
        raise ConfigError("name either --footprints or --camera and --heights, not both")
    if options.camera is None or options.heights is None:
        raise ConfigError("--camera and --heights choose footprints together: name both")
    camera, heights = parse_camera(options.camera), parse_heights(options.heights)
    footprints_m = footprints_for(camera, heights, options.camera_pitch)
    chosen = ", ".join(f"{size:g}" for size in footprints_m)
    sys.stderr.write(
        f"dmnil-map: footprints of {chosen} m for flights at {heights.lowest_m:g} to "
        f"{heights.highest_m:g} m\n"
    )
    return footprints_m


def _area(options: Any) -> GeodeticArea | None:
    named = [name for name in ("bounds", "polygon", "corridor") if options[name] is not None]
    if len(named) > 1:
        raise ConfigError(f"name one area, not --{' and --'.join(named)}")
    if (options.corridor is None) != (options.width is None):
        raise ConfigError("--corridor and --width, its width in metres, belong together")
    if options.bounds is not None:
        return bounds_area(options.bounds)
    if options.polygon is not None:
        return polygon_area(options.polygon)
    return None if options.corridor is None else corridor_area(options.corridor, options.width)


def _metres(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--footprints takes metres such as 60,120, not {text!r}") from None
