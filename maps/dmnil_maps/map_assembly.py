"""What is described of a region, brought into the shape of a map."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_maps.build_config import BuildConfig
from dmnil_maps.compression import CompressionLoss, compression_loss
from dmnil_maps.described_tiles import DescribedTiles
from dmnil_maps.describing import DescribeSpec
from dmnil_maps.map_arrays import (
    descriptor_chunks,
    fitted_axes,
    set_distinctiveness,
    sorted_tiles,
    write_projected,
)
from dmnil_maps.map_bounds import bounds_of, local_bounds_of
from dmnil_maps.map_picture import write_picture
from dmnil_maps.map_terrain import write_terrain_of
from dmnil_maps.picture_digest import write_digests
from dmnil_maps.preview.overview import write_preview
from dmnil_maps.raster import Imagery
from dmnil_maps.tiling import MINIMUM_COVERED_SHARE
from dmnil_maps.work_folder import WorkFolder
from edge_runtime.contract.descriptor_store import open_descriptors
from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import PREVIEW_FILE
from edge_runtime.contract.region_map_writer import MapContents, write_region_map
from edge_runtime.engines import precision_run

_PROJECTED = "descriptors.projected"


def assemble_map(
    imagery: Imagery,
    spec: DescribeSpec,
    described: DescribedTiles,
    bundle: EncoderBundle,
    config: BuildConfig,
    work: WorkFolder,
    staging: Path,
) -> tuple[npt.NDArray[np.void], CompressionLoss | None]:
    """Write the map from all that is described; returns its tiles, and what compressing cost.

    Raises:
        MapError: If a level has no tile, or too much of the imagery is damaged.
        OutputError: If a file cannot be written.
    """
    raw_tiles = described.tiles()
    _require_tiles(raw_tiles, spec, config, work)
    levels = spec.levels
    try:
        imagery.check_damage()
    except MapError:
        work.keep = False  # what is described of it is not worth going on from
        raise
    tiles, order = sorted_tiles(levels, imagery.frame, raw_tiles)
    shown = imagery.bounds if spec.area is None else local_bounds_of(imagery.frame, tiles)
    with ThreadPoolExecutor(1) as beside:
        # Reading is done by now, so the preview may warp while the descriptors are projected.
        preview = beside.submit(write_preview, imagery, staging / PREVIEW_FILE, shown)
        raw = described.descriptors()
        mean, projection = fitted_axes(tiles, order, len(levels), raw, config.descriptor_size)
        projected = write_projected(work.path / _PROJECTED, tiles, order, raw, mean, projection)
        set_distinctiveness(tiles, levels, projected, raw_tiles["contrast"][order])
    contents = MapContents(
        encoder_sha256=bundle.encoder_sha256,
        frame=imagery.frame,
        levels=levels,
        tiles=tiles,
        descriptor_mean=mean,
        projection=projection,
        preview=preview.result(),
    )
    if config.carry_imagery:
        finest_m = min(level.footprint_m for level in levels) / bundle.input_width
        resolution_m = config.imagery_resolution_m or finest_m
        write_picture(staging, imagery, tiles, resolution_m, config.attribution)
    terrain = {}
    if config.terrain is not None:
        spacing_m = config.terrain_resolution_m
        terrain = write_terrain_of(staging, config.terrain, imagery.frame, tiles, spacing_m)
    provenance = {
        **terrain,
        "encoder": {
            "name": config.encoder.resolve().name.removesuffix(".encoder"),
            "backbone": bundle.backbone,
            "head": bundle.head,
            "input_height": bundle.input_height,
            "input_width": bundle.input_width,
            "precision": precision_run(bundle, config.precision, config.engine),
        },
        "bounds": bounds_of(imagery.frame, tiles),
        "coordinate_reference_system": imagery.coordinate_reference_system,
        "imagery": {
            "date": config.imagery_date,
            "attribution": config.attribution,
            "ground_sample_distance_m": round(imagery.ground_sample_distance_m, 4),
        },
    }
    write_digests(staging, raw_tiles["digest"][order])
    write_region_map(
        staging,
        contents,
        descriptor_chunks(projected),
        provenance,
        storage=config.storage,
        coarse_index=config.coarse_index,
    )
    if config.storage == "float16":
        return tiles, None
    stored = open_descriptors(staging, config.storage, *projected.shape)
    return tiles, compression_loss(projected, stored)


def _require_tiles(
    raw_tiles: npt.NDArray[np.void], spec: DescribeSpec, config: BuildConfig, work: WorkFolder
) -> None:
    counts = np.bincount(raw_tiles["level"], minlength=len(spec.levels))
    for level, count in zip(spec.levels, counts, strict=True):
        if not count:
            work.keep = False  # another try would find no more
            inside = "" if config.area is None else f" in {config.area.name}"
            raise MapError(
                f"no {level.footprint_m:g} m tile of {', '.join(map(str, config.sources))}{inside} "
                f"is covered to {MINIMUM_COVERED_SHARE:.0%}: the raster is nodata there, check its "
                "nodata value or choose a smaller footprint"
            )
