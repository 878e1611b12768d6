"""The one place that asks for faiss, which is an extra: most maps do without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edge_runtime.contract.errors import MapError


def import_faiss(wanted_by: str) -> Any:
    """The faiss module.

    Raises:
        MapError: If it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MapError(
            f"{wanted_by} needs faiss: pip install 'dmnil-edge[search]' ({error})"
        ) from error
    return faiss


@contextmanager
def single_thread(faiss: Any) -> Iterator[None]:
    """Train on one thread, so that the same descriptors give the same bytes on every machine."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
