"""What an encoder input looks like, the same for map tiles and for camera frames.

An encoder input is an 8-bit RGB picture of a square of ground: north up, seen from straight
above, its side one map footprint long. Normalisation is inside the encoder's graph.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def resize_to_input(image: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Resample an (h, w, 3) picture to the encoder's input size.

    Area averaging when shrinking, so that fine texture does not alias; bilinear when growing.
    """
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)
