"""What a user may change about the encoder that comes with given weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dmnil_train.encoder.config import EncoderConfig, Head, PixelScale


@dataclass(frozen=True)
class EncoderChoices:
    """Head and input of the encoder; what is left out comes from the weights.

    Args:
        head: Global average, or averages over a grid of cells, or over concentric rings.
        grid_size: Cells along each side of the grid head.
        ring_count: Rings of the rings head.
        output_stride: Where the backbone is cut off: 8, 16 or 32 (whole) input pixels a position.
        input_size: Side of the square input in pixels.
        pixel_scale: Fixed mean and deviation, or every image's channels brought to the same.
    """

    head: Head | None = None
    grid_size: int | None = None
    ring_count: int | None = None
    output_stride: int | None = None
    input_size: int | None = None
    pixel_scale: PixelScale | None = None

    def applied_to(self, config: EncoderConfig) -> EncoderConfig:
        """The configuration with these choices in place of its own.

        Raises:
            ConfigError: If the choices contradict the network or each other.
        """
        choices = {
            "head": self.head,
            "grid_size": self.grid_size,
            "ring_count": self.ring_count,
            "output_stride": self.output_stride,
            "input_height": self.input_size,
            "input_width": self.input_size,
            "pixel_scale": self.pixel_scale,
        }
        given: dict[str, Any] = {
            name: value for name, value in choices.items() if value is not None
        }
        return replace(config, **given)
