"""A raster that imagery is read from: its grid, its bands and how it is opened again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader
from rasterio.transform import Affine

from edge_runtime.contract.errors import MapError

_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
_OPEN_AT_MOST = 32

Opener = Callable[[int | None], DatasetReader]
"""Opens a layer, or its overview of that number."""


@dataclass(frozen=True)
class Bands:
    """Numbers of the red, green and blue bands, and of the alpha band if there is one."""

    colours: tuple[int, int, int]
    alpha: int | None = None

    @property
    def last(self) -> int:
        """The highest band that a colour is in."""
        return max(self.colours)


@dataclass(frozen=True, eq=False)
class Layer:
    """One raster of the imagery.

    Args:
        name: The file, or the file and the part of it, as errors name it.
        crs: Its coordinate reference system.
        transform: From (column, row) of its pixels into it.
        width: Columns; a mosaic of tiles may turn out finer than this once it is opened.
        height: Rows, likewise.
        block_width: Columns of the blocks in which it is stored.
        block_height: Rows of them.
        bands: Which bands are read.
        dtype: numpy's name of the bands' type.
        bits: Bits of a value that are used.
        open: Opens it, or its overview of that number, which is one of `overviews`.
        overviews: How many times coarser each of its overviews is.
        name_of_block: What a block is called, by row and column.
        present: (rows, columns) of blocks, those that exist; all of them when None.
        left_out: Blocks (row, column) that could not be opened, and why; `open` adds to it.
    """

    name: str
    crs: CRS
    transform: Affine
    width: int
    height: int
    block_width: int
    block_height: int
    bands: Bands
    dtype: str
    bits: int
    open: Opener
    overviews: tuple[int, ...] = ()
    name_of_block: Callable[[int, int], str] | None = None
    present: npt.NDArray[np.bool_] | None = None
    left_out: dict[tuple[int, int], str] = field(default_factory=dict)

    @property
    def is_8_bit(self) -> bool:
        """Whether its values are taken as they are."""
        return self.dtype == "uint8" and self.bits == 8

    @property
    def block_rows(self) -> int:
        """Blocks from north to south."""
        return -(-self.height // self.block_height)

    @property
    def block_columns(self) -> int:
        """Blocks from west to east."""
        return -(-self.width // self.block_width)

    @property
    def blocks(self) -> int:
        """Blocks that exist."""
        if self.present is not None:
            return int(np.count_nonzero(self.present))
        return self.block_rows * self.block_columns

    def block_name(self, row: int, column: int) -> str:
        """What a block is called in warnings."""
        if self.name_of_block is not None:
            return self.name_of_block(row, column)
        left, top = column * self.block_width, row * self.block_height
        return (
            f"{self.name}, columns {left} to {min(left + self.block_width, self.width) - 1} of "
            f"rows {top} to {min(top + self.block_height, self.height) - 1}"
        )


def choose_bands(dataset: DatasetReader, name: str) -> Bands:
    """Colours by their meaning, else the first three bands, else the first one as grey.

    Raises:
        MapError: If no band shows anything.
    """
    meanings = list(dataset.colorinterp)
    alpha = meanings.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in meanings else None
    if all(colour in meanings for colour in _COLOURS):
        red, green, blue = (meanings.index(colour) + 1 for colour in _COLOURS)
        return Bands((red, green, blue), alpha)
    pictures = [number + 1 for number in range(len(meanings)) if number + 1 != alpha]
    if not pictures:
        raise MapError(f"{name} has an alpha band only")
    if len(pictures) < 3:
        return Bands((pictures[0], pictures[0], pictures[0]), alpha)
    return Bands((pictures[0], pictures[1], pictures[2]), alpha)


class OpenLayers:
    """Lends open datasets, each to one thread at a time, and keeps the latest ones open."""

    def __init__(self, at_most: int = _OPEN_AT_MOST) -> None:
        self._at_most = at_most
        self._lock = threading.Lock()
        self._idle: OrderedDict[int, tuple[tuple[int, int | None], DatasetReader]] = OrderedDict()

    @contextmanager
    def borrow(self, layer: Layer, overview: int | None = None) -> Iterator[DatasetReader]:
        """A layer's dataset, or that of one of its overviews.

        Raises:
            MapError: If it cannot be opened any more.
        """
        key = (id(layer), overview)
        with self._lock:
            found = next((n for n in reversed(self._idle) if self._idle[n][0] == key), None)
            dataset = None if found is None else self._idle.pop(found)[1]
        if dataset is None:
            dataset = layer.open(overview)
        try:
            yield dataset
        finally:
            with self._lock:
                self._idle[id(dataset)] = (key, dataset)
                extra = len(self._idle) - self._at_most
                closing = [self._idle.popitem(last=False)[1][1] for _ in range(max(0, extra))]
            for old in closing:
                old.close()

    def close(self) -> None:
        """Close what is not lent."""
        with self._lock:
            while self._idle:
                self._idle.popitem()[1][1].close()
