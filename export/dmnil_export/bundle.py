"""The stage: weights in, verified encoder bundle out."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dmnil_export.config import ExportConfig
from dmnil_export.engine import build_engines, require_tensorrt
from dmnil_export.graph_contract import OPSET
from dmnil_export.graphs import write_graphs
from dmnil_export.measurement import measure_graphs
from dmnil_export.pictures import ExportPictures, choose_pictures
from dmnil_export.report import ExportReport
from dmnil_export.retrieval_agreement import own_pictures_task
from dmnil_export.rtx_gate import rtx_gate, rtx_is_installed
from dmnil_export.source import encoder_to_export
from dmnil_export.verification import Figures, reference_descriptors, require_thresholds
from dmnil_train.data.pool import RetrievalTask
from dmnil_train.encoder.checkpoint import save_checkpoint
from dmnil_train.encoder.config import EncoderConfig
from edge_runtime.contract.artefact import staged_directory, write_manifest
from edge_runtime.contract.encoder_bundle import (
    BUNDLE_KIND,
    BUNDLE_SCHEMA_VERSION,
    GOLDEN_FILE,
    GRAPH_FILES,
)
from edge_runtime.contract.errors import BundleError, ConfigError
from edge_runtime.engines.golden_check import FLOOR_COSINE

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"
_EXPORTERS = ("torch", "onnx", "onnxscript")
_WITHOUT_GATE = ("int8-cpu",)
_WORST = ("cosine_min", "half_arithmetic_cosine_min")


def export_bundle(weights: str, output: Path, config: ExportConfig) -> ExportReport:
    """Write an encoder bundle; it takes its place only once every graph in it is verified.

    Args:
        weights: See `source.encoder_to_export`.
        output: The bundle's folder, by custom NAME.encoder.
        config: What to export.
    Raises:
        DmnilError: If the weights or pictures cannot be used, the output cannot be written, a
            graph does not do what the encoder does, or an engine cannot be built.
    """
    if config.engine:
        require_tensorrt()
    if config.rtx_gate and not rtx_is_installed():
        raise ConfigError(
            "--rtx-gate needs TensorRT-RTX, which is not installed: "
            "pip install 'dmnil-edge[rtx]', or leave the gate out"
        )
    encoder, provenance = encoder_to_export(weights, config)
    pictures = choose_pictures(encoder.config, config.golden_images, config.calibrate)
    expected = reference_descriptors(encoder, pictures.golden)
    tasks = _retrieval_tasks(config, encoder.config, pictures)
    with staged_directory(output, BUNDLE_KIND) as folder:
        save_checkpoint(encoder, folder / WEIGHTS_FILE, provenance)
        np.savez_compressed(folder / GOLDEN_FILE, images=pictures.golden, descriptors=expected)
        graphs = write_graphs(encoder, pictures, config, folder)
        body = _manifest_body(encoder.config, encoder.descriptor_size, provenance, config)
        if graphs.calibration is not None:
            body["calibration"] = graphs.calibration
        # Engines open bundles, not files: this manifest is replaced once the figures are in.
        write_manifest(folder, BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, body)
        measured = measure_graphs(folder, encoder, graphs.half, pictures, tasks)
        require_thresholds(measured, config.thresholds)
        notes = _notes_on_calibration(measured, config) + _notes_on_flying(measured)
        if config.rtx_gate:
            notes += _pass_rtx_gate(folder, measured, config)
        body["verification"] = measured
        write_manifest(folder, BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, body)
    if config.engine:
        built = build_engines(output)
        notes.append(f"TensorRT engines were built on this machine: {', '.join(built)}")
    return ExportReport.of_bundle(output, tuple(notes))


def _manifest_body(
    config: EncoderConfig, descriptor_size: int, provenance: dict[str, Any], choices: ExportConfig
) -> dict[str, Any]:
    """Everything that is known before verification; no times and no paths, so that it repeats."""
    return {
        "backbone": config.backbone,
        "head": config.head,
        "input_height": config.input_height,
        "input_width": config.input_width,
        "channel_order": "RGB",
        "descriptor_size": descriptor_size,
        "encoder_config": config.as_dict(),
        "provenance": provenance,
        "opset": OPSET,
        "exported_with": {name: importlib.metadata.version(name) for name in _EXPORTERS},
        "engine_batches": [choices.batches.usual, choices.batches.most],
        "thresholds": asdict(choices.thresholds),
        "verification": {},
    }


def _retrieval_tasks(
    config: ExportConfig, encoder: EncoderConfig, pictures: ExportPictures
) -> Sequence[RetrievalTask]:
    """What coarser precisions are to find: true places, or else the pictures themselves."""
    if config.precisions == ("fp32",):
        return []
    if config.data is None:
        return [own_pictures_task(pictures.verification)]
    try:
        # Here and not above: reading rasters is an extra of its own.
        from dmnil_train.data.layouts import open_retrieval_tasks
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--data needs {error.name}, which is not installed: pip install 'dmnil-edge[maps]'"
        ) from error
    tasks = open_retrieval_tasks(config.data, encoder.input_height, encoder.input_width)
    if not tasks:
        raise ConfigError("--data tells no true places to compare retrieval on: add --data.truth")
    return tasks


def _notes_on_calibration(measured: dict[str, Figures], config: ExportConfig) -> list[str]:
    """What speaks against the calibration pictures: 8 bits that fit nothing else."""
    notes = []
    for precision, figures in measured.items():
        elsewhere = figures.get("generated_cosine_mean", 1.0)
        if precision.startswith("int8") and elsewhere < config.thresholds.int8_mean_cosine:
            notes.append(
                f"warning: {precision} keeps a mean cosine of {elsewhere:.3f} on generated "
                f"pictures of the ground, {figures['cosine_mean']:.3f} on those of "
                f"{config.calibrate}: does the camera see what they show?"
            )
    return notes


def _notes_on_flying(measured: dict[str, Figures]) -> list[str]:
    """What a lowered threshold let pass, and the drone will not."""
    return [
        f"warning: {precision} keeps a cosine of {worst:.4f} at worst: the runtime flies no engine "
        f"that is below {FLOOR_COSINE:g} on the golden pictures, whatever the thresholds"
        for precision, figures in measured.items()
        if (worst := min(figures[name] for name in _WORST if name in figures)) < FLOOR_COSINE
    ]


def _pass_rtx_gate(folder: Path, measured: dict[str, Figures], config: ExportConfig) -> list[str]:
    """Note for every graph meant for TensorRT that TensorRT-RTX builds it.

    Raises:
        BundleError: If it refuses one.
    """
    for precision, figures in measured.items():
        if precision in _WITHOUT_GATE:
            continue
        path = folder / GRAPH_FILES[precision]
        logger.info("showing the %s graph to TensorRT-RTX, not to a Jetson's TensorRT", precision)
        result = rtx_gate(path, config.batches.usual, config.batches.most)
        if result.refusal is not None:
            raise BundleError(f"the {precision} graph does not pass the gate: {result.refusal}")
        figures["tensorrt_rtx"] = f"{result.version} builds it"
    return ["TensorRT-RTX is not the TensorRT of a Jetson: it tells that a graph can be parsed"]
