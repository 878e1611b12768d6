"""ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s"), up to its last feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

TINY_DEPTHS = (3, 3, 9, 3)
TINY_WIDTHS = (96, 192, 384, 768)
STAGE_STRIDES = (4, 8, 16, 32)
NORM_EPSILON = 1e-6
_INITIAL_SCALE = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of an (N, C, H, W) map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPSILON)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Normalise every position's channels."""
        return super().forward(feature_map.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Reduction(nn.Module):
    """Step to the next, coarser stage; the first one cuts the image into 4x4 patches."""

    def __init__(self, channels_in: int, channels_out: int, first: bool) -> None:
        super().__init__()
        side = 4 if first else 2
        self.first = first
        self.convolution = nn.Conv2d(channels_in, channels_out, kernel_size=side, stride=side)
        self.norm = ChannelNorm(channels_out if first else channels_in)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Shrink the map by 4 (first) or 2."""
        if self.first:
            reduced: Tensor = self.norm(self.convolution(feature_map))
        else:
            reduced = self.convolution(self.norm(feature_map))
        return reduced


class Block(nn.Module):
    """Depthwise 7x7 convolution, then a perceptron on every position; scaled and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPSILON)
        self.expand = nn.Linear(channels, 4 * channels)
        self.project = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), _INITIAL_SCALE))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Refine the map, (N, C, H, W) as it came."""
        branch = self.norm(self.depthwise(feature_map).permute(0, 2, 3, 1))
        branch = self.scale * self.project(functional.gelu(self.expand(branch)))
        refined: Tensor = feature_map + branch.permute(0, 3, 1, 2)
        return refined


class ConvNeXt(nn.Module):
    """ConvNeXt without its classifier; the defaults are ConvNeXt-Tiny.

    Its stages end at strides 4, 8, 16 and 32; those beyond `output_stride` are left out.
    """

    def __init__(
        self,
        depths: Sequence[int] = TINY_DEPTHS,
        widths: Sequence[int] = TINY_WIDTHS,
        output_stride: int = 32,
    ) -> None:
        super().__init__()
        stages = STAGE_STRIDES.index(output_stride) + 1
        depths, widths = depths[:stages], widths[:stages]
        self.channels = widths[-1]
        self.reductions = nn.ModuleList(
            Reduction(channels_in, channels_out, first=index == 0)
            for index, (channels_in, channels_out) in enumerate(
                zip((3, *widths[:-1]), widths, strict=True)
            )
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        self.apply(_initialise)

    @property
    def parts(self) -> list[nn.Module]:
        """The four stages with their reductions, in order: applied in turn they are `forward`."""
        return [
            nn.Sequential(reduction, stage)
            for reduction, stage in zip(self.reductions, self.stages, strict=True)
        ]

    def forward(self, images: Tensor) -> Tensor:
        """Last feature map (N, C, H / stride, W / stride) of normalised images (N, 3, H, W)."""
        feature_map = images
        for reduction, stage in zip(self.reductions, self.stages, strict=True):
            feature_map = stage(reduction(feature_map))
        return feature_map


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
