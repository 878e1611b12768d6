"""The graphs of a bundle, one a precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmnil_export.config import ExportConfig
from dmnil_export.onnx_graph import fold_batch_norms, onnx_graph, write_graph
from dmnil_export.pictures import ExportPictures
from dmnil_export.precision.half import to_half_precision
from dmnil_export.precision.int8 import calibrate_for
from dmnil_export.precision.int8_cpu import cpu_quantised_graph
from dmnil_export.precision.layers import with_own_biases
from dmnil_export.precision.quantised_graph import quantised_graph
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.encoder_bundle import GRAPH_FILES


@dataclass(frozen=True)
class WrittenGraphs:
    """What is known of the graphs beyond their files.

    Args:
        half: The encoder in half precision, if it was asked for.
        calibration: How 8-bit ranges were chosen, for the manifest; none without 8 bits.
    """

    half: Encoder | None
    calibration: dict[str, Any] | None


def write_graphs(
    encoder: Encoder, pictures: ExportPictures, config: ExportConfig, folder: Path
) -> WrittenGraphs:
    """Write every graph that the configuration asks for into a folder."""
    folded = fold_batch_norms(encoder)
    exact = onnx_graph(folded)
    write_graph(exact, folder / GRAPH_FILES["fp32"])
    half = to_half_precision(folded) if config.fp16 else None
    if half is not None:
        write_graph(onnx_graph(half), folder / GRAPH_FILES["fp16"])
    if pictures.calibration is None or not (config.int8 or config.int8_cpu):
        return WrittenGraphs(half, None)
    # Half-way to a perfect cosine: other pictures fare a little worse than those calibrated on.
    wanted = (1.0 + config.thresholds.int8_mean_cosine) / 2.0
    exact = with_own_biases(exact)
    calibration = calibrate_for(exact, pictures.calibration, wanted)
    if config.int8:
        write_graph(quantised_graph(exact, calibration), folder / GRAPH_FILES["int8"])
    if config.int8_cpu:
        quantised = cpu_quantised_graph(exact, calibration, pictures.calibration)
        write_graph(quantised, folder / GRAPH_FILES["int8-cpu"])
    about = {
        "pictures": len(pictures.calibration),
        "layers": len(calibration.noise) + len(calibration.in_float),
        "layers_in_float": list(calibration.in_float),
    }
    return WrittenGraphs(half, about)
