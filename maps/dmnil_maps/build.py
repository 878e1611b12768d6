"""Imagery and an encoder in, a region map out."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import rasterio

from dmnil_maps.area import GeodeticArea, cropped, locate
from dmnil_maps.build_config import BuildConfig, BuildReport
from dmnil_maps.cluster.embedding import ClusterDamage, NumberedBlock, described_on_cluster
from dmnil_maps.compression import CompressionLoss, compression_loss
from dmnil_maps.described_tiles import DescribedTiles
from dmnil_maps.describing import (
    BlockTiles,
    DescribedBlock,
    DescribeSpec,
    encode_block,
    read_block,
)
from dmnil_maps.map_arrays import (
    descriptor_chunks,
    fitted_axes,
    set_distinctiveness,
    sorted_tiles,
    write_projected,
)
from dmnil_maps.map_bounds import bounds_of, local_bounds_of
from dmnil_maps.picture_digest import write_digests
from dmnil_maps.preview.overview import write_preview
from dmnil_maps.raster import ORIGIN_DECIMALS, Imagery, open_imagery
from dmnil_maps.read_ahead import mapped_ahead
from dmnil_maps.tiling import MINIMUM_COVERED_SHARE, LatticeBlock, chosen_positions, lattice_over
from dmnil_maps.work_folder import WorkFolder, work_folder
from edge_runtime import __version__
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.descriptor_store import open_descriptors
from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.faiss_library import import_faiss
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MAP_KIND, PREVIEW_FILE
from edge_runtime.contract.region_map_writer import MapContents, write_region_map
from edge_runtime.engines import Engine, open_engine, precision_run
from edge_runtime.progress import progress_bar

logger = logging.getLogger(__name__)

FRAME_REACH_M = 100_000.0
"""A map of an area whose middle is further from the imagery's has a frame of its own: up to there
metres are short by 1 in 8,000 at most, and north is north to about a degree."""
_Describe = Callable[
    [Sequence[NumberedBlock], Callable[[int], object]],
    Generator[tuple[int, LatticeBlock, DescribedBlock], None, None],
]
"""Describes blocks, and tells how many lattice positions it has done."""

_BLOCKS_AHEAD_PER_READER = 2
_PROJECTED = "descriptors.projected"


def build_map(config: BuildConfig) -> Path:
    """Cut imagery into tiles, describe each with the encoder, and write a region map.

    The same inputs give the same bytes. A build that fails or is killed leaves the old map, or
    none; what it has described stays in a hidden folder beside the output, from which the same
    configuration goes on.

    Raises:
        BundleError: If the encoder bundle is unusable or lacks the precision.
        EngineError: If the engine refuses the encoder.
        MapError: If the imagery cannot be read, or holds no tile.
        OutputError: If the map cannot be written, or another build is writing it.
    """
    return build_with_report(config).output


def build_with_report(config: BuildConfig) -> BuildReport:
    """`build_map`, and its measurements."""
    started = time.perf_counter()
    if config.storage == "pq" or config.coarse_index:
        import_faiss("a map with a coarse index or product quantisation")
    bundle = load_encoder_bundle(config.encoder)
    engine = None
    if config.ray is None:
        engine = open_engine(bundle, config.precision, config.engine, config.threads)
    elsewhere = ClusterDamage()
    with (
        _opened_imagery(config) as imagery,
        work_folder(config.output) as work,
        staged_directory(config.output, MAP_KIND) as staging,
    ):
        spec = spec_of(config, bundle, imagery)
        described = DescribedTiles(work.path, bundle.descriptor_size, _made_from(spec, bundle))
        taken_over = described.count
        with _telling_what_is_kept(work, described):
            describe: _Describe = (
                partial(_described_here, imagery, engine, spec, config.readers)
                if engine is not None
                else partial(described_on_cluster, spec, str(config.ray), elsewhere)
            )
            encoder_s = _describe(describe, spec, described, work)
            tiles, compression = _finish(imagery, spec, described, bundle, config, work, staging)
        work.keep = False
    return BuildReport(
        output=config.output,
        tiles=len(tiles),
        tiles_per_level=tuple(np.bincount(tiles["level"], minlength=len(spec.levels)).tolist()),
        tiles_taken_over=taken_over,
        damaged_blocks=imagery.damage.blocks + len(elsewhere.names),
        compression=compression,
        wall_s=time.perf_counter() - started,
        encoder_s=encoder_s,
    )


@contextmanager
def _opened_imagery(config: BuildConfig) -> Iterator[Imagery]:
    """The imagery in its own frame, or in one around an area that lies far from its middle."""
    opening = (config.sources, config.zoom, config.crs, config.tms)
    with open_imagery(*opening) as imagery:
        frame = None if config.area is None else _frame_around(config.area, imagery)
        if frame is None:
            yield imagery
            return
    with open_imagery(*opening, frame) as imagery:
        yield imagery


def _frame_around(area: GeodeticArea, imagery: Imagery) -> LocalFrame | None:
    """A frame at the middle of an area, unless the imagery's own serves it."""
    bounds = locate(area, imagery.frame, imagery.bounds).bounds
    middle = np.array([bounds.west_m + bounds.east_m, bounds.south_m + bounds.north_m]) / 2
    if float(np.linalg.norm(middle)) <= FRAME_REACH_M:
        return None
    latitude_deg, longitude_deg = imagery.frame.to_geodetic(middle)
    return LocalFrame(
        round(float(latitude_deg), ORIGIN_DECIMALS), round(float(longitude_deg), ORIGIN_DECIMALS)
    )


