"""How a region map is built, and what a build reports."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dmnil_maps.area import GeodeticArea
from dmnil_maps.compression import CompressionLoss
from edge_runtime.contract.descriptor_store import STORAGES
from edge_runtime.contract.errors import ConfigError


@dataclass(frozen=True)
class BuildConfig:
    """How a region map is made; the defaults suit flights at about 120 m.

    Args:
        imagery: Sources of imagery, see `open_imagery`; the first one is on top.
        encoder: Encoder bundle.
        output: The map to write, NAME.map.
        footprints_m: Side of the square of ground that one tile shows; one lattice each.
        stride_ratio: Distance between neighbouring tiles as a share of their footprint.
        area: Part of the imagery to make a map of; all of it when None.
        zoom: Zoom of a tile folder; the highest present when None.
        crs: Coordinate reference system of sources that name none.
        tms: Rows of tile folders are counted from the south; found out when None.
        descriptor_size: Values kept per tile; the map's own axes are fitted on its tiles.
        storage: How descriptors are stored, see `write_region_map`; likewise coarse_index.
        precision: Graph of the bundle to run: fp32, fp16 or int8.
        engine: What runs it, see `open_engine`.
        threads: Processor threads of the engine; 0 leaves it to the engine.
        readers: Threads that read imagery ahead of the encoder.
        batch_size: Tiles encoded at a time.
        ray: Address of a Ray cluster that describes the tiles, see `described_on_cluster`; this
            process does when None. Its workers' engines have one thread unless `threads` says more.
        imagery_date: When the imagery was taken, as its owner gives it.
        attribution: Whom to credit for the imagery.
        carry_imagery: Store the imagery itself in the map too, for refinement and viewing.
        imagery_resolution_m: Metres a pixel of it; the encoder's own of the finest level when
            None.
        terrain: Raster of elevations in metres to store a grid of, around the map's tiles.
        terrain_resolution_m: Metres from point to point of it; the raster's own, but at least 10,
            when None.
    """

    imagery: Path | tuple[Path, ...]
    encoder: Path
    output: Path
    footprints_m: tuple[float, ...] = (120.0,)
    stride_ratio: float = 0.25
    area: GeodeticArea | None = None
    zoom: int | None = None
    crs: str | None = None
    tms: bool | None = None
    descriptor_size: int = 256
    storage: str = "float16"
    coarse_index: bool | None = None
    precision: str = "fp32"
    engine: str = "onnxruntime"
    threads: int = 0
    readers: int = 2
    batch_size: int = 16
    ray: str | None = None
    imagery_date: str = ""
    attribution: str = ""
    carry_imagery: bool = False
    imagery_resolution_m: float | None = None
    terrain: Path | None = None
    terrain_resolution_m: float | None = None

    def __post_init__(self) -> None:
        if not self.footprints_m or len(set(self.footprints_m)) != len(self.footprints_m):
            raise ConfigError(
                f"footprints must be one or more different sizes: {self.footprints_m}"
            )
        if not all(math.isfinite(size) and size > 0 for size in self.footprints_m):
            raise ConfigError(f"footprints must be positive metres: {self.footprints_m}")
        if not 0 < self.stride_ratio <= 1:
            raise ConfigError(f"stride ratio must be above 0 and at most 1: {self.stride_ratio}")
        if self.storage not in STORAGES:
            raise ConfigError(
                f"unknown storage of descriptors {self.storage!r}: choose one of "
                f"{', '.join(STORAGES)}"
            )
        if self.descriptor_size < 1:
            raise ConfigError(f"descriptor size must be 1 or more: {self.descriptor_size}")
        resolution_m = self.imagery_resolution_m
        if resolution_m is not None and not (math.isfinite(resolution_m) and resolution_m > 0):
            raise ConfigError(f"imagery's pixels must be positive metres: {resolution_m}")
        if resolution_m is not None and not self.carry_imagery:
            raise ConfigError("imagery_resolution_m goes with --imagery true")
        spacing_m = self.terrain_resolution_m
        if spacing_m is not None and not (math.isfinite(spacing_m) and spacing_m > 0):
            raise ConfigError(f"terrain's points must be positive metres apart: {spacing_m}")
        if spacing_m is not None and self.terrain is None:
            raise ConfigError("terrain_resolution_m goes with --terrain")
        if self.batch_size < 1 or self.threads < 0 or self.readers < 1:
            raise ConfigError(
                f"batch size and readers must be 1 or more and threads 0 or more: "
                f"{self.batch_size}, {self.readers}, {self.threads}"
            )

    @property
    def sources(self) -> tuple[Path, ...]:
        """Sources of imagery, however many."""
        return (self.imagery,) if isinstance(self.imagery, Path) else tuple(self.imagery)


@dataclass(frozen=True)
class BuildReport:
    """What a build wrote, and where its time went.

    Args:
        tiles: In the map.
        tiles_per_level: Likewise, level by level.
        tiles_taken_over: Of them those that an unfinished build had described.
        damaged_blocks: Blocks of the imagery that could not be read, by this build.
        compression: What the storage costs in recall; None where it costs nothing.
        wall_s: Seconds from start to end.
        encoder_s: Of them in the encoder.
    """

    output: Path
    tiles: int
    tiles_per_level: tuple[int, ...]
    tiles_taken_over: int
    damaged_blocks: int
    compression: CompressionLoss | None
    wall_s: float
    encoder_s: float

    @property
    def encoder_share(self) -> float:
        """Share of the wall time that was spent in the encoder."""
        return self.encoder_s / self.wall_s

    @property
    def tiles_per_second(self) -> float:
        """Tiles described over the whole wall time."""
        return (self.tiles - self.tiles_taken_over) / self.wall_s

    def as_dict(self) -> dict[str, Any]:
        """The report for programs to read."""
        return {
            "output": str(self.output),
            "tiles": self.tiles,
            "tiles_per_level": list(self.tiles_per_level),
            "tiles_taken_over": self.tiles_taken_over,
            "damaged_blocks": self.damaged_blocks,
            "compression": None if self.compression is None else asdict(self.compression),
            "wall_s": round(self.wall_s, 3),
            "encoder_s": round(self.encoder_s, 3),
            "encoder_share": round(self.encoder_share, 4),
            "tiles_per_second": round(self.tiles_per_second, 2),
        }
