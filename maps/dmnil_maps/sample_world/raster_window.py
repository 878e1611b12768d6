"""A north-up raster's place in the world, and polygons drawn on it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.scene import FloatArray

SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class RasterWindow:
    """Rows run south from `north_m`, columns east from `west_m` (edges of the corner pixel)."""

    west_m: float
    north_m: float
    resolution_m: float
    height: int
    width: int

    @property
    def east_m(self) -> float:
        """Eastern edge."""
        return self.west_m + self.width * self.resolution_m

    @property
    def south_m(self) -> float:
        """Southern edge."""
        return self.north_m - self.height * self.resolution_m

    def to_pixels(self, points: FloatArray) -> FloatArray:
        """(N, 2) east, north to (N, 2) column, row; pixel centres at integers."""
        columns = (points[:, 0] - self.west_m) / self.resolution_m - 0.5
        rows = (self.north_m - points[:, 1]) / self.resolution_m - 0.5
        return np.stack([columns, rows], 1)

    def fixed_point(self, points: FloatArray) -> NDArray[np.int32]:
        """Pixel positions as OpenCV's drawing calls take them with `shift=SUBPIXEL_BITS`."""
        scaled = np.round(self.to_pixels(points) * (1 << SUBPIXEL_BITS))
        return np.clip(scaled, -(1 << 30), 1 << 30).astype(np.int32)

    def overlaps(self, low: FloatArray, high: FloatArray) -> NDArray[np.bool_]:
        """(N,) whether boxes with (N, 2) corners `low`, `high` touch the window."""
        hit: NDArray[np.bool_] = (
            (low[:, 0] < self.east_m)
            & (high[:, 0] > self.west_m)
            & (low[:, 1] < self.north_m)
            & (high[:, 1] > self.south_m)
        )
        return hit

    def clip_box(self, points: FloatArray, pad: int = 1) -> tuple[slice, slice] | None:
        """Rows and columns that a set of points spans, clipped; None if outside."""
        pixels = self.to_pixels(points)
        low = np.floor(pixels.min(0)).astype(int) - pad
        high = np.ceil(pixels.max(0)).astype(int) + 1 + pad
        low = np.maximum(low, 0)
        high = np.minimum(high, (self.width, self.height))
        if (low >= high).any():
            return None
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    def ground_of(self, rows: slice, columns: slice) -> tuple[FloatArray, FloatArray]:
        """East (1, W) and north (H, 1) of the pixel centres of a box."""
        east = self.west_m + (np.arange(columns.start, columns.stop) + 0.5) * self.resolution_m
        north = self.north_m - (np.arange(rows.start, rows.stop) + 0.5) * self.resolution_m
        return east[None, :], north[:, None]


def polygon_mask(
    window: RasterWindow, outline: FloatArray, rows: slice, columns: slice
) -> NDArray[np.uint8]:
    """Coverage 0-255 of a polygon over a box of the window, with smooth edges."""
    mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    shift = np.array([columns.start, rows.start], np.int32) << SUBPIXEL_BITS
    points = window.fixed_point(outline) - shift
    cv2.fillPoly(mask, [points.astype(np.int32)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return mask
