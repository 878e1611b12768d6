"""What an export does; free of torch, so that `dmnil-export --help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_runtime.contract.errors import ConfigError

Backbone = Literal["convnext", "efficientnet-lite2"]
Head = Literal["gap", "grid"]
PixelScale = Literal["fixed", "per-image"]


@dataclass(frozen=True)
class ExportConfig:
    """Choices of an export; what is left out comes from the weights.

    Args:
        fp16: Add a half-precision graph.
        backbone: Refuse weights of any other network.
        head: Global average, or averages over a grid of cells.
        grid_size: Cells along each side of the grid head.
        output_stride: Where the backbone is cut off: 8, 16 or 32 (whole) input pixels a position.
        input_size: Side of the square input in pixels.
        pixel_scale: Fixed mean and deviation, or every image's channels brought to the same.
        pca_images: Folder of pictures, without labels, to fit principal components on.
        descriptor_size: Principal components to keep.
        whitening_power: 0 only rotates, 1 gives every component the same variance.
        golden_images: Folder of pictures to verify on; a few of them go into the bundle.
    """

    fp16: bool = False
    backbone: Backbone | None = None
    head: Head | None = None
    grid_size: int | None = None
    output_stride: int | None = None
    input_size: int | None = None
    pixel_scale: PixelScale | None = None
    pca_images: Path | None = None
    descriptor_size: int | None = None
    whitening_power: float = 0.0
    golden_images: Path | None = None

    def __post_init__(self) -> None:
        if (self.pca_images is None) != (self.descriptor_size is None):
            raise ConfigError("--pca-images and --descriptor-size go together: give both or none")
        if self.whitening_power and self.pca_images is None:
            raise ConfigError("--whitening-power needs --pca-images")
        for folder in (self.pca_images, self.golden_images):
            if folder is not None and not folder.is_dir():
                raise ConfigError(f"{folder}: no such directory of pictures")
