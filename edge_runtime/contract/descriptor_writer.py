"""Descriptors to disk, chunk by chunk, in any of a map's storages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from edge_runtime.contract.descriptor_store import DESCRIPTORS_FILE, SCALE_FILE, STORAGES
from edge_runtime.contract.errors import MapError

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
        raise MapError("storage pq needs a codebook")
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


def _write_array(
    path: Path, chunks: Iterable[npt.NDArray[Any]], dtype: np.dtype[Any], count: int, size: int
) -> None:
    stored = open_memmap(path, "w+", dtype, (count, size))
    done = 0
    for chunk in chunks:
        if chunk.ndim != 2 or chunk.shape[1] != size or done + len(chunk) > count:
            raise MapError(
                f"descriptors {chunk.shape} after {done} do not fit {count} tiles of {size} values"
            )
        stored[done : done + len(chunk)] = chunk
        done += len(chunk)
    if done != count:
        raise MapError(f"{done} descriptors came for {count} tiles")
    stored.flush()
