"""Descriptors to disk, chunk by chunk, in any of a map's storages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

from edge_runtime.contract.descriptor_store import (
    CODEBOOK_FILE,
    DESCRIPTORS_FILE,
    SCALE_FILE,
    STORAGES,
)
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.faiss_library import import_faiss, single_thread
from edge_runtime.contract.row_sample import evenly_spread

PRODUCT_PART = 4
"""Values of a descriptor that pq stores as one byte."""
PRODUCT_VALUES = 256
_TRAINING_ROWS = 16_384
_ROWS_PER_CHUNK = 4096
_SPOOL_FILE = "descriptors.spool"

Chunks = Iterable[npt.NDArray[np.float32]]


def write_descriptors(staging: Path, chunks: Chunks, count: int, size: int, storage: str) -> None:
    """Write descriptors (count, size), which come in chunks, and what decodes them.

    Raises:
        MapError: If there are more or fewer, or they do not suit the storage.
    """
    if storage not in STORAGES:
        raise MapError(f"unknown storage {storage!r}: choose one of {', '.join(STORAGES)}")
    if storage == "int8":
        _write_int8(staging, chunks, count, size)
    elif storage == "pq":
        _write_product(staging, chunks, count, size)
    else:
        _write_array(staging / DESCRIPTORS_FILE, chunks, np.dtype("<f2"), count, size)


def _write_int8(staging: Path, chunks: Chunks, count: int, size: int) -> None:
    scales = np.empty(count, "<f4")
    done = 0

    def quantised() -> Iterable[npt.NDArray[np.int8]]:
        nonlocal done
        for chunk in chunks:
            scale = np.maximum(np.abs(chunk).max(axis=1), 1e-12) / 127.0
            scales[done : done + len(chunk)] = scale[: max(0, count - done)]
            done += len(chunk)
            yield np.rint(chunk / scale[:, None]).astype(np.int8)

    _write_array(staging / DESCRIPTORS_FILE, quantised(), np.dtype("i1"), count, size)
    np.save(staging / SCALE_FILE, scales)


def _write_product(staging: Path, chunks: Chunks, count: int, size: int) -> None:
    """Parts of four values, each as the nearest of 256; trained on what is to be stored."""
    faiss = import_faiss("storage pq")
    if count < PRODUCT_VALUES:
        raise MapError(f"storage pq needs {PRODUCT_VALUES} tiles, this map has {count}: use int8")
    spool = staging / _SPOOL_FILE
    _write_array(spool, chunks, np.dtype("<f2"), count, size)
    whole = np.load(spool, mmap_mode="r")
    parts = -(-size // PRODUCT_PART)

    def padded(rows: Any) -> npt.NDArray[np.float32]:
        part = whole[rows]
        values = np.zeros((len(part), parts * PRODUCT_PART), np.float32)
        values[:, :size] = part
        return values

    quantiser = faiss.ProductQuantizer(parts * PRODUCT_PART, parts, 8)
    quantiser.cp.min_points_per_centroid = 1
    with single_thread(faiss):
        quantiser.train(padded(evenly_spread(count, _TRAINING_ROWS)))
    codebook = faiss.vector_to_array(quantiser.centroids)
    np.save(
        staging / CODEBOOK_FILE,
        codebook.reshape(parts, PRODUCT_VALUES, PRODUCT_PART).astype("<f4"),
    )
    coded = (
        quantiser.compute_codes(padded(slice(start, start + _ROWS_PER_CHUNK)))
        for start in range(0, count, _ROWS_PER_CHUNK)
    )
    _write_array(staging / DESCRIPTORS_FILE, coded, np.dtype("u1"), count, parts)
    spool.unlink()


def _write_array(
    path: Path, chunks: Iterable[npt.NDArray[Any]], dtype: np.dtype[Any], count: int, size: int
) -> None:
    header = {"descr": dtype_to_descr(dtype), "fortran_order": False, "shape": (count, size)}
    done = 0
    # Not memory-mapped: there, a full disk is a signal that kills the process without a word.
    with path.open("wb") as stream:
        write_array_header_1_0(stream, header)
        for chunk in chunks:
            if chunk.ndim != 2 or chunk.shape[1] != size or done + len(chunk) > count:
                raise MapError(
                    f"descriptors {chunk.shape} after {done} do not fit {count} tiles of {size} "
                    "values"
                )
            stream.write(chunk.astype(dtype).tobytes())
            done += len(chunk)
    if done != count:
        raise MapError(f"{done} descriptors came for {count} tiles")
