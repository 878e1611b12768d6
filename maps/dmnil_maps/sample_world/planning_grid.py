"""A raster of the ground on which the generator plans what may stand where."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.scene import FloatArray

SUBPIXEL_BITS = 4


class PlanningGrid:
    """A square raster about (0, 0), row 0 in the north; cell values are the caller's."""

    def __init__(self, half_extent_m: float, cell_m: float) -> None:
        self.cell_m = cell_m
        self.half_extent_m = half_extent_m
        self.size = int(np.ceil(2 * half_extent_m / cell_m))
        self.cells: NDArray[np.uint8] = np.zeros((self.size, self.size), np.uint8)

    def to_cells(self, points: FloatArray) -> FloatArray:
        """(N, 2) east, north to (N, 2) column, row with cell centres at integers."""
        columns = (points[:, 0] + self.half_extent_m) / self.cell_m - 0.5
        rows = (self.half_extent_m - points[:, 1]) / self.cell_m - 0.5
        return np.stack([columns, rows], 1)

    def to_ground(self, cells: FloatArray) -> FloatArray:
        """(N, 2) column, row to (N, 2) east, north."""
        east = (cells[:, 0] + 0.5) * self.cell_m - self.half_extent_m
        north = self.half_extent_m - (cells[:, 1] + 0.5) * self.cell_m
        return np.stack([east, north], 1)

    def fill(self, outline: FloatArray, value: int) -> None:
        """Set the cells inside a polygon."""
        scaled = np.round(self.to_cells(outline) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(self.cells, [scaled], value, cv2.LINE_8, SUBPIXEL_BITS)

    def draw(self, points: FloatArray, width_m: float, value: int) -> None:
        """Set the cells of a line."""
        scaled = np.round(self.to_cells(points) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        thickness = max(1, round(width_m / self.cell_m))
        cv2.polylines(self.cells, [scaled], False, value, thickness, cv2.LINE_8, SUBPIXEL_BITS)

    def at(self, points: FloatArray) -> NDArray[np.uint8]:
        """(N,) values at points; 0 outside."""
        index = np.round(self.to_cells(points)).astype(np.int64)
        inside = ((index >= 0) & (index < self.size)).all(1)
        index = np.clip(index, 0, self.size - 1)
        values: NDArray[np.uint8] = np.where(inside, self.cells[index[:, 1], index[:, 0]], 0)
        return values.astype(np.uint8)

    def all_inside(self, outline: FloatArray, value: int) -> bool:
        """Whether every cell of a polygon holds `value` (a polygon past the edge does not)."""
        cells = self.to_cells(outline)
        low = np.floor(cells.min(0)).astype(int) - 1
        high = np.ceil(cells.max(0)).astype(int) + 2
        if low.min() < 0 or high.max() > self.size:
            return False
        window = self.cells[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(window.shape, np.uint8)
        scaled = np.round((cells - low) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(mask, [scaled], 1, cv2.LINE_8, SUBPIXEL_BITS)
        return not bool(np.any((mask == 1) & (window != value)))

    def outlines(self, mask: NDArray[np.uint8], tolerance_m: float) -> list[FloatArray]:
        """Outer outlines, simplified, of the parts of a mask that has this grid's shape."""
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        simple = (cv2.approxPolyDP(c, tolerance_m / self.cell_m, True)[:, 0] for c in contours)
        return [
            self.to_ground(outline.astype(np.float64)) for outline in simple if len(outline) > 2
        ]
