"""Imagery and an encoder in, a region map out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from dmnil_maps.area import GeodeticArea, cropped, locate
from dmnil_maps.build_config import BuildConfig, BuildReport
from dmnil_maps.build_inputs import made_from
from dmnil_maps.cluster.embedding import ClusterDamage, NumberedBlock, described_on_cluster
from dmnil_maps.described_tiles import DescribedTiles
from dmnil_maps.describing import (
    BlockTiles,
    DescribedBlock,
    DescribeSpec,
    encode_block,
    read_block,
)
from dmnil_maps.map_assembly import assemble_map
from dmnil_maps.raster import ORIGIN_DECIMALS, Imagery, open_imagery
from dmnil_maps.read_ahead import mapped_ahead
from dmnil_maps.tiling import LatticeBlock, chosen_positions, lattice_over
from dmnil_maps.work_folder import WorkFolder, work_folder
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.faiss_library import import_faiss
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MAP_KIND
from edge_runtime.engines import Engine, open_engine
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
        described = DescribedTiles(work.path, bundle.descriptor_size, made_from(spec, bundle))
        taken_over = described.count
        with _telling_what_is_kept(work, described):
            describe: _Describe = (
                partial(_described_here, imagery, engine, spec, config.readers)
                if engine is not None
                else partial(described_on_cluster, spec, str(config.ray), elsewhere)
            )
            encoder_s = _describe(describe, spec, described, work)
            tiles, compression = assemble_map(
                imagery, spec, described, bundle, config, work, staging
            )
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
