"""Small pictures of a pool's images."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_train.data.pool import ImagePool
from edge_runtime.contract.errors import SourceError

Picture = npt.NDArray[np.uint8]


def thumbnail(pool: ImagePool, index: int, longest_side: int) -> Picture | None:
    """An image with its own proportions, RGB, never enlarged; None if it cannot be read.

    A page of examples is no reason to end a run, so that an unreadable image is no error here.
    """
    try:
        image = pool.read(index)
    except SourceError:
        return None
    height, width = image.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    if scale == 1.0:
        return np.ascontiguousarray(image)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
