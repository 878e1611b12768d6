"""From blocks of a lattice to descriptors: what one machine does, or any of a cluster.

A block's result depends on the specification and the block alone: not on other blocks, nor on the
order in which they come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.area import LocalArea
from dmnil_maps.picture_digest import picture_digests
from dmnil_maps.raster import Imagery
from dmnil_maps.tiling import LatticeBlock, block_windows, chosen_positions, lattice_blocks
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MapLevel
from edge_runtime.engines import Engine


@dataclass(frozen=True)
class DescribeSpec:
    """All that a block's descriptors depend on; it can be sent to another process.

    Args:
        imagery: Sources of imagery, the first one on top.
        zoom: Zoom of tile folders, see `open_imagery`; likewise crs and tms.
        frame: The map's frame.
        levels: The map's lattices.
        area: Positions whose footprints do not touch it are left out; None for everything.
        encoder: Encoder bundle.
        input_width: Pixels of the encoder's input; likewise input_height.
        precision: Graph of the bundle to run.
        backend: Engine to run it in, see `open_engine`.
        threads: Processor threads of the engine; 0 leaves it to the engine.
        batch_size: Tiles encoded at a time at most.
    """

    imagery: tuple[Path, ...]
    zoom: int | None
    crs: str | None
    tms: bool | None
    frame: LocalFrame
    levels: tuple[MapLevel, ...]
    area: LocalArea | None
    encoder: Path
    input_width: int
    input_height: int
    precision: str = "fp32"
    backend: str = "onnxruntime"
    threads: int = 0
    batch_size: int = 16

    def blocks(self) -> list[LatticeBlock]:
        """All blocks that have to be described, always in the same order."""
        return lattice_blocks(self.levels, self.input_width, self.input_height, self.area)


@dataclass(frozen=True)
class BlockTiles:
    """A block's tiles before the encoder has seen them.

    Args:
        lattice: (N, 2) lattice rows and columns.
        pictures: N of (H, W, 3), parts of one larger picture.
        contrast: (N,) standard deviation of the grey levels, 0 to 255.
        digests: (N,) of the pictures, see `picture_digest`.
        examined: Positions looked at, those without imagery included.
    """

    lattice: npt.NDArray[np.int64]
    pictures: list[npt.NDArray[np.uint8]]
    contrast: npt.NDArray[np.float32]
    digests: npt.NDArray[np.uint64]
    examined: int


@dataclass(frozen=True)
class DescribedBlock:
    """A block's tiles as a map takes them: see `BlockTiles`, and descriptors (N, D)."""

    lattice: npt.NDArray[np.int64]
    descriptors: npt.NDArray[np.float32]
    contrast: npt.NDArray[np.float32]
    digests: npt.NDArray[np.uint64]
    examined: int
    encoder_s: float


def read_block(imagery: Imagery, spec: DescribeSpec, block: LatticeBlock) -> BlockTiles:
    """A block's tiles that are in the area and have imagery.

    Raises:
        MapError: If the imagery cannot be read.
    """
    level = spec.levels[block.level]
    chosen = chosen_positions(level, block, spec.area)
    windows = [
        window
        for window in block_windows(
            imagery, level, block, spec.input_width, spec.input_height, chosen
        )
        if window.kept
    ]
    pictures = [window.rgb for window in windows]
    return BlockTiles(
        lattice=np.array([window.place for window in windows], np.int64).reshape(-1, 2),
        pictures=pictures,
        contrast=np.array([_contrast(rgb) for rgb in pictures], np.float32),
        digests=picture_digests(pictures),
        examined=int(np.count_nonzero(chosen)),
    )


def encode_block(
    engine: Engine,
    tiles: BlockTiles,
    batch_size: int,
    on_encoded: Callable[[int], object] = lambda tiles: None,
) -> DescribedBlock:
    """Describe a block's tiles.

    Args:
        on_encoded: Told the number of tiles after each batch.

    Raises:
        EngineError: If the engine fails.
    """
    described, encoder_s = [], 0.0
    for batch in _batches(len(tiles.pictures), batch_size):
        pictures = np.stack(tiles.pictures[batch])
        started = time.perf_counter()
        if len(pictures) == 1 < batch_size:
            # Alone, a tile goes through other code of some engines, which rounds otherwise.
            described.append(engine.encode(np.repeat(pictures, 2, axis=0))[:1])
        else:
            described.append(engine.encode(pictures))
        encoder_s += time.perf_counter() - started
        on_encoded(len(pictures))
    return DescribedBlock(
        lattice=tiles.lattice,
        descriptors=np.concatenate(described) if described else np.empty((0, 0), np.float32),
        contrast=tiles.contrast,
        digests=tiles.digests,
        examined=tiles.examined,
        encoder_s=encoder_s,
    )


def _batches(count: int, batch_size: int) -> Iterator[slice]:
    """As few batches as can be, none more than one tile larger than another."""
    batches = -(-count // batch_size)
    ends = [count * number // max(1, batches) for number in range(batches + 1)]
    return (slice(start, end) for start, end in pairwise(ends))


def _contrast(rgb: npt.NDArray[np.uint8]) -> float:
    _, deviation = cv2.meanStdDev(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    return float(deviation[0, 0])
