"""A map's descriptors on disk, in any of its storages, decoded only where they are read."""

from __future__ import annotations

import mmap
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import MapError

STORAGES = ("float16", "int8", "pq")
DESCRIPTORS_FILE = "descriptors.npy"
SCALE_FILE = "descriptor_scale.npy"
CODEBOOK_FILE = "descriptor_codebook.npy"
_RESIDENT_BYTES = 16 << 20
_BLOCK_ROWS = 512
# A half's exponent is biased by 15, a single's by 127.
_HALF_TO_SINGLE = np.float32(2.0**112)

# A half's bits at a single's places leave the sign in bits 28 to 31, where only 31 is its own.
_HALF_BITS_KEPT = np.int32(-0x70000001)

Rows = npt.NDArray[np.integer[Any]]


class DescriptorStore(ABC):
    """Descriptors (N, D) of a map's tiles, memory-mapped in the form that their file has.

    Pages that were read count as the process's own memory until they are given back; they are,
    every 16 MB, so that a long flight over a large map does not gather the map in memory.
    """

    def __init__(self, stored: npt.NDArray[Any], size: int) -> None:
        self.stored = stored
        self.size = size
        self._bytes_read = 0
        self._scratch = threading.local()

    def __len__(self) -> int:
        return len(self.stored)

    def decoded(self, rows: Rows | slice) -> npt.NDArray[np.float32]:
        """Descriptors (n, D) of some rows."""
        rows = _row_numbers(rows, len(self))
        values = np.empty((len(rows), self.size), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            values[start : start + len(block)] = self._decode(self._read(block), block)
        return values

    def scattered(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Descriptors (n, D) of rows far apart, without reading what lies between them."""
        advise(self.stored, "MADV_RANDOM")
        values = self.decoded(rows)
        advise(self.stored, "MADV_NORMAL")
        advise(self.stored, "MADV_DONTNEED")
        return values

    def similarity(
        self, rows: Rows | slice, queries: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Inner products (Q, n) of queries (Q, D) with some rows' descriptors."""
        rows = _row_numbers(rows, len(self))
        prepared = self._prepare(queries)
        similarity = np.empty((len(queries), len(rows)), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            products = self._products(prepared, self._read(block), block)
            similarity[:, start : start + len(block)] = products
        return similarity

    @abstractmethod
    def _decode(self, stored: npt.NDArray[Any], rows: Rows) -> npt.NDArray[np.float32]:
        """Float32 (n, D) of rows that were read; valid until the next block is."""

    def _prepare(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Queries in the form that `_products` takes them."""
        return queries

    def _products(
        self, prepared: npt.NDArray[np.float32], stored: npt.NDArray[Any], rows: Rows
    ) -> npt.NDArray[np.float32]:
        """Inner products (Q, n) of prepared queries with rows that were read."""
        return np.asarray(prepared @ self._decode(stored, rows).T, np.float32)

    def _read(self, rows: Rows) -> npt.NDArray[Any]:
        """A block's stored rows, in memory that the next block uses again.

        Fresh memory for every window would cost more, in page faults, than the search itself.
        """
        block = self._buffer("stored", self.stored.dtype, self.stored.shape[1])[: len(rows)]
        self.stored.take(rows, axis=0, out=block, mode="clip")
        self._bytes_read += block.nbytes
        if self._bytes_read > _RESIDENT_BYTES:
            advise(self.stored, "MADV_DONTNEED")
            self._bytes_read = 0
        return block

    def _buffer(self, name: str, dtype: npt.DTypeLike, width: int) -> npt.NDArray[Any]:
        buffer: npt.NDArray[Any] | None = getattr(self._scratch, name, None)
        if buffer is None:
            buffer = np.empty((_BLOCK_ROWS, width), dtype)
            setattr(self._scratch, name, buffer)
        return buffer


class HalfStore(DescriptorStore):
    """Float16 values as they are."""

    def _decode(self, stored: npt.NDArray[Any], rows: Rows) -> npt.NDArray[np.float32]:
        values = self._singles(stored)
        values *= _HALF_TO_SINGLE
        return values

    def _prepare(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(queries * _HALF_TO_SINGLE, np.float32)

    def _products(
        self, prepared: npt.NDArray[np.float32], stored: npt.NDArray[Any], rows: Rows
    ) -> npt.NDArray[np.float32]:
        return np.asarray(prepared @ self._singles(stored).T, np.float32)

    def _singles(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The halves as singles, too small by 2^112: their bits, moved to a single's places.

        Numpy's own conversion costs as much as all else in a window's search together.
        """
        bits = self._buffer("bits", np.int32, self.size)[: len(stored)]
        np.copyto(bits, stored.view(np.int16))
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _HALF_BITS_KEPT, out=bits)
        return bits.view(np.float32)


class Int8Store(DescriptorStore):
    """Eight bits a value, and a scale per row."""

    def __init__(self, stored: npt.NDArray[Any], size: int, scale: npt.NDArray[np.float32]) -> None:
        super().__init__(stored, size)
        self._scale = scale

    def _decode(self, stored: npt.NDArray[Any], rows: Rows) -> npt.NDArray[np.float32]:
        values = self._singles(stored)
        values *= self._scale[rows][:, None]
        return values

    def _products(
        self, prepared: npt.NDArray[np.float32], stored: npt.NDArray[Any], rows: Rows
    ) -> npt.NDArray[np.float32]:
        products = prepared @ self._singles(stored).T
        products *= self._scale[rows]
        return np.asarray(products, np.float32)

    def _singles(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        values = self._buffer("singles", np.float32, self.size)[: len(stored)]
        np.copyto(values, stored)
        return values


class ProductStore(DescriptorStore):
    """A byte per part of the descriptor, which names one of 256 values of that part."""

    def __init__(
        self, stored: npt.NDArray[Any], size: int, codebook: npt.NDArray[np.float32]
    ) -> None:
        super().__init__(stored, size)
        self._codebook = np.array(codebook)
        self._parts = np.arange(codebook.shape[0])

    def _decode(self, stored: npt.NDArray[Any], rows: Rows) -> npt.NDArray[np.float32]:
        whole = self._codebook[self._parts[None], stored].reshape(len(stored), -1)
        return np.asarray(whole[:, : self.size], np.float32)

    def _prepare(self, queries: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Products (Q, parts * 256) of each part of the queries with its 256 values."""
        parts, values, length = self._codebook.shape
        padded = np.zeros((len(queries), parts * length), np.float32)
        padded[:, : self.size] = queries
        products = np.einsum("qpl,pvl->qpv", padded.reshape(-1, parts, length), self._codebook)
        return np.asarray(products.reshape(len(queries), parts * values), np.float32)

    def _products(
        self, prepared: npt.NDArray[np.float32], stored: npt.NDArray[Any], rows: Rows
    ) -> npt.NDArray[np.float32]:
        places = stored + (self._parts * self._codebook.shape[1])[None]
        return np.asarray(prepared[:, places].sum(axis=2), np.float32)


def open_descriptors(folder: Path, storage: str, count: int, size: int) -> DescriptorStore:
    """Open a map's descriptors, checking every array's type and shape.

    Args:
        count: Tiles of the map.
        size: Values of a descriptor.
    Raises:
        MapError: If a file is missing, unreadable or of another shape.
    """
    stored = open_array(folder / DESCRIPTORS_FILE)
    if storage == "float16":
        _require(folder / DESCRIPTORS_FILE, stored, np.float16, (count, size))
        return HalfStore(stored, size)
    if storage == "int8":
        _require(folder / DESCRIPTORS_FILE, stored, np.int8, (count, size))
        scale = open_array(folder / SCALE_FILE)
        _require(folder / SCALE_FILE, scale, np.float32, (count,))
        return Int8Store(stored, size, scale)
    if storage == "pq":
        codebook = open_array(folder / CODEBOOK_FILE)
        if codebook.ndim != 3 or not 0 <= codebook.shape[0] * codebook.shape[2] - size < 64:
            raise MapError(f"{folder / CODEBOOK_FILE} is not of descriptors of {size} values")
        _require(
            folder / CODEBOOK_FILE, codebook, np.float32, (len(codebook), 256, codebook.shape[2])
        )
        _require(folder / DESCRIPTORS_FILE, stored, np.uint8, (count, len(codebook)))
        return ProductStore(stored, size, codebook)
    raise MapError(
        f"{folder} stores its descriptors as {storage!r}, this release reads {', '.join(STORAGES)}"
    )


def open_array(path: Path) -> npt.NDArray[Any]:
    """Memory-map an array for reading.

    Raises:
        MapError: If it cannot be read.
    """
    try:
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise MapError(f"{path} cannot be read: {error}") from error
    return array


def advise(array: npt.NDArray[Any], advice: str) -> None:
    """Tell the system how a memory-mapped array will be read, where it takes such advice.

    MADV_DONTNEED gives the pages back to the system, whose cache keeps them.
    """
    mapping = getattr(array, "_mmap", None)
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, advice):
        mapping.madvise(getattr(mmap, advice))


def _row_numbers(rows: Rows | slice, count: int) -> Rows:
    """Rows as numbers within the map; those outside are an error here, and not another row."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count))
    rows = np.asarray(rows)
    if rows.size and (rows.min() < 0 or rows.max() >= count):
        raise IndexError(f"rows {rows.min()} to {rows.max()} of a map of {count} tiles")
    return rows


def _require(path: Path, array: npt.NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise MapError(
            f"{path} is {array.dtype} {array.shape}, expected {np.dtype(dtype).name} {shape}"
        )
