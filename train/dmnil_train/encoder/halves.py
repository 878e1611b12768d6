"""An encoder cut in two: a frozen half whose output can be kept, and a half that is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.heads import GridAverage, Head
from dmnil_train.encoder.model import Encoder


class FrozenHalf(nn.Module):
    """The scaling of pixels and the backbone's first parts; nothing in it is trained."""

    def __init__(self, encoder: Encoder, parts: int) -> None:
        super().__init__()
        self._encoder = encoder
        self.parts = nn.Sequential(*encoder.backbone.parts[:parts])
        self.parts.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) of images (N, H, W, 3), 0-255; scaled pixels with no part."""
        feature_map: Tensor = self.parts(self._encoder.network_input(images))
        return feature_map


class TrainedHalf(nn.Module):
    """The backbone's last parts and the head: feature maps to the paper's f.

    Args:
        freeze_batch_norm: Normalise with the stored statistics while training too; a small pool's
            own are too noisy.
    """

    def __init__(self, parts: nn.Sequential, head: Head, freeze_batch_norm: bool) -> None:
        super().__init__()
        self.parts = parts
        self.head = head
        self.freeze_batch_norm = freeze_batch_norm

    def as_grid(self, grid_size: int) -> TrainedHalf:
        """The same parts, and whether they train, under a head of G x G cells."""
        channels = self.head.channels
        grid = TrainedHalf(
            self.parts, GridAverage(channels, self.head.norm, grid_size), self.freeze_batch_norm
        )
        grid.training = self.training
        return grid

    def train(self, mode: bool = True) -> TrainedHalf:
        """As any module, but for frozen batch normalisations."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, feature_map: Tensor) -> Tensor:
        """Vectors f (N, D), float32, before they are brought to unit length."""
        vectors: Tensor = self.head(self.parts(feature_map).to(torch.float32))
        return vectors


def count_parts(config: EncoderConfig) -> int:
    """How many parts the backbone of a configuration has."""
    with torch.device("meta"):
        return len(Encoder(config).backbone.parts)


def split_encoder(
    encoder: Encoder, frozen_parts: int, freeze_batch_norm: bool
) -> tuple[FrozenHalf, TrainedHalf]:
    """The two halves, which share the encoder's weights: training them trains it.

    Raises:
        ValueError: If no part would be left to train, or the encoder has a projection.
    """
    if not 0 <= frozen_parts < len(encoder.backbone.parts):
        raise ValueError(f"of {len(encoder.backbone.parts)} parts, {frozen_parts} cannot be frozen")
    if encoder.projection is not None:
        raise ValueError("a projection is fitted after training, not trained")
    return (
        FrozenHalf(encoder, frozen_parts),
        TrainedHalf(
            nn.Sequential(*encoder.backbone.parts[frozen_parts:]), encoder.head, freeze_batch_norm
        ),
    )
