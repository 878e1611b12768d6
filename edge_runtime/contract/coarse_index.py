"""A coarse index over a level's descriptors, for searches that no prior narrows.

Four bits for every two values, all of them scanned by faiss (product quantisation, fast scan;
André et al. 2017). Lists of an inverted file save little on such descriptors: beside the right
tile and its neighbours, the nearest ones lie scattered over all lists.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.descriptor_store import DescriptorStore
from edge_runtime.contract.errors import MapError, OutputError
from edge_runtime.contract.faiss_library import import_faiss, single_thread
from edge_runtime.contract.row_sample import evenly_spread

LARGE_LEVEL_TILES = 50_000
"""Levels of more tiles get an index: up to it, comparing all tiles takes some 60 ms."""
FEWEST_TILES = 256
"""No index is made of fewer."""
_TRAINING_ROWS = 16_384
_ROWS_PER_CHUNK = 65_536
_log = logging.getLogger(__name__)


def write_coarse_indexes(
    staging: Path, store: DescriptorStore, tiles_per_level: Sequence[int], wanted: bool | None
) -> None:
    """Write an index of each level that is large enough, beside the descriptors.

    Args:
        wanted: For every level of 256 tiles or more, for none, or, if None, for large ones where
            faiss is installed.
    Raises:
        MapError: If indexes are wanted and faiss is not installed.
        OutputError: If one cannot be written.
    """
    least = FEWEST_TILES if wanted else LARGE_LEVEL_TILES
    if wanted is False or max(tiles_per_level) < least:
        return
    try:
        faiss = import_faiss("a coarse index")
    except MapError as error:
        if wanted:
            raise
        _log.warning("searches without a prior will compare all tiles: %s", error)
        return
    first = 0
    for level, count in enumerate(tiles_per_level):
        if count >= least:
            rows = slice(first, first + count)
            index, path = _index_of(faiss, store, rows), staging / coarse_index_file(level)
            try:
                faiss.write_index(index, str(path))
            except RuntimeError as error:
                raise OutputError(f"{path} cannot be written: {error}") from error
        first += count


def coarse_index_file(level: int) -> str:
    """Name of a level's index in its map."""
    return f"coarse_{level}.faiss"


class CoarseIndex:
    """A level's index, read whole: a quarter of a byte for every value of its descriptors."""

    def __init__(self, folder: Path, level: int, rows: slice, size: int) -> None:
        """Read it.

        Args:
            rows: The level's tiles in the map.
            size: Values of a descriptor.
        Raises:
            MapError: If there is none, it is not this level's, or faiss is not installed.
        """
        path = folder / coarse_index_file(level)
        if not path.is_file():
            raise MapError(f"{path} is missing")
        faiss = import_faiss("the coarse index")
        try:
            self._index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise MapError(f"{path} cannot be read: {error}") from error
        if (self._index.d, self._index.ntotal) != (size, rows.stop - rows.start):
            raise MapError(f"{path} is not of {rows.stop - rows.start} tiles of {size} values")
        self._first = rows.start

    def candidates(self, queries: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
        """The map's rows (Q, n) that are probably most like each query (Q, D), in no order."""
        count = min(count, int(self._index.ntotal))
        _, found = self._index.search(np.ascontiguousarray(queries, np.float32), count)
        return np.asarray(found + self._first, np.int64)


def _index_of(faiss: Any, store: DescriptorStore, rows: slice) -> Any:
    size, count = store.size, rows.stop - rows.start
    parts = size // 2 if size % 2 == 0 else size
    index = faiss.index_factory(size, f"PQ{parts}x4fs", faiss.METRIC_INNER_PRODUCT)
    index.pq.cp.min_points_per_centroid = 1
    with single_thread(faiss):
        index.train(store.scattered(rows.start + evenly_spread(count, _TRAINING_ROWS)))
    for start in range(rows.start, rows.stop, _ROWS_PER_CHUNK):
        index.add(store.decoded(slice(start, min(start + _ROWS_PER_CHUNK, rows.stop))))
    return index
