"""Descriptors of a whole pool of images, decoded ahead of the encoder."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dmnil_train.data.picture_files import decoder_threads, quiet_decoder
from dmnil_train.data.pool import ImagePool
from dmnil_train.data.prepare import LARGEST_UNREADABLE_SHARE
from dmnil_train.data.resize import resized
from dmnil_train.evaluation.similarity import Features, unit_length
from edge_runtime.contract.errors import SourceError
from edge_runtime.progress import progress_bar

logger = logging.getLogger(__name__)

_BATCHES_AHEAD = 3
_NAMES_SHOWN = 3
_QUIET_S = 1.0

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Embedding:
    """A pool's descriptors.

    Args:
        features: (N, D) unit length, or (N, V, D) for V views of each image; zero where the image
            could not be read.
        readable: (N,) whether the image could be read.
    """

    features: Features
    readable: npt.NDArray[np.bool_]

    @property
    def unreadable(self) -> int:
        """How many images could not be read."""
        return int(np.count_nonzero(~self.readable))


def embed(
    encode: Callable[[Image], Features],
    pool: ImagePool,
    height: int,
    width: int,
    batch_size: int,
    mirror: bool = False,
    readers: int = 0,
    label: str = "embedding",
) -> Embedding:
    """Describe every image of a pool; images are read by threads, ahead of the encoder.

    Args:
        encode: Pictures (B, height, width, 3) to unit-length descriptors (B, D).
        height: Rows to resize each image to, whatever its proportions.
        width: Columns to resize each image to.
        mirror: Describe each image by the mean of it and its mirror image.
        readers: Threads that decode and resize; 0 takes one a processor, up to 8.
        label: What the progress bar says.
    Raises:
        SourceError: If the pool is empty or more than 5 % of it cannot be read.
    """
    if not len(pool):
        raise SourceError(f"{label}: there are no images")
    readable = np.zeros(len(pool), np.bool_)
    features: Features | None = None
    problems: list[SourceError] = []
    most_problems = LARGEST_UNREADABLE_SHARE * len(pool)
    batches = _batches(pool, height, width, batch_size, decoder_threads(readers))
    with quiet_decoder(), progress_bar(label, len(pool), "image", _QUIET_S) as progress:
        for indices, images in batches:
            good = [
                (index, image)
                for index, image in zip(indices, images, strict=True)
                if not isinstance(image, SourceError)
            ]
            problems += [image for image in images if isinstance(image, SourceError)]
            if len(problems) > most_problems:
                raise SourceError(
                    f"{label}: {len(problems)} of the first {indices[-1] + 1} images of "
                    f"{len(pool)} cannot be read, more than {LARGEST_UNREADABLE_SHARE:.0%} of all: "
                    f"copy the data again; first: {problems[0]}"
                )
            if good:
                rows = np.array([index for index, _ in good])
                described = _describe(encode, np.stack([image for _, image in good]), mirror)
                if features is None:
                    features = np.zeros((len(pool), described.shape[1]), np.float32)
                features[rows] = described
                readable[rows] = True
            progress.update(len(indices))
    if problems:
        shown = "; ".join(str(problem) for problem in problems[:_NAMES_SHOWN])
        logger.warning("%s: left out %d unreadable images: %s", label, len(problems), shown)
    if features is None:  # cannot be: some image was readable, or the limit was passed
        raise SourceError(f"{label}: there are no images")
    return Embedding(features, readable)


def without_mean(embedding: Embedding) -> Embedding:
    """Take the pool's own mean off every descriptor and bring it back to unit length.

    What all images of one view share (season, light, sensor) then counts for nothing, as in the
    runtime, which takes a map's mean off tiles and the flight's off views.
    """
    known = embedding.features[embedding.readable]
    mean = known.reshape(-1, known.shape[-1]).mean(axis=0, dtype=np.float64)
    centred = np.asarray(embedding.features - mean.astype(np.float32), np.float32)
    centred[~embedding.readable] = 0.0
    return Embedding(unit_length(centred), embedding.readable)


def _describe(encode: Callable[[Image], Features], images: Image, mirror: bool) -> Features:
    described = encode(images)
    if not mirror:
        return described
    return unit_length(described + encode(np.ascontiguousarray(images[:, :, ::-1])))


def _batches(
    pool: ImagePool, height: int, width: int, batch_size: int, readers: int
) -> Iterator[tuple[range, list[Image | SourceError]]]:
    """Batches in the pool's order; an unreadable image comes as its error."""

    def read(index: int) -> Image | SourceError:
        try:
            return resized(pool.read(index), height, width)
        except SourceError as error:
            return error

    with ThreadPoolExecutor(readers, thread_name_prefix="read-images") as threads:
        pending: deque[tuple[range, list[Future[Image | SourceError]]]] = deque()
        try:
            for start in range(0, len(pool), batch_size):
                indices = range(start, min(start + batch_size, len(pool)))
                pending.append((indices, [threads.submit(read, index) for index in indices]))
                if len(pending) > _BATCHES_AHEAD:
                    yield _collected(*pending.popleft())
            while pending:
                yield _collected(*pending.popleft())
        finally:
            for _, futures in pending:
                for future in futures:
                    future.cancel()


def _collected(
    indices: range, futures: list[Future[Image | SourceError]]
) -> tuple[range, list[Image | SourceError]]:
    return indices, [future.result() for future in futures]
