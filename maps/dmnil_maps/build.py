"""Imagery and an encoder in, a region map out."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmnil_maps.map_arrays import (
    fitted_axes,
    projected_chunks,
    sorted_tiles,
    unsorted_writer,
)
from dmnil_maps.preview import write_preview
from dmnil_maps.raster import Imagery, open_imagery
from dmnil_maps.read_ahead import read_ahead
from dmnil_maps.tiling import MINIMUM_COVERED_SHARE, lattice_over, tile_batches
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import (
    MAP_KIND,
    PREVIEW_FILE,
    MapLevel,
)
from edge_runtime.contract.region_map_writer import (
    MapContents,
    write_region_map,
)
from edge_runtime.engines import Engine, open_engine
from edge_runtime.progress import progress_bar

_BATCHES_AHEAD = 4


@dataclass(frozen=True)
class BuildConfig:
    """How a region map is made; the defaults suit flights at about 120 m.

    Args:
        imagery: GeoTIFF, or folder of XYZ tiles (z/x/y.jpg).
        encoder: Encoder bundle.
        output: The map to write, NAME.map.
        footprints_m: Side of the square of ground that one tile shows; one lattice each.
        stride_ratio: Distance between neighbouring tiles as a share of their footprint.
        zoom: Zoom of a tile folder; the highest present when None.
        descriptor_size: Values kept per tile; the map's own axes are fitted on its tiles.
        precision: Graph of the bundle to run: fp32, fp16 or int8.
        threads: Processor threads of the engine; 0 leaves it to the engine.
        batch_size: Tiles encoded at a time.
        imagery_date: When the imagery was taken, as its owner gives it.
        attribution: Whom to credit for the imagery.
    """

    imagery: Path
    encoder: Path
    output: Path
    footprints_m: tuple[float, ...] = (120.0,)
    stride_ratio: float = 0.25
    zoom: int | None = None
    descriptor_size: int = 256
    precision: str = "fp32"
    threads: int = 0
    batch_size: int = 16
    imagery_date: str = ""
    attribution: str = ""

    def __post_init__(self) -> None:
        if not self.footprints_m or len(set(self.footprints_m)) != len(self.footprints_m):
            raise ConfigError(
                f"footprints must be one or more different sizes: {self.footprints_m}"
            )
        if not all(math.isfinite(size) and size > 0 for size in self.footprints_m):
            raise ConfigError(f"footprints must be positive metres: {self.footprints_m}")
        if not 0 < self.stride_ratio <= 1:
            raise ConfigError(f"stride ratio must be above 0 and at most 1: {self.stride_ratio}")
        if self.descriptor_size < 1:
            raise ConfigError(f"descriptor size must be 1 or more: {self.descriptor_size}")
        if self.batch_size < 1 or self.threads < 0:
            raise ConfigError(
                f"batch size must be 1 or more and threads 0 or more: {self.batch_size}, "
                f"{self.threads}"
            )


@dataclass(frozen=True)
class BuildReport:
    """What a build wrote, and where its time went."""

    output: Path
    tiles: int
    tiles_per_level: tuple[int, ...]
    wall_s: float
    encoder_s: float

    @property
    def encoder_share(self) -> float:
        """Share of the wall time that was spent in the encoder."""
        return self.encoder_s / self.wall_s

    @property
    def tiles_per_second(self) -> float:
        """Tiles over the whole wall time."""
        return self.tiles / self.wall_s

    def as_dict(self) -> dict[str, Any]:
        """The report for programs to read."""
        return {
            "output": str(self.output),
            "tiles": self.tiles,
            "tiles_per_level": list(self.tiles_per_level),
            "wall_s": round(self.wall_s, 3),
            "encoder_s": round(self.encoder_s, 3),
            "encoder_share": round(self.encoder_share, 4),
            "tiles_per_second": round(self.tiles_per_second, 2),
        }


def build_map(config: BuildConfig) -> Path:
    """Cut imagery into tiles, describe each with the encoder, and write a region map.

    The same inputs give the same bytes. A build that fails leaves the old map, or none.

    Raises:
        BundleError: If the encoder bundle is unusable or lacks the precision.
        EngineError: If the engine refuses the encoder.
        MapError: If the imagery cannot be read, or holds no tile.
        OutputError: If the map cannot be written.
    """
    return build_with_report(config).output


def build_with_report(config: BuildConfig) -> BuildReport:
    """`build_map`, and its measurements."""
    started = time.perf_counter()
    bundle = load_encoder_bundle(config.encoder)
    engine = open_engine(bundle, config.precision, threads=config.threads)
    with (
        open_imagery(config.imagery, config.zoom) as imagery,
        staged_directory(config.output, MAP_KIND) as staging,
    ):
        levels = [
            lattice_over(imagery.bounds, footprint, footprint * config.stride_ratio)
            for footprint in config.footprints_m
        ]
        encoder_s = _describe(imagery, levels, bundle, engine, config, staging)
        with ThreadPoolExecutor(1) as beside:
            # Reading is done by now, so the preview may warp while the axes are fitted.
            preview = beside.submit(write_preview, imagery, staging / PREVIEW_FILE)
            tiles, order = sorted_tiles(levels, imagery.frame, staging)
            mean, projection = fitted_axes(
                tiles, order, len(levels), bundle.descriptor_size, config.descriptor_size, staging
            )
        counts = tuple(np.bincount(tiles["level"], minlength=len(levels)).tolist())
        contents = MapContents(
            encoder_sha256=bundle.encoder_sha256,
            frame=imagery.frame,
            levels=tuple(levels),
            tiles=tiles,
            descriptor_mean=mean,
            projection=projection,
            preview=preview.result(),
        )
        provenance = {
            "encoder": {
                "name": config.encoder.resolve().name.removesuffix(".encoder"),
                "backbone": bundle.backbone,
                "head": bundle.head,
                "input_height": bundle.input_height,
                "input_width": bundle.input_width,
                "precision": config.precision,
            },
            "bounds": _bounds(imagery.frame, levels, tiles),
            "coordinate_reference_system": imagery.coordinate_reference_system,
            "imagery": {
                "date": config.imagery_date,
                "attribution": config.attribution,
                "ground_sample_distance_m": round(imagery.ground_sample_distance_m, 4),
            },
        }
        chunks = projected_chunks(tiles, order, mean, projection, staging)
        write_region_map(staging, contents, chunks, provenance)
    return BuildReport(
        output=config.output,
        tiles=len(tiles),
        tiles_per_level=counts,
        wall_s=time.perf_counter() - started,
        encoder_s=encoder_s,
    )


def _describe(
    imagery: Imagery,
    levels: list[MapLevel],
    bundle: EncoderBundle,
    engine: Engine,
    config: BuildConfig,
    staging: Path,
) -> float:
    """Encode every covered tile into two raw files, in the order of reading; seconds encoding."""
    encoder_s = 0.0
    positions = sum(level.rows * level.columns for level in levels)
    with (
        unsorted_writer(staging) as writer,
        progress_bar("dmnil-map", positions, "tile") as progress,
    ):
        for number, level in enumerate(levels):
            batches = tile_batches(
                imagery, level, bundle.input_width, bundle.input_height, config.batch_size
            )
            kept = 0
            with closing(read_ahead(batches, _BATCHES_AHEAD)) as ready:
                for batch in ready:
                    encoding_started = time.perf_counter()
                    descriptors = engine.encode(batch.pictures)
                    encoder_s += time.perf_counter() - encoding_started
                    writer.append(number, batch.lattice, descriptors)
                    kept += len(batch.pictures)
                    progress.update(batch.examined)
            if not kept:
                raise MapError(
                    f"no {level.footprint_m:g} m tile of {config.imagery} is covered to "
                    f"{MINIMUM_COVERED_SHARE:.0%}: the raster is nodata there, check its nodata "
                    "value or choose a smaller footprint"
                )
        progress.update(positions - progress.n)
    return encoder_s


def _bounds(
    frame: LocalFrame, levels: list[MapLevel], tiles: npt.NDArray[np.void]
) -> dict[str, float]:
    """The box around all footprints; west is above east if it crosses the antimeridian."""
    half_side = tiles["footprint_m"].astype(np.float64)[:, None] / 2
    centres = frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
    corners = np.concatenate(
        [centres + half_side * np.array(sign) for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1))]
    )
    latitude, longitude = frame.to_geodetic(corners)
    from_origin = (longitude - frame.longitude_deg + 180.0) % 360.0 - 180.0
    west, east = (
        (frame.longitude_deg + float(extreme) + 180.0) % 360.0 - 180.0
        for extreme in (from_origin.min(), from_origin.max())
    )
    return {
        "south_deg": float(latitude.min()),
        "west_deg": west,
        "north_deg": float(latitude.max()),
        "east_deg": east,
    }
