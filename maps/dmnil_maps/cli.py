"""The command `dmnil-map`: each subcommand is one function here and one entry of `COMMANDS`."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from jsonargparse import auto_cli

from dmnil_maps.build import BuildConfig, build_with_report
from dmnil_maps.describe import summary_of, table_of, verify_map
from edge_runtime.contract.errors import ConfigError, DmnilError
from edge_runtime.contract.region_map import load_region_map

_EXIT_ERROR = 2
_EXIT_INTERRUPTED = 130
_EXIT_TERMINATED = 143


def build(
    imagery: Path,
    encoder: Path,
    output: Path,
    footprints: str = "120",
    stride_ratio: float = 0.25,
    zoom: int | None = None,
    precision: str = "fp32",
    threads: int = 0,
    batch_size: int = 16,
    imagery_date: str = "",
    attribution: str = "",
    json: bool = False,
) -> None:
    """Build a region map from satellite imagery.

    Args:
        imagery: GeoTIFF, or folder of XYZ tiles (z/x/y.jpg).
        encoder: Encoder bundle; its descriptors are those that the drone will compute.
        output: The map to write, NAME.map; a map that is there is replaced when done.
        footprints: Metres of ground along a tile's side; several, separated by commas, make
            several levels, for flights at several heights.
        stride_ratio: Distance between neighbouring tiles as a share of their footprint.
        zoom: Zoom of a tile folder; the highest present if not given.
        precision: Graph of the bundle to run: fp32, fp16 or int8.
        threads: Processor threads of the encoder; 0 leaves it to the engine.
        batch_size: Tiles encoded at a time.
        imagery_date: When the imagery was taken, kept in the map.
        attribution: Whom to credit for the imagery, kept in the map.
        json: Print the measurements as JSON.
    """
    report = build_with_report(
        BuildConfig(
            imagery=imagery,
            encoder=encoder,
            output=output,
            footprints_m=_metres(footprints),
            stride_ratio=stride_ratio,
            zoom=zoom,
            precision=precision,
            threads=threads,
            batch_size=batch_size,
            imagery_date=imagery_date,
            attribution=attribution,
        )
    )
    if json:
        _print_json(
            {
                "output": str(report.output),
                "tiles": report.tiles,
                "tiles_per_level": list(report.tiles_per_level),
                "wall_s": round(report.wall_s, 3),
                "encoder_s": round(report.encoder_s, 3),
                "encoder_share": round(report.encoder_share, 4),
                "tiles_per_second": round(report.tiles_per_second, 2),
            }
        )
        return
    _print(
        f"{report.output}: {report.tiles:,} tiles in {report.wall_s:.1f} s, "
        f"{report.tiles_per_second:.1f} tiles/s, {report.encoder_share:.0%} of the time in the "
        "encoder"
    )


def info(map: Path, json: bool = False) -> None:  # noqa: A002 - the option is named --map
    """Show what a region map holds.

    Args:
        map: The region map.
        json: Print it as JSON.
    """
    summary = summary_of(load_region_map(map))
    if json:
        _print_json(summary)
    else:
        _print(table_of(summary))


def verify(map: Path, encoder: Path | None = None) -> None:  # noqa: A002 - as above
    """Check that a region map is whole and unaltered.

    Args:
        map: The region map.
        encoder: An encoder bundle that has to be the map's own.
    """
    region_map = verify_map(map, encoder)
    with_encoder = "" if encoder is None else f", made with {encoder}"
    _print(f"{map}: intact, {len(region_map.tiles):,} tiles{with_encoder}")


COMMANDS: dict[str, Callable[..., Any]] = {"build": build, "info": info, "verify": verify}


def main() -> None:
    """Run a subcommand; a user's error is one line on stderr and exit status 2."""
    logging.basicConfig(format="dmnil-map: %(levelname)s: %(message)s")
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)  # its errors are raised as well
    signal.signal(signal.SIGTERM, _terminate)
    try:
        auto_cli(dict(COMMANDS), as_positional=False)
    except DmnilError as error:
        sys.stderr.write(f"dmnil-map: error: {error}\n")
        sys.exit(_EXIT_ERROR)
    except KeyboardInterrupt:
        sys.stderr.write("dmnil-map: interrupted, nothing was written\n")
        sys.exit(_EXIT_INTERRUPTED)


def _metres(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"footprints are metres separated by commas, such as 60,120: {text!r}"
        ) from None


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave through the stack, so that a half-written map is removed."""
    sys.exit(_EXIT_TERMINATED)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _print_json(content: object) -> None:
    _print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
