"""The command `dmnil-map`: a subcommand is one function here and one entry of `SUBCOMMANDS`."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.build import BuildConfig, build_with_report
from dmnil_maps.describe import summary_of, table_of, verify_map
from dmnil_maps.sample import SampleConfig, write_sample
from edge_runtime.command_line import Action, Subcommand, run_subcommand
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.region_map import load_region_map

_EXIT_TERMINATED = 143


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
            _print_json(report.as_dict())
            return
        _print(
            f"{report.output}: {report.tiles:,} tiles in {report.wall_s:.1f} s, "
            f"{report.tiles_per_second:.1f} tiles/s, {report.encoder_share:.0%} of the time in "
            "the encoder"
        )

    return run


def info(parser: ArgumentParser) -> Action:
    """Show what a region map holds."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("--json", action="store_true", help="print it as JSON")

    def run(options: Any) -> None:
        summary = summary_of(load_region_map(options.map))
        if options.json:
            _print_json(summary)
        else:
            _print(table_of(summary))

    return run


def verify(parser: ArgumentParser) -> Action:
    """Check that a region map is whole and unaltered."""
    parser.add_argument("map", type=Path, help="region map")
    parser.add_argument("--encoder", type=Path | None, help="bundle that has to be the map's own")

    def run(options: Any) -> None:
        region_map = verify_map(options.map, options.encoder)
        with_encoder = "" if options.encoder is None else f", made with {options.encoder}"
        _print(f"{options.map}: intact, {len(region_map.tiles):,} tiles{with_encoder}")

    return run


def sample(parser: ArgumentParser) -> Action:
    """Generate a world: satellite picture and flight, or a dataset for training."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder, NAME.world")
    parser.add_class_arguments(SampleConfig, None, skip={"output"})

    def run(options: Any) -> None:
        values = options.as_dict()
        values.pop("config")
        written = write_sample(SampleConfig(**values))
        _print(f"{written}: {', '.join(sorted(path.name for path in written.iterdir()))}")

    return run


SUBCOMMANDS: dict[str, Subcommand] = {
    "build": build,
    "info": info,
    "verify": verify,
    "sample": sample,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 when done, 2 when the user can put something right."""
    logging.basicConfig(level=logging.WARNING, format="dmnil-map: %(message)s")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # its errors are raised as well
    signal.signal(signal.SIGTERM, _terminate)
    return run_subcommand("dmnil-map", "Make and inspect region maps.", SUBCOMMANDS, arguments)


def _metres(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--footprints takes metres such as 60,120, not {text!r}") from None


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave through the stack, so that a half-written map is removed."""
    sys.exit(_EXIT_TERMINATED)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _print_json(content: object) -> None:
    _print(json.dumps(content, indent=2))


if __name__ == "__main__":
    sys.exit(main())
