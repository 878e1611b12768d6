"""A map's descriptors on disk, in any of its storages, decoded only where they are read."""

from __future__ import annotations

import mmap
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
_RESIDENT_BYTES = 128 << 20
_PAGE_BYTES = mmap.PAGESIZE
# A half's exponent is biased by 15, a single's by 127.
_HALF_TO_SINGLE = np.float32(2.0**112)

Rows = npt.NDArray[np.integer[Any]]


class DescriptorStore(ABC):
    """Descriptors (N, D) of a map's tiles, memory-mapped in the form that their file has.

    Pages that were read count as the process's own memory until they are given back; they are,
    every 128 MB, so that a long flight over a large map does not gather the map in memory.
    """

    def __init__(self, stored: npt.NDArray[Any], size: int) -> None:
        self.stored = stored
        self.size = size
        self._bytes_read = 0

    def __len__(self) -> int:
        return len(self.stored)

    def decoded(self, rows: Rows | slice) -> npt.NDArray[np.float32]:
        """Descriptors (n, D) of some rows."""
        return self._decode(self._read(rows), rows)

    def similarity(
        self, rows: Rows | slice, queries: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Inner products (Q, n) of queries (Q, D) with some rows' descriptors."""
        return np.asarray(queries @ self.decoded(rows).T, np.float32)

    @abstractmethod
    def _decode(self, stored: npt.NDArray[Any], rows: Rows | slice) -> npt.NDArray[np.float32]:
        """Float32 (n, D) of rows that were read."""

    def _read(self, rows: Rows | slice) -> npt.NDArray[Any]:
        if isinstance(rows, slice):
            read = np.array(self.stored[rows])
        else:
            read = self.stored.take(rows, axis=0)
        row_bytes = self.stored.strides[0]
        self._bytes_read += len(read) * max(row_bytes, min(_PAGE_BYTES, 4 * row_bytes))
        if self._bytes_read > _RESIDENT_BYTES:
            give_pages_back(self.stored)
            self._bytes_read = 0
        return read


class HalfStore(DescriptorStore):
    """Float16 values as they are."""

    def _decode(self, stored: npt.NDArray[Any], rows: Rows | slice) -> npt.NDArray[np.float32]:
        # Numpy's own conversion costs as much as all else in a window's search together.
        bits = stored.view(np.int16).astype(np.int32)
        sign = bits & np.int32(-(2**31))
        bits &= 0x7FFF
        bits <<= 13
        bits |= sign
        values = bits.view(np.float32)
        values *= _HALF_TO_SINGLE
        return values


class Int8Store(DescriptorStore):
    """Eight bits a value, and a scale per row."""

    def __init__(self, stored: npt.NDArray[Any], size: int, scale: npt.NDArray[np.float32]) -> None:
        super().__init__(stored, size)
        self._scale = scale

    def similarity(
        self, rows: Rows | slice, queries: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Inner products (Q, n): the scale counts once a row rather than once a value."""
        whole = self._read(rows).astype(np.float32)
        return np.asarray(queries @ whole.T * self._scale[rows], np.float32)

    def _decode(self, stored: npt.NDArray[Any], rows: Rows | slice) -> npt.NDArray[np.float32]:
        return np.asarray(stored.astype(np.float32) * self._scale[rows][:, None], np.float32)


class ProductStore(DescriptorStore):
    """A byte per part of the descriptor, which names one of 256 values of that part."""

    def __init__(
        self, stored: npt.NDArray[Any], size: int, codebook: npt.NDArray[np.float32]
    ) -> None:
        super().__init__(stored, size)
        self._codebook = np.array(codebook)
        self._parts = np.arange(codebook.shape[0])

    def similarity(
        self, rows: Rows | slice, queries: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Inner products (Q, n), summed from those of the parts with their 256 values each."""
        codes = self._read(rows)
        parts, values, length = self._codebook.shape
        padded = np.zeros((len(queries), parts * length), np.float32)
        padded[:, : self.size] = queries
        products = np.einsum("qpl,pvl->qpv", padded.reshape(-1, parts, length), self._codebook)
        flat = products.reshape(len(queries), parts * values)
        places = codes + (self._parts * values)[None]
        return np.asarray(flat[:, places].sum(axis=2), np.float32)

    def _decode(self, stored: npt.NDArray[Any], rows: Rows | slice) -> npt.NDArray[np.float32]:
        whole = self._codebook[self._parts[None], stored].reshape(len(stored), -1)
        return np.ascontiguousarray(whole[:, : self.size])


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


def give_pages_back(array: npt.NDArray[Any]) -> None:
    """Let a memory-mapped array's pages count as the system's again; they stay in its cache."""
    mapping = getattr(array, "_mmap", None)
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _require(path: Path, array: npt.NDArray[Any], dtype: Any, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise MapError(
            f"{path} is {array.dtype} {array.shape}, expected {np.dtype(dtype).name} {shape}"
        )
