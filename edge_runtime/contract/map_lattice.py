"""Which tile stands where: lattices in blocks, so that a sparse map stays small and opens at once.

A first array names, for every block of 32 x 32 positions of every level, the block's place in a
second one, or -1 where the map has no tile there; the second holds the tiles' rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.descriptor_store import open_array
from edge_runtime.contract.errors import MapError

BLOCKS_FILE = "lattice_blocks.npy"
ROWS_FILE = "lattice_rows.npy"
BLOCK = 32
"""Positions along a block's side."""


class LatticeSize(Protocol):
    """Anything with rows and columns, such as a map's level."""

    @property
    def rows(self) -> int:
        """Positions from north to south."""

    @property
    def columns(self) -> int:
        """Positions from west to east."""


@dataclass(frozen=True)
class MapLattice:
    """A map's row at every lattice position of every level."""

    folder: Path
    sizes: tuple[LatticeSize, ...]
    blocks: npt.NDArray[np.int32]
    """(all levels' blocks,): by level, then block row, then block column."""
    block_rows: npt.NDArray[np.int32]
    """(B, 32, 32): the map's row at each position of the blocks that have any, else -1."""
    tiles: int

    def rows_at(self, level: int, rows: slice, columns: slice) -> npt.NDArray[np.int32]:
        """The map's row at each position of a window of a level, -1 for none.

        Args:
            rows, columns: Without steps; cut to the lattice.
        """
        size = self.sizes[level]
        first_row, end_row, _ = rows.indices(size.rows)
        first_column, end_column, _ = columns.indices(size.columns)
        if end_row <= first_row or end_column <= first_column:
            return np.empty((max(0, end_row - first_row), max(0, end_column - first_column)), "i4")
        top, left = first_row // BLOCK, first_column // BLOCK
        bottom, right = -(-end_row // BLOCK), -(-end_column // BLOCK)
        start = sum(_block_count(other) for other in self.sizes[:level])
        table = self.blocks[start : start + _block_count(size)].reshape(-1, _across(size))
        chosen = table[top:bottom, left:right]
        if chosen.min() < -1 or chosen.max() >= len(self.block_rows):
            raise MapError(f"{self.folder / BLOCKS_FILE} names blocks that do not exist")
        # The index -1 reads the last block, which is overwritten where there is none.
        found = self.block_rows[chosen] if len(self.block_rows) else np.empty(0, np.int32)
        found[chosen < 0] = -1
        whole = found.transpose(0, 2, 1, 3).reshape((bottom - top) * BLOCK, (right - left) * BLOCK)[
            first_row - top * BLOCK : end_row - top * BLOCK,
            first_column - left * BLOCK : end_column - left * BLOCK,
        ]
        if whole.max() >= self.tiles or whole.min() < -1:
            raise MapError(f"{self.folder / ROWS_FILE} names tiles that do not exist")
        return np.ascontiguousarray(whole)


def open_lattice(folder: Path, sizes: tuple[LatticeSize, ...], tiles: int) -> MapLattice:
    """Open a map's lattices, checking the arrays' types and shapes.

    Raises:
        MapError: If a file is missing, unreadable or of another shape.
    """
    blocks, block_rows = open_array(folder / BLOCKS_FILE), open_array(folder / ROWS_FILE)
    count = sum(_block_count(size) for size in sizes)
    if blocks.dtype != np.int32 or blocks.shape != (count,):
        raise MapError(f"{folder / BLOCKS_FILE} is not int32 {(count,)}")
    if block_rows.dtype != np.int32 or block_rows.shape != (len(block_rows), BLOCK, BLOCK):
        raise MapError(f"{folder / ROWS_FILE} is not int32 (blocks, {BLOCK}, {BLOCK})")
    if not len(block_rows):
        raise MapError(f"{folder / ROWS_FILE} holds no tile")
    return MapLattice(folder, sizes, blocks, block_rows, tiles)


def write_lattice(
    staging: Path, sizes: tuple[LatticeSize, ...], tiles: npt.NDArray[np.void]
) -> None:
    """Write the lattices of tiles in the map's order.

    Raises:
        MapError: If a tile stands outside its lattice, or two stand at one place.
    """
    level = tiles["level"].astype(np.int64)
    row, column = tiles["lattice_row"].astype(np.int64), tiles["lattice_column"].astype(np.int64)
    limits = np.array([[size.rows, size.columns] for size in sizes])[level]
    if (row >= limits[:, 0]).any() or (column >= limits[:, 1]).any():
        raise MapError("tiles stand outside the lattice of their level")
    counts = [_block_count(size) for size in sizes]
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    across = np.array([_across(size) for size in sizes])
    places = first[level] + row // BLOCK * across[level] + column // BLOCK
    used, block = np.unique(places, return_inverse=True)
    blocks = np.full(sum(counts), -1, np.int32)
    blocks[used] = np.arange(len(used))
    block_rows = np.full((len(used), BLOCK, BLOCK), -1, np.int32)
    block_rows[block, row % BLOCK, column % BLOCK] = np.arange(len(tiles))
    if np.count_nonzero(block_rows >= 0) != len(tiles):
        raise MapError("two tiles stand at the same place of a lattice")
    np.save(staging / BLOCKS_FILE, blocks)
    np.save(staging / ROWS_FILE, block_rows)


def map_order(
    level: npt.NDArray[np.integer[Any]],
    lattice_row: npt.NDArray[np.integer[Any]],
    lattice_column: npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.intp]:
    """The order (N,) of a map's tiles: by level, then along a Hilbert curve over the lattice.

    Neighbours on the ground are neighbours on the disk, so that a window is read in few pieces.
    """
    largest = max(int(lattice_row.max(initial=0)), int(lattice_column.max(initial=0)))
    along = _hilbert_distance(lattice_row, lattice_column, max(1, largest.bit_length()))
    return np.lexsort((along, level))


def _hilbert_distance(
    row: npt.NDArray[np.integer[Any]], column: npt.NDArray[np.integer[Any]], bits: int
) -> npt.NDArray[np.uint64]:
    """Distances (N,) along the Hilbert curve over a square of 2^bits positions a side."""
    x, y = column.astype(np.uint64), row.astype(np.uint64)
    distance = np.zeros(len(x), np.uint64)
    last = np.uint64((1 << bits) - 1)
    for bit in range(bits - 1, -1, -1):
        shift = np.uint64(bit)
        right, down = x >> shift & np.uint64(1), y >> shift & np.uint64(1)
        distance = distance << np.uint64(2) | (np.uint64(3) * right) ^ down
        turned = (down == 0) & (right == 1)
        x, y = np.where(turned, last - x, x), np.where(turned, last - y, y)
        x, y = np.where(down == 0, y, x), np.where(down == 0, x, y)
    return distance


def _across(size: LatticeSize) -> int:
    return -(-size.columns // BLOCK)


def _block_count(size: LatticeSize) -> int:
    return -(-size.rows // BLOCK) * _across(size)
