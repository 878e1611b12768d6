"""What an encoder is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from dmnil_train.encoder.convnext import TINY_DEPTHS, TINY_WIDTHS
from edge_runtime.contract.errors import ConfigError

Backbone = Literal["convnext", "efficientnet-lite2"]
Head = Literal["gap", "grid", "rings"]
HEADS = ("gap", "grid", "rings")
PixelScale = Literal["fixed", "per-image"]
OUTPUT_STRIDES = (8, 16, 32)
LITE2_CHANNELS = (48, 120, 352)


@dataclass(frozen=True)
class EncoderConfig:
    """Backbone, head and input size; the defaults are the paper's (arXiv 2502.11381).

    Args:
        backbone: Network that computes the feature map.
        depths: Blocks of each of ConvNeXt's four stages.
        widths: Channels of each of ConvNeXt's four stages.
        output_stride: Where the backbone is cut off: 8, 16 or 32 (whole) input pixels a position.
        head: Global average, averages over a grid of cells, or over concentric rings.
        grid_size: Cells along each side of the grid head.
        ring_count: Rings of the rings head.
        input_height: Rows of an input image.
        input_width: Columns of an input image.
        descriptor_size: Principal components to keep; none keeps the head's whole vector.
        pixel_scale: Normalise by the backbone's fixed mean and deviation, as the paper does, or
            bring every image's channels to the same: light and colour cast then count less.
    """

    backbone: Backbone = "convnext"
    depths: tuple[int, ...] = TINY_DEPTHS
    widths: tuple[int, ...] = TINY_WIDTHS
    output_stride: int = 32
    head: Head = "gap"
    grid_size: int = 4
    ring_count: int = 4
    input_height: int = 384
    input_width: int = 384
    descriptor_size: int | None = None
    pixel_scale: PixelScale = "fixed"

    def __post_init__(self) -> None:
        if self.backbone not in ("convnext", "efficientnet-lite2"):
            raise ConfigError(f"backbone is {self.backbone!r}: choose convnext, efficientnet-lite2")
        if self.head not in HEADS:
            raise ConfigError(f"head is {self.head!r}: choose {', '.join(HEADS)}")
        if self.pixel_scale not in ("fixed", "per-image"):
            raise ConfigError(f"pixel_scale is {self.pixel_scale!r}: choose fixed or per-image")
        if len(self.depths) != 4 or len(self.widths) != 4:
            raise ConfigError(
                f"depths {self.depths} and widths {self.widths} must name four stages"
            )
        if min(*self.depths, *self.widths, self.grid_size, self.ring_count) < 1:
            raise ConfigError("depths, widths, grid_size and ring_count must be at least 1")
        if self.output_stride not in OUTPUT_STRIDES:
            raise ConfigError(f"output_stride is {self.output_stride}: choose one of 8, 16, 32")
        positions = {"gap": 1, "grid": self.grid_size, "rings": self.ring_count}
        smallest = self.output_stride * positions[self.head]
        if min(self.input_height, self.input_width) < smallest:
            raise ConfigError(
                f"an input of {self.input_height}x{self.input_width} is too small: at stride "
                f"{self.output_stride} this {self.head} head needs {smallest} pixels a side"
            )
        size = self.descriptor_size
        if size is not None and not 1 <= size <= self.head_size:
            raise ConfigError(
                f"descriptor_size is {size}: the {self.head} head gives {self.head_size} values, "
                f"of which 1 to {self.head_size} components can be kept"
            )

    @property
    def channels(self) -> int:
        """Channels of the feature map."""
        place = OUTPUT_STRIDES.index(self.output_stride)
        return self.widths[place + 1] if self.backbone == "convnext" else LITE2_CHANNELS[place]

    @property
    def head_size(self) -> int:
        """Values that the head gives, before any projection."""
        cells = {"gap": 1, "grid": self.grid_size**2, "rings": self.ring_count}
        return self.channels * cells[self.head]

    def as_dict(self) -> dict[str, Any]:
        """The fields that matter to this backbone and head, for JSON."""
        unused = {"depths", "widths"} if self.backbone == "efficientnet-lite2" else set()
        if self.head != "grid":
            unused.add("grid_size")
        if self.head != "rings":
            unused.add("ring_count")
        return {name: value for name, value in asdict(self).items() if name not in unused}
