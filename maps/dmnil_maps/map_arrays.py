"""A map's arrays on disk: tiles arrive block by block, and are stored in the map's order.

Descriptors never stand in memory together, so that a map may be larger than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from dmnil_maps.whitening import fit_projection, project, sample_rows
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import MapLevel
from edge_runtime.contract.region_map_writer import tiles_on_lattice

_ROWS_PER_CHUNK = 4096
_UNSORTED_DTYPE = np.dtype([("level", "<u2"), ("lattice_row", "<u4"), ("lattice_column", "<u4")])
_UNSORTED_TILES = "tiles.unsorted"
_UNSORTED_DESCRIPTORS = "descriptors.unsorted"


@dataclass(frozen=True)
class UnsortedWriter:
    """Two raw files that tiles are appended to in any order."""

    tiles_file: IO[bytes]
    descriptors_file: IO[bytes]

    def append(
        self,
        level: int,
        lattice: npt.NDArray[np.int64],
        descriptors: npt.NDArray[np.float32],
    ) -> None:
        """Add descriptors (N, D) of tiles at lattice rows and columns (N, 2) of a level."""
        tiles = np.empty(len(descriptors), _UNSORTED_DTYPE)
        tiles["level"] = level
        tiles["lattice_row"], tiles["lattice_column"] = lattice.T
        self.tiles_file.write(tiles.tobytes())
        self.descriptors_file.write(descriptors.astype("<f2").tobytes())


@contextmanager
def unsorted_writer(staging: Path) -> Iterator[UnsortedWriter]:
    """Open the raw files in the folder that the map is made in."""
    with (
        (staging / _UNSORTED_TILES).open("wb") as tiles_file,
        (staging / _UNSORTED_DESCRIPTORS).open("wb") as descriptors_file,
    ):
        yield UnsortedWriter(tiles_file, descriptors_file)


def sorted_tiles(
    levels: list[MapLevel], frame: LocalFrame, staging: Path
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.intp]]:
    """Tiles in the map's order (N,), and the raw file's row of each one's descriptor (N,)."""
    unsorted = np.fromfile(staging / _UNSORTED_TILES, _UNSORTED_DTYPE)
    order = map_order(unsorted["level"], unsorted["lattice_row"], unsorted["lattice_column"])
    ordered = unsorted[order]
    tiles = tiles_on_lattice(
        frame, levels, ordered["level"], ordered["lattice_row"], ordered["lattice_column"]
    )
    return tiles, order


def fitted_axes(
    tiles: npt.NDArray[np.void],
    order: npt.NDArray[np.intp],
    levels: int,
    encoder_size: int,
    components: int,
    staging: Path,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The tiles' means and the map's axes, from the raw descriptors.

    Args:
        order: The raw file's row of each tile's descriptor.
        levels: How many levels the map has.
        encoder_size: Values of the encoder's descriptors.
        components: Values to keep per tile at most.

    Returns:
        Mean descriptor per level (levels, D_encoder), and the projection (D_encoder, D).
    """
    shape = (len(order), encoder_size)
    raw = np.memmap(staging / _UNSORTED_DESCRIPTORS, "<f2", "r", shape=shape)
    means = np.zeros((levels, encoder_size), np.float64)
    for chunk in _chunks(0, len(order)):
        np.add.at(means, tiles["level"][chunk], raw[order[chunk]].astype(np.float64))
    means /= np.bincount(tiles["level"], minlength=levels)[:, None]
    mean = means.astype(np.float32)
    sample = sample_rows(len(order))
    centred = raw[order[sample]].astype(np.float32) - mean[tiles["level"][sample]]
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    return mean, fit_projection(centred, components)


def projected_chunks(
    tiles: npt.NDArray[np.void],
    order: npt.NDArray[np.intp],
    mean: npt.NDArray[np.float32],
    projection: npt.NDArray[np.float32],
    staging: Path,
) -> Iterator[npt.NDArray[np.float32]]:
    """The map's descriptors in its order, in chunks; the raw files are removed at the end."""
    shape = (len(order), len(projection))
    raw = np.memmap(staging / _UNSORTED_DESCRIPTORS, "<f2", "r", shape=shape)
    for chunk in _chunks(0, len(order)):
        encoded = raw[order[chunk]].astype(np.float32)
        yield project(encoded, mean[tiles["level"][chunk]], projection)
    (staging / _UNSORTED_TILES).unlink()
    (staging / _UNSORTED_DESCRIPTORS).unlink()


def _chunks(first: int, end: int) -> Iterator[slice]:
    for start in range(first, end, _ROWS_PER_CHUNK):
        yield slice(start, min(start + _ROWS_PER_CHUNK, end))