@contextmanager
def _telling_what_is_kept(work: WorkFolder, described: DescribedTiles) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if work.keep:
            logger.warning(
                "%d tiles are kept in %s: the same command goes on from there",
                described.count,
                work.path,
            )
        raise


def spec_of(config: BuildConfig, bundle: EncoderBundle, imagery: Imagery) -> DescribeSpec:
    """What a build describes, for this process or for others.

    Raises:
        MapError: If no tile fits into the imagery, or the area holds none of it.
    """
    levels = [
        lattice_over(imagery.bounds, footprint, footprint * config.stride_ratio)
        for footprint in config.footprints_m
    ]
    area = None
    if config.area is not None:
        area = locate(config.area, imagery.frame, imagery.bounds)
        levels = [cropped(level, area) for level in levels]
    return DescribeSpec(
        imagery=tuple(path.absolute() for path in config.sources),
        zoom=config.zoom,
        crs=config.crs,
        tms=config.tms,
        frame=imagery.frame,
        levels=tuple(levels),
        area=area,
        encoder=config.encoder.absolute(),
        input_width=bundle.input_width,
        input_height=bundle.input_height,
        precision=config.precision,
        backend=config.engine,
        # On a cluster, machines are shared out by threads.
        threads=config.threads if config.ray is None else max(1, config.threads),
        batch_size=config.batch_size,
    )


def _describe(
    describe: _Describe, spec: DescribeSpec, described: DescribedTiles, work: WorkFolder
) -> float:
    """Describe every block that is still missing; seconds spent in the encoder."""
    blocks = spec.blocks()
    missing = [item for item in enumerate(blocks) if item[0] not in described.done]
    if described.done:
        logger.warning(
            "going on from an unfinished build: %d of %d blocks, %d tiles",
            len(described.done),
            len(blocks),
            described.count,
        )
    work.keep = described.count > 0
    encoder_s = 0.0
    with (
        described,
        progress_bar("dmnil-map", _positions(spec, blocks), "tile") as progress,
        closing(describe(missing, progress.update)) as results,
    ):
        # tqdm takes its rate, and the time left, from what came after this.
        progress.initial = progress.n = progress.last_print_n = described.examined
        for number, block, result in results:
            described.append(number, block.level, result)
            encoder_s += result.encoder_s
            work.keep = described.count > 0
    return encoder_s


def _described_here(
    imagery: Imagery,
    engine: Engine,
    spec: DescribeSpec,
    readers: int,
    blocks: Sequence[NumberedBlock],
    on_examined: Callable[[int], object],
) -> Generator[tuple[int, LatticeBlock, DescribedBlock], None, None]:
    """Blocks in their order, read ahead of the encoder."""

    def read(item: NumberedBlock) -> tuple[int, LatticeBlock, BlockTiles]:
        return *item, read_block(imagery, spec, item[1])

    with closing(mapped_ahead(read, blocks, readers, _BLOCKS_AHEAD_PER_READER * readers)) as ready:
        for number, block, tiles in ready:
            on_examined(tiles.examined - len(tiles.pictures))
            yield number, block, encode_block(engine, tiles, spec.batch_size, on_examined)


def _positions(spec: DescribeSpec, blocks: Sequence[LatticeBlock]) -> int:
    """Lattice positions to look at."""
    if spec.area is None:
        return sum(block.rows * block.columns for block in blocks)
    return sum(
        int(np.count_nonzero(chosen_positions(spec.levels[block.level], block, spec.area)))
        for block in blocks
    )


def _finish(
    imagery: Imagery,
    spec: DescribeSpec,
    described: DescribedTiles,
    bundle: EncoderBundle,
    config: BuildConfig,
    work: WorkFolder,
    staging: Path,
) -> tuple[npt.NDArray[np.void], CompressionLoss | None]:
    """Write the map from all that is described; returns its tiles, and what compressing cost."""
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
    provenance = {
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


def _made_from(spec: DescribeSpec, bundle: EncoderBundle) -> dict[str, Any]:
    """All that decides the raw descriptors, by the name under which a change of it is told."""
    return {
        "imagery": [_fingerprint(path) for path in spec.imagery] + [spec.zoom, spec.crs, spec.tms],
        "levels": [asdict(level) for level in spec.levels] + [asdict(spec.frame)],
        "area": None if spec.area is None else spec.area.digest,
        "encoder": [bundle.encoder_sha256, spec.precision],
        "engine settings": [spec.backend, spec.threads, spec.batch_size],
        "releases": [__version__, onnxruntime.__version__, rasterio.__version__],
    }


def _fingerprint(source: Path) -> str:
    """Names, sizes and times of a source's files: those beside a raster, all those in a folder."""
    files = (
        source.rglob("*")
        if source.is_dir()
        else (path for path in source.parent.iterdir() if path.stem.startswith(source.stem))
    )
    digest = hashlib.sha256()
    for path in sorted(files):
        if path.is_file():
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
