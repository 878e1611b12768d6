"""What an export does; free of torch, so that `dmnil-export --help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dmnil_train.data.config import DataConfig
from edge_runtime.contract.errors import ConfigError

Backbone = Literal["convnext", "efficientnet-lite2"]
Head = Literal["gap", "grid", "rings"]
PixelScale = Literal["fixed", "per-image"]


@dataclass(frozen=True)
class Thresholds:
    """What a reduced precision must keep of the float32 encoder; beyond it nothing is written."""

    fp16_min_cosine: float = 0.999
    """Least cosine of any picture's descriptor in fp16."""
    int8_mean_cosine: float = 0.99
    """Least mean cosine in int8."""
    recall_drop_points: float = 1.0
    """Most points of R@1 (of 100) to be lost; a single query is always allowed."""

    def __post_init__(self) -> None:
        for name in ("fp16_min_cosine", "int8_mean_cosine"):
            if not -1.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"thresholds.{name} is {getattr(self, name)}: choose -1 to 1")
        if not 0.0 <= self.recall_drop_points <= 100.0:
            raise ConfigError(
                f"thresholds.recall_drop_points is {self.recall_drop_points}: choose 0 to 100"
            )


@dataclass(frozen=True)
class EngineBatches:
    """Pictures a call that a TensorRT engine is built for."""

    usual: int = 1
    most: int = 16

    @classmethod
    def of_text(cls, text: str | int) -> EngineBatches:
        """Of "1,8": usual and most; one number alone is both.

        Raises:
            ConfigError: If it is not one or two positive numbers in rising order.
        """
        try:
            numbers = [int(part) for part in str(text).split(",")]
        except ValueError:
            numbers = []
        if not 1 <= len(numbers) <= 2 or sorted(numbers) != numbers or numbers[0] < 1:
            raise ConfigError(
                f"--batch is {text!r}: give the usual and the largest batch, such as 1,8"
            )
        return cls(numbers[0], numbers[-1])


@dataclass(frozen=True)
class ExportConfig:
    """Choices of an export; what is left out comes from the weights.

    Args:
        fp16: Add a half-precision graph.
        int8: Add a graph with 8-bit weights and activations, as TensorRT takes it.
        int8_cpu: Add one as ONNX Runtime is fast with on a processor.
        calibrate: Folder of pictures like the camera's, to choose the 8-bit ranges on.
        engine: Build TensorRT engines on this machine too.
        batches: Batch sizes of those engines.
        rtx_gate: Have TensorRT-RTX parse and build every graph.
        thresholds: What verification insists on.
        data: Region or dataset with true places, to compare retrieval on.
        backbone: Refuse weights of any other network.
        head: Global average, averages over a grid of cells, or over concentric rings.
        grid_size: Cells along each side of the grid head.
        ring_count: Rings of the rings head.
        output_stride: Where the backbone is cut off: 8, 16 or 32 (whole) input pixels a position.
        input_size: Side of the square input in pixels.
        pixel_scale: Fixed mean and deviation, or every image's channels brought to the same.
        pca_images: Folder of pictures, without labels, to fit principal components on.
        descriptor_size: Principal components to keep.
        whitening_power: 0 only rotates, 1 gives every component the same variance.
        golden_images: Folder of pictures to verify on; a few of them go into the bundle.
    """

    fp16: bool = False
    int8: bool = False
    int8_cpu: bool = False
    calibrate: Path | None = None
    engine: bool = False
    batches: EngineBatches = field(default_factory=EngineBatches)
    rtx_gate: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)
    data: DataConfig | None = None
    backbone: Backbone | None = None
    head: Head | None = None
    grid_size: int | None = None
    ring_count: int | None = None
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
        if (self.int8 or self.int8_cpu) and self.calibrate is None:
            flag = "--int8" if self.int8 else "--int8-cpu"
            raise ConfigError(
                f"{flag} needs --calibrate FOLDER: pictures like those that the camera will take"
            )
        for folder in (self.pca_images, self.golden_images, self.calibrate):
            if folder is not None and not folder.is_dir():
                raise ConfigError(f"{folder}: no such directory of pictures")

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of the graphs to write, fp32 first."""
        wanted = {"fp16": self.fp16, "int8": self.int8, "int8-cpu": self.int8_cpu}
        return ("fp32", *(name for name, is_wanted in wanted.items() if is_wanted))
