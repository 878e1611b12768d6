"""`dmnil-map build`: imagery to region map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.build import BuildConfig, build_with_report
from dmnil_maps.commands.printing import print_json, print_line
from edge_runtime.command_line import Action
from edge_runtime.contract.errors import ConfigError


def build(parser: ArgumentParser) -> Action:
    """Build a region map from satellite imagery."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("imagery", type=Path, help="GeoTIFF, or folder of XYZ tiles (z/x/y.jpg)")
    parser.add_argument("--encoder", type=Path, required=True, help="encoder bundle to describe by")
    parser.add_argument("-o", "--output", type=Path, required=True, help="map to write, NAME.map")
    parser.add_argument(
        "--footprints",
        type=str,
        default="120",
        help="metres of ground along a tile's side; several, separated by commas, make levels",
    )
    parser.add_argument(
        "--stride_ratio", type=float, default=0.25, help="tile spacing as a share of the footprint"
    )
    parser.add_argument("--zoom", type=int | None, help="zoom of a tile folder, not its highest")
    parser.add_argument(
        "--descriptor_size", type=int, default=256, help="values kept per tile, on the map's axes"
    )
    parser.add_argument(
        "--precision", default="fp32", help="graph to run: fp32, fp16, int8 or int8-cpu"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="the encoder's threads; 0 leaves it to the engine"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="tiles encoded at a time")
    parser.add_argument("--imagery_date", default="", help="when the imagery was taken, to keep")
    parser.add_argument("--attribution", default="", help="whom to credit for it, to keep")
    parser.add_argument("--json", action="store_true", help="print the measurements as JSON")

    def run(options: Any) -> None:
        report = build_with_report(
            BuildConfig(
                imagery=options.imagery,
                encoder=options.encoder,
                output=options.output,
                footprints_m=_metres(options.footprints),
                stride_ratio=options.stride_ratio,
                zoom=options.zoom,
                descriptor_size=options.descriptor_size,
                precision=options.precision,
                threads=options.threads,
                batch_size=options.batch_size,
                imagery_date=options.imagery_date,
                attribution=options.attribution,
            )
        )
        if options.json:
            print_json(report.as_dict())
            return
        print_line(
            f"{report.output}: {report.tiles:,} tiles in {report.wall_s:.1f} s, "
            f"{report.tiles_per_second:.1f} tiles/s, {report.encoder_share:.0%} of the time in "
            "the encoder"
        )

    return run


def _metres(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--footprints takes metres such as 60,120, not {text!r}") from None
