"""Going through newer imagery and describing the tiles of a map that it changes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from dmnil_maps.described_tiles import RAW_TILE_DTYPE, raw_tiles
from dmnil_maps.describing import BlockTiles, encode_block
from dmnil_maps.operations.tile_changes import BlockChanges, ChangeFinder
from dmnil_maps.read_ahead import mapped_ahead
from dmnil_maps.tiling import lattice_blocks
from dmnil_maps.whitening import project
from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine
from edge_runtime.progress import progress_bar

_READERS = 2
_BLOCKS_AHEAD = 4


@dataclass
class FoundTiles:
    """What was seen in the newer imagery.

    Args:
        tiles: (M,) of `RAW_TILE_DTYPE`: described again, or new.
        descriptors: (M, D) on the map's axes.
        replaced: (N,) of the old map: described again.
        contrast: (N,) of the old map's tiles, NaN where not seen.
        digests: (N,) of the old map's tiles, where seen those of the newer pictures.
    """

    tiles: npt.NDArray[np.void]
    descriptors: npt.NDArray[np.float16]
    replaced: npt.NDArray[np.bool_]
    contrast: npt.NDArray[np.float32]
    seen: int
    added: int
    encoder_s: float


def describe_changes(
    region_map: RegionMap,
    bundle: EncoderBundle,
    engine: Engine,
    finder: ChangeFinder,
    batch_size: int,
    work: Path,
) -> FoundTiles:
    """Look at every block, and describe what changed.

    Args:
        batch_size: Tiles encoded at a time.
        work: Folder for what is described.
    Raises:
        DmnilError: As reading and encoding do.
    """
    blocks = lattice_blocks(finder.grown.levels, bundle.input_width, bundle.input_height)
    count = len(region_map.tiles)
    replaced, contrast = np.zeros(count, np.bool_), np.full(count, np.nan, np.float32)
    seen = added = 0
    encoder_s = 0.0
    positions = sum(block.rows * block.columns for block in blocks)
    ready = mapped_ahead(finder.changes, blocks, _READERS, _BLOCKS_AHEAD)
    with (
        (work / "tiles").open("wb") as tiles_file,
        (work / "descriptors").open("wb") as descriptors_file,
        progress_bar("dmnil-map", positions, "tile") as progress,
        closing(ready),
    ):
        for block, changes in zip(blocks, ready, strict=True):
            known = changes.rows >= 0
            contrast[changes.rows[known]] = changes.contrast[known]
            replaced[changes.rows[known & changes.changed]] = True
            seen += len(changes.rows)
            added += int(np.count_nonzero(~known))
            encoder_s += _append(
                region_map, engine, changes, batch_size, tiles_file, descriptors_file
            )
            progress.update(block.rows * block.columns)
    tiles = np.fromfile(work / "tiles", RAW_TILE_DTYPE)
    shape = (len(tiles), region_map.descriptor_size)
    descriptors: npt.NDArray[np.float16] = (
        np.memmap(work / "descriptors", "<f2", "r", shape=shape)
        if len(tiles)
        else np.empty(shape, np.float16)
    )
    return FoundTiles(tiles, descriptors, replaced, contrast, seen, added, encoder_s)


def _append(
    region_map: RegionMap,
    engine: Engine,
    changes: BlockChanges,
    batch_size: int,
    tiles_file: BinaryIO,
    descriptors_file: BinaryIO,
) -> float:
    """Describe a block's changed tiles as a build does; seconds spent in the encoder."""
    chosen = np.flatnonzero(changes.changed)
    if not chosen.size:
        return 0.0
    pictures = [changes.pictures[number] for number in chosen]
    block = BlockTiles(
        changes.lattice[chosen],
        pictures,
        changes.contrast[chosen],
        changes.digests[chosen],
        len(chosen),
    )
    described = encode_block(engine, block, batch_size)
    # A build keeps the encoder's descriptors in 16 bits before it knows its axes.
    encoded = described.descriptors.astype(np.float16).astype(np.float32)
    mean = region_map.descriptor_mean[changes.level]
    projected = project(encoded, mean, region_map.projection)
    tiles_file.write(raw_tiles(changes.level, described).tobytes())
    descriptors_file.write(projected.astype("<f2").tobytes())
    return described.encoder_s
