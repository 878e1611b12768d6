"""Smooth random fields of the plane, the same wherever the window that asks lies."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.raster_window import RasterWindow

LATTICE = 1024


@lru_cache(maxsize=16)
def _lattice(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((LATTICE, LATTICE), np.float32)


def smooth_noise(window: RasterWindow, cell_m: float, seed: int) -> NDArray[np.float32]:
    """(H, W) noise of about unit variance whose grains are `cell_m` wide."""
    first_column, first_row = window.west_m / cell_m, -window.north_m / cell_m
    left, top = int(np.floor(first_column)) - 2, int(np.floor(first_row)) - 2
    scale = window.resolution_m / cell_m
    columns = np.arange(left, left + int(window.width * scale) + 7) % LATTICE
    rows = np.arange(top, top + int(window.height * scale) + 7) % LATTICE
    chunk = _lattice(seed % 16)[np.ix_(rows, (columns + 37 * seed) % LATTICE)]
    to_chunk = np.array(
        [
            [scale, 0, first_column - left + 0.5 * scale],
            [0, scale, first_row - top + 0.5 * scale],
        ]
    )
    noise = cv2.warpAffine(
        chunk,
        to_chunk,
        (window.width, window.height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    scaled: NDArray[np.float32] = noise.astype(np.float32, copy=False) * np.float32(1.35)
    return scaled
