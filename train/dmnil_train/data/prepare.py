"""Decode a pool of files once, at one size, into an array on disk."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmnil_train.data.picture_cache import PictureWriter, cached_pictures
from dmnil_train.data.picture_files import (
    FilePool,
    decoder_threads,
    fingerprint_of,
    quiet_decoder,
)
from dmnil_train.data.pool import PreparedPool
from dmnil_train.data.resize import resized
from edge_runtime.contract.errors import ConfigError, SourceError
from edge_runtime.progress import progress_bar

logger = logging.getLogger(__name__)

LARGEST_UNREADABLE_SHARE = 0.05
"""Above this share of undecodable pictures the copy is bad, and training on the rest a mistake."""
_NAMES_SHOWN = 3
_READ_AHEAD = 4
_QUIET_S = 1.0


def prepare_pool(
    pool: FilePool,
    height: int,
    width: int,
    cache: Path,
    *,
    label: str = "pictures",
    places: npt.NDArray[np.int64] | None = None,
    positions_m: npt.NDArray[np.float64] | None = None,
    footprint_m: float | None = None,
    margin: float = 1.0,
    threads: int = 0,
) -> PreparedPool:
    """Decode and resize every file once; the same files, size and settings are not done again.

    Pictures that cannot be decoded are left out and counted in a warning.

    Args:
        height: Rows of what the encoder is to see; pictures have `margin` times as many.
        cache: Folder to keep the decoded pictures in.
        label: Start of the cached files' names, and what the progress bar shows.
        places: (N,) which place each file shows, -1 unknown; all unknown if None.
        positions_m: (N, 2) east and north of each file's centre.
        threads: Threads that decode; 0 takes one a processor, up to 8.

    Raises:
        SourceError: If there are no files, or more than 5 % of them cannot be decoded.
        OutputError: If the cache cannot be written.
    """
    if not len(pool):
        raise SourceError(f"{pool.folder} holds no picture: expected {pool.layout}")
    stored_height, stored_width = stored_size(height, width, margin)

    def make(writer: PictureWriter) -> dict[str, Any]:
        kept, unreadable = [], []
        most_unreadable = LARGEST_UNREADABLE_SHARE * len(pool)
        with quiet_decoder(), progress_bar(label, len(pool), "picture", _QUIET_S) as progress:
            for index, picture in _decoded_in_order(
                pool, stored_height, stored_width, decoder_threads(threads)
            ):
                progress.update()
                if picture is not None:
                    writer.append(picture)
                    kept.append(index)
                    continue
                unreadable.append(index)
                if len(unreadable) > most_unreadable:
                    raise too_many_unreadable(
                        str(pool.folder), [pool.names[i] for i in unreadable], len(pool)
                    )
        return {"kept": kept, "unreadable": unreadable}

    cached = cached_pictures(
        cache,
        label,
        {"files": fingerprint_of(pool.paths, pool.folder), "count": len(pool)},
        (stored_height, stored_width),
        len(pool),
        make,
    )
    kept = np.array(cached.notes["kept"], np.int64)
    unreadable = [pool.names[index] for index in cached.notes["unreadable"]]
    if unreadable:
        logger.warning("%s: %s", pool.folder, _unreadable_text(unreadable, len(pool)))
    return PreparedPool(
        pictures=cached.pictures,
        names=tuple(pool.names[index] for index in kept),
        places=np.full(len(kept), -1, np.int64) if places is None else places[kept],
        positions_m=None if positions_m is None else positions_m[kept],
        footprint_m=footprint_m,
        margin=margin,
    )


def stored_size(height: int, width: int, margin: float) -> tuple[int, int]:
    """Rows and columns of a picture that shows `margin` times the side of what is to be seen.

    Raises:
        ConfigError: If there is nothing to be seen.
    """
    if min(height, width) < 1 or not 1.0 <= margin < float("inf"):
        raise ConfigError(
            f"pictures of {height}x{width} with a margin of {margin:g}: sizes must be above 0, "
            "the margin 1 or more"
        )
    return round(height * margin), round(width * margin)


def too_many_unreadable(where: str, names: list[str], total: int) -> SourceError:
    """What to raise when more than 5 % of a source's pictures cannot be decoded."""
    return SourceError(
        f"{where}: {_unreadable_text(names, total)}, more than "
        f"{LARGEST_UNREADABLE_SHARE:.0%}: copy them again, or remove them"
    )


def _unreadable_text(names: list[str], total: int) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")
    return f"{len(names)} of {total} pictures cannot be decoded ({shown})"


def _decoded_in_order(
    pool: FilePool, height: int, width: int, threads: int
) -> Iterator[tuple[int, npt.NDArray[np.uint8] | None]]:
    """Every file's picture, None if it cannot be decoded; a few are decoded ahead."""

    def decode(index: int) -> npt.NDArray[np.uint8] | None:
        try:
            return resized(pool.read(index), height, width)
        except SourceError:
            return None

    indices = iter(range(len(pool)))
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as decoders:
        ahead = deque(
            (index, decoders.submit(decode, index))
            for _, index in zip(range(_READ_AHEAD * threads), indices, strict=False)
        )
        try:
            while ahead:
                index, future = ahead.popleft()
                yield index, future.result()
                following = next(indices, None)
                if following is not None:
                    ahead.append((following, decoders.submit(decode, following)))
        finally:
            for _, future in ahead:
                future.cancel()
