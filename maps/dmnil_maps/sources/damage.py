"""Which parts of the imagery were read, and which could not be."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dmnil_maps.sources.layer import Layer
from edge_runtime.contract.errors import MapError

logger = logging.getLogger(__name__)

LARGEST_SHARE = 0.01
"""Imagery of which more than this share of the blocks read is damaged makes no map."""
_MOST_CELLS = 2**24
_NAMED_AT_MOST = 20


class Damage:
    """Counts blocks as they are read; those that cannot be read are named once and left out."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._lock = threading.Lock()
        self._total = sum(layer.blocks for layer in layers)
        self._read: dict[int, tuple[npt.NDArray[np.bool_], int]] = {}
        self._damaged: dict[tuple[int, int, int], str] = {}

    @property
    def blocks(self) -> int:
        """Different blocks that could not be read."""
        return len(self._damaged)

    @property
    def names(self) -> list[str]:
        """Where they are, and what GDAL said."""
        return list(self._damaged.values())

    @property
    def blocks_read(self) -> int:
        """Different blocks of the imagery that reading came by."""
        with self._lock:
            cells = [
                int(np.count_nonzero(grid)) * coarsening**2
                for grid, coarsening in self._read.values()
            ]
        return max(sum(cells), len(self._damaged))

    @property
    def share(self) -> float:
        """Damaged blocks as a share of those read."""
        return self.blocks / max(1, self.blocks_read)

    def note_read(self, layer: Layer, rows: slice, columns: slice) -> None:
        """Count blocks as read."""
        with self._lock:
            if id(layer) not in self._read:
                cells = layer.block_rows * layer.block_columns
                coarsening = max(1, int(np.ceil(np.sqrt(cells / _MOST_CELLS))))
                shape = (-(-side // coarsening) for side in (layer.block_rows, layer.block_columns))
                self._read[id(layer)] = np.zeros(tuple(shape), np.bool_), coarsening
            grid, coarsening = self._read[id(layer)]
            window = (
                slice(rows.start // coarsening, -(-rows.stop // coarsening)),
                slice(columns.start // coarsening, -(-columns.stop // coarsening)),
            )
            grid[window] = True if layer.present is None else layer.present[window]

    def note_damaged(self, layer: Layer, row: int, column: int, reason: str) -> None:
        """Name a block that cannot be read, the first time that it is met.

        Raises:
            MapError: If more than 1 % of all there is are damaged by now.
        """
        with self._lock:
            if (id(layer), row, column) in self._damaged:
                return
            name = f"{layer.block_name(row, column)}: {reason}"
            self._damaged[id(layer), row, column] = name
            count = len(self._damaged)
        if count > LARGEST_SHARE * self._total:
            raise MapError(
                f"{layer.name} cannot be read, at least {count} of {self._total} blocks are "
                f"damaged: {name}"
            )
        if count <= _NAMED_AT_MOST:
            logger.warning("its ground is left out: %s", name)
        if count == _NAMED_AT_MOST:
            logger.warning("further damage is counted and not named")

    def check(self) -> None:
        """Refuse imagery that is damaged beyond what a map bears.

        Raises:
            MapError: If more than 1 % of the blocks that were read are damaged.
        """
        if self.share > LARGEST_SHARE:
            raise MapError(
                f"{self.blocks} of {self.blocks_read} blocks of imagery that were read are "
                f"damaged, {self.share:.1%} where {LARGEST_SHARE:.0%} is borne: get it anew; the "
                f"first is {self.names[0]}"
            )
