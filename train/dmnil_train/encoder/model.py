"""The encoder: images in, unit-length descriptors out, normalisation inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.convnext import NORM_EPSILON, ConvNeXt
from dmnil_train.encoder.efficientnet_lite import EfficientNetLite2
from dmnil_train.encoder.heads import (
    GlobalAverage,
    GridAverage,
    Head,
    Projection,
    RingAverage,
    unit_length,
)
from dmnil_train.encoder.naming import list_of_names
from edge_runtime.contract.errors import BundleError


@dataclass(frozen=True)
class PixelStatistics:
    """Normalisation of 8-bit RGB values: (value - mean) / deviation, per channel."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


IMAGENET_SCALE = PixelStatistics((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# The Lite weights were converted from TensorFlow's, which were trained on (value - 127) / 128: so
# scaled, natural images reproduce the statistics stored in the batch normalisations.
LITE_SCALE = PixelStatistics((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))

NATURAL_DEVIATION = 57.6
"""Typical deviation of an 8-bit channel in natural images (ImageNet's)."""
FLAT_IMAGE_DEVIATION = 5.0
"""Keeps the noise of an almost uniform image from being blown up to full contrast."""


class Encoder(nn.Module):
    """Backbone, head and optional projection (`config.descriptor_size`).

    Called, it takes uint8 images (N, H, W, 3) in RGB and returns float32 descriptors (N, D) of
    unit length. The backbone may run in half precision; everything after it is float32.
    """

    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        norm: nn.Module
        if config.backbone == "convnext":
            self.backbone: ConvNeXt | EfficientNetLite2 = ConvNeXt(
                config.depths, config.widths, config.output_stride
            )
            # Published normalisations are the last stage's; for an earlier one there is none.
            whole = config.output_stride == 32
            norm = nn.LayerNorm(config.channels, eps=NORM_EPSILON, elementwise_affine=whole)
            scale = IMAGENET_SCALE
        else:
            self.backbone = EfficientNetLite2(config.output_stride)
            norm = nn.Identity()
            scale = LITE_SCALE
        self.head: Head
        if config.head == "gap":
            self.head = GlobalAverage(config.channels, norm)
        elif config.head == "grid":
            self.head = GridAverage(config.channels, norm, config.grid_size)
        else:
            self.head = RingAverage(config.channels, norm, config.ring_count)
        size = config.descriptor_size
        self.projection = None if size is None else Projection(self.head.size, size)
        self.descriptor_size = self.head.size if size is None else size
        self.register_buffer("pixel_mean", torch.tensor(scale.mean), persistent=False)
        self.register_buffer("pixel_deviation", torch.tensor(scale.deviation), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Descriptors (N, D), float32, unit length."""
        return unit_length(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """The vectors (N, D) before they are brought to unit length; the paper's f."""
        vectors = self.head_vectors(images)
        return vectors if self.projection is None else self.projection(vectors)

    def head_vectors(self, images: Tensor) -> Tensor:
        """The head's vectors (N, head size), before any projection."""
        vectors: Tensor = self.head(self.backbone(self.network_input(images)).to(torch.float32))
        return vectors

    def network_input(self, images: Tensor) -> Tensor:
        """Images (N, H, W, 3) of 0-255 on the backbone's scale and in its type, (N, 3, H, W)."""
        # Cast first: TensorRT takes uint8 at the input, and nothing but a cast may read it.
        pixels = self._scaled(images.to(torch.float32))
        return pixels.permute(0, 3, 1, 2).to(next(self.backbone.parameters()).dtype)

    def _scaled(self, pixels: Tensor) -> Tensor:
        """Pixel values (N, H, W, 3) on the scale that the backbone was trained on."""
        if self.config.pixel_scale == "fixed":
            return (pixels - self.pixel_mean) / self.pixel_deviation
        centred = pixels - pixels.mean(dim=(1, 2), keepdim=True)
        deviation = centred.square().mean(dim=(1, 2), keepdim=True).sqrt()
        natural = NATURAL_DEVIATION / self.pixel_deviation
        return centred / (deviation + FLAT_IMAGE_DEVIATION) * natural


def build_encoder(config: EncoderConfig, weights: Mapping[str, Tensor] | None = None) -> Encoder:
    """An encoder with the given weights, or with new ones.

    Args:
        config: What to build.
        weights: Named as `Encoder.state_dict` names them (see `naming` for others' names). The
            projection may be absent: it is fitted afterwards, without labels.
    Raises:
        BundleError: If weights are missing, unexpected or of another shape.
    """
    encoder = Encoder(config)
    if weights is None:
        return encoder
    own = encoder.state_dict()
    missing = [n for n in own if n not in weights and not n.startswith("projection.")]
    unexpected = [name for name in weights if name not in own]
    if missing or unexpected:
        parts = (("missing", missing), ("unexpected", unexpected))
        raise BundleError(
            f"the weights do not fit a {config.backbone} encoder: "
            + "; ".join(f"{word}: {list_of_names(names)}" for word, names in parts if names)
        )
    for name, value in weights.items():
        if value.shape != own[name].shape:
            raise BundleError(
                f"weight {name} is {tuple(value.shape)}, a {config.backbone} encoder of this "
                f"configuration has {tuple(own[name].shape)}"
            )
    encoder.load_state_dict(dict(weights), strict=False)
    return encoder
