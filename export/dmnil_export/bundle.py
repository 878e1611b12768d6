"""The stage: weights in, verified encoder bundle out."""

from __future__ import annotations

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

import numpy as np

from dmnil_export.config import ExportConfig
from dmnil_export.golden_images import Images, generate_images, image_paths, read_images
from dmnil_export.half_precision import to_half_precision
from dmnil_export.onnx_graph import OPSET, fold_batch_norms, write_onnx
from dmnil_export.source import encoder_to_export
from dmnil_export.verification import (
    reference_descriptors,
    verify_half_arithmetic,
    verify_precision,
)
from dmnil_train.encoder.checkpoint import save_checkpoint
from dmnil_train.encoder.config import EncoderConfig
from edge_runtime.contract.artefact import staged_directory, write_manifest
from edge_runtime.contract.encoder_bundle import (
    BUNDLE_KIND,
    BUNDLE_SCHEMA_VERSION,
    GOLDEN_FILE,
    GRAPH_FILES,
)

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "weights.safetensors"
GOLDEN_COUNT = 4
VERIFICATION_COUNT = 16
_GOLDEN_SEED = 20_250_211
_VERIFICATION_SEED = 20_250_212
_EXPORTERS = ("torch", "onnx", "onnxscript")


def export_bundle(weights: str, output: Path, config: ExportConfig) -> Path:
    """Write an encoder bundle; it takes its place only once every graph in it is verified.

    Args:
        weights: See `source.encoder_to_export`.
        output: The bundle's folder, by custom NAME.encoder.
        config: What to export.
    Raises:
        DmnilError: If the weights or pictures cannot be used, the output cannot be written, or a
            graph does not do what the encoder does.
    """
    encoder, provenance = encoder_to_export(weights, config)
    golden, others = _pictures(config.golden_images, encoder.config)
    images = np.concatenate([golden, others])
    expected = reference_descriptors(encoder, images)
    folded = fold_batch_norms(encoder)
    with staged_directory(output, BUNDLE_KIND) as folder:
        save_checkpoint(encoder, folder / WEIGHTS_FILE, provenance)
        np.savez_compressed(
            folder / GOLDEN_FILE, images=golden, descriptors=expected[: len(golden)]
        )
        write_onnx(folded, folder / GRAPH_FILES["fp32"])
        body = _manifest_body(encoder.config, encoder.descriptor_size, provenance)
        measured = body["verification"]
        if config.fp16:
            half = to_half_precision(folded)
            measured["fp16"] = verify_half_arithmetic(half, golden, expected[: len(golden)])
            write_onnx(half, folder / GRAPH_FILES["fp16"])
        # Engines open bundles, not files: this manifest is replaced once the figures are in.
        write_manifest(folder, BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, body)
        for precision in ("fp32", "fp16") if config.fp16 else ("fp32",):
            in_engine = verify_precision(folder, precision, images, expected)
            measured[precision] = {**in_engine, **measured.get(precision, {})}
            logger.info("%s against torch: %s", precision, measured[precision])
        write_manifest(folder, BUNDLE_KIND, BUNDLE_SCHEMA_VERSION, body)
    return output


def _manifest_body(
    config: EncoderConfig, descriptor_size: int, provenance: dict[str, Any]
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
        "verification": {},
    }


def _pictures(folder: Path | None, config: EncoderConfig) -> tuple[Images, Images]:
    """The golden pictures, and more to verify on."""
    height, width = config.input_height, config.input_width
    others = generate_images(VERIFICATION_COUNT, height, width, _VERIFICATION_SEED)
    if folder is None:
        return generate_images(GOLDEN_COUNT, height, width, _GOLDEN_SEED), others
    paths = image_paths(folder)
    picked = np.unique(np.linspace(0, len(paths) - 1, GOLDEN_COUNT + VERIFICATION_COUNT, dtype=int))
    pictures = read_images([paths[index] for index in picked], height, width)
    in_bundle = np.unique(np.linspace(0, len(pictures) - 1, GOLDEN_COUNT, dtype=int))
    rest = np.setdiff1d(np.arange(len(pictures)), in_bundle)
    return pictures[in_bundle], np.concatenate([pictures[rest], others])
