"""From the weights a user names to the encoder to export."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from dmnil_export.config import ExportConfig
from dmnil_export.golden_images import Images, image_paths, read_images
from dmnil_export.graph_contract import departures, read_graph
from dmnil_train.encoder.choices import EncoderChoices
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from dmnil_train.encoder.pca import fit_projection
from dmnil_train.encoder.starting_weights import encoder_with, read_weights
from edge_runtime.contract.errors import BundleError, ConfigError

PCA_BATCH = 16
GRAPH_SUFFIX = ".onnx"


def encoder_to_export(weights: str, config: ExportConfig) -> tuple[Encoder, dict[str, Any]]:
    """The encoder in evaluation mode, and how its weights came to be.

    Args:
        weights: The word `efficientnet-lite2`, or a file: a checkpoint of ours, or published
            weights (.safetensors, .pth) in one of the known namings.
        config: What it leaves out comes from the checkpoint, or from the backbone's usual form.
    Raises:
        BundleError: If the file is missing, damaged, or fits no known network.
        ConfigError: If the choices contradict the weights or each other.
    """
    if Path(weights).suffix == GRAPH_SUFFIX:
        _refuse_graph(Path(weights))
    checkpoint = read_weights(weights)
    provenance = dict(checkpoint.provenance)
    if config.backbone not in (None, checkpoint.config.backbone):
        raise ConfigError(
            f"{weights} holds a {checkpoint.config.backbone}, --backbone says {config.backbone}"
        )
    chosen = _with_choices(checkpoint.config, config)
    encoder = encoder_with(checkpoint, chosen)
    if config.pca_images is not None and config.descriptor_size is not None:
        paths = image_paths(config.pca_images)
        encoder = fit_projection(
            encoder, _batches(paths, chosen), config.descriptor_size, config.whitening_power
        )
        provenance["projection"] = {
            "method": "principal components, without labels",
            "images": len(paths),
            "whitening_power": config.whitening_power,
        }
    return encoder, provenance


def _refuse_graph(path: Path) -> NoReturn:
    """A graph is an end product; what is unusual about this one is told along."""
    found = departures(read_graph(path))
    told = f" ({'; '.join(found)})" if found else ""
    raise BundleError(
        f"{path} is an ONNX graph{told}, and graphs are what is exported, not exported from: "
        "give the weights that it was made of"
    )


def _with_choices(own: EncoderConfig, config: ExportConfig) -> EncoderConfig:
    choices = EncoderChoices(
        head=config.head,
        grid_size=config.grid_size,
        ring_count=config.ring_count,
        output_stride=config.output_stride,
        input_size=config.input_size,
        pixel_scale=config.pixel_scale,
    )
    if config.pca_images is not None:
        own = dataclasses.replace(own, descriptor_size=None)
    return choices.applied_to(own)


def _batches(paths: list[Path], config: EncoderConfig) -> Iterator[Images]:
    for start in range(0, len(paths), PCA_BATCH):
        batch = paths[start : start + PCA_BATCH]
        yield read_images(batch, config.input_height, config.input_width)
