"""EfficientNet-Lite2 (Tan and Le 2019; the Lite variant of 2020), cut off at a chosen stride.

The Lite networks leave out squeeze-and-excitation and use ReLU6, which suits small devices.
Padding is TensorFlow's "same": where it is uneven, the extra row and column lie bottom right.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.01
STEM_CHANNELS = 32
TOP_CHANNELS = 1280


@dataclass(frozen=True)
class StageShape:
    """One stage: blocks of the same width, of which the first one strides."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


LITE2_STAGES = (
    StageShape(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    StageShape(repeats=3, kernel=3, stride=2, expansion=6, channels=24),
    StageShape(repeats=3, kernel=5, stride=2, expansion=6, channels=48),
    StageShape(repeats=4, kernel=3, stride=2, expansion=6, channels=88),
    StageShape(repeats=4, kernel=5, stride=1, expansion=6, channels=120),
    StageShape(repeats=5, kernel=5, stride=2, expansion=6, channels=208),
    StageShape(repeats=1, kernel=3, stride=1, expansion=6, channels=352),
)


class ConvNorm(nn.Module):
    """Convolution with "same" padding, then batch normalisation."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        even_padding = kernel // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(
            channels_in, channels_out, kernel, stride, even_padding, groups=groups, bias=False
        )
        self.norm: nn.Module = nn.BatchNorm2d(
            channels_out, eps=NORM_EPSILON, momentum=NORM_MOMENTUM
        )

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map of ceil(side / stride) rows and columns."""
        if self.stride > 1:
            top, bottom = _same_padding(feature_map.shape[2], self.kernel, self.stride)
            left, right = _same_padding(feature_map.shape[3], self.kernel, self.stride)
            feature_map = functional.pad(feature_map, (left, right, top, bottom))
        normalised: Tensor = self.norm(self.convolution(feature_map))
        return normalised


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow again; added to its input where shapes agree."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        channels = channels_in * expansion
        self.expand = ConvNorm(channels_in, channels, kernel=1) if expansion > 1 else None
        self.depthwise = ConvNorm(channels, channels, kernel, stride, groups=channels)
        self.project = ConvNorm(channels, channels_out, kernel=1)
        self.adds_input = stride == 1 and channels_in == channels_out

    def forward(self, feature_map: Tensor) -> Tensor:
        """Map of `channels_out` channels, smaller by the stride."""
        branch: Tensor = feature_map
        if self.expand is not None:
            branch = functional.relu6(self.expand(branch))
        branch = functional.relu6(self.depthwise(branch))
        branch = self.project(branch)
        return feature_map + branch if self.adds_input else branch


class EfficientNetLite2(nn.Module):
    """EfficientNet-Lite2 up to the last block that keeps to the output stride.

    `top_convolution` adds the 1280-channel convolution in front of the classifier (stride 32 only).
    """

    def __init__(self, output_stride: int = 16, top_convolution: bool = False) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM_CHANNELS, kernel=3, stride=2)
        blocks: list[nn.Module] = []
        self._stage_ends: list[int] = []
        channels, reached_stride = STEM_CHANNELS, 2
        for shape in LITE2_STAGES:
            reached_stride *= shape.stride
            if reached_stride > output_stride:
                break
            for index in range(shape.repeats):
                stride = shape.stride if index == 0 else 1
                blocks.append(
                    InvertedResidual(
                        channels, shape.channels, shape.kernel, stride, shape.expansion
                    )
                )
                channels = shape.channels
            self._stage_ends.append(len(blocks))
        self.blocks = nn.Sequential(*blocks)
        self.top = ConvNorm(channels, TOP_CHANNELS, kernel=1) if top_convolution else None
        self.channels = TOP_CHANNELS if top_convolution else channels

    @property
    def parts(self) -> list[nn.Module]:
        """The stem, then every stage, in order: applied in turn they are `forward`."""
        starts = [0, *self._stage_ends[:-1]]
        stages = [
            self.blocks[start:end] for start, end in zip(starts, self._stage_ends, strict=True)
        ]
        tops = [] if self.top is None else [nn.Sequential(self.top, nn.ReLU6())]
        return [nn.Sequential(self.stem, nn.ReLU6()), *stages, *tops]

    def forward(self, images: Tensor) -> Tensor:
        """Last feature map (N, C, H / stride, W / stride) of normalised images (N, 3, H, W)."""
        feature_map: Tensor = self.blocks(functional.relu6(self.stem(images)))
        if self.top is not None:
            feature_map = functional.relu6(self.top(feature_map))
        return feature_map


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, so that ceil(size / stride) windows fit."""
    windows = -(-size // stride)
    total = max((windows - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
