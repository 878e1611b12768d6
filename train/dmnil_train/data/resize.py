"""How every picture is brought to size, in preparation and in evaluation alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_train.data.changed_pool import ChangedPool
from dmnil_train.data.pool import ImagePool


def resized(picture: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """An (h, w, 3) picture at (height, width): averaged where it shrinks, cubic where it grows."""
    smaller = min(picture.shape[0], height), min(picture.shape[1], width)
    if smaller != picture.shape[:2]:
        picture = _at_size(picture, *smaller, cv2.INTER_AREA)
    if (height, width) != smaller:
        picture = _at_size(picture, height, width, cv2.INTER_CUBIC)
    return picture


def centre_crop(picture: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """The largest middle part of a picture with the aspect height : width."""
    rows, columns = picture.shape[:2]
    scale = min(rows / height, columns / width)
    kept_rows, kept_columns = max(1, round(scale * height)), max(1, round(scale * width))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return picture[top : top + kept_rows, left : left + kept_columns]


def _at_size(
    picture: npt.NDArray[np.uint8], height: int, width: int, interpolation: int
) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=interpolation), np.uint8)


@dataclass(frozen=True)
class ResizedPool(ChangedPool):
    """Another pool's pictures, all of one size."""

    height: int
    width: int

    def changed(self, picture: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
        """The picture at (height, width)."""
        return resized(picture, self.height, self.width)


@dataclass(frozen=True)
class ChosenPool:
    """Some of another pool's pictures, in the order of the indices."""

    pool: ImagePool
    indices: tuple[int, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """One name an image."""
        names = self.pool.names
        return tuple(names[index] for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, (H, W, 3) RGB.

        Raises:
            SourceError: If it cannot be decoded.
        """
        return self.pool.read(self.indices[index])
