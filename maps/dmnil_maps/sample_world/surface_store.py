"""The world's lit surface in memory, painted tile by tile when a view first needs it."""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.raster_window import RasterWindow
from dmnil_maps.sample_world.surface import SurfacePainter

Pixel = TypeVar("Pixel", np.uint8, np.uint16)
TILE_PX = 480
LEVELS = 4  # of the colour pyramid, each half the one before
POOL_PX = 16  # cells of the grid of highest points
CENTIMETRES = np.float32(0.01)


@dataclass(frozen=True)
class StoredWindow:
    """A rectangular cut of the store; views where possible, so treat as read-only."""

    west_m: float
    north_m: float
    resolution_m: float
    colour: tuple[NDArray[np.uint8], ...]  # pyramid of (H, W, 3)
    height_cm: NDArray[np.uint16]  # (H, W)
    shadow_top_cm: NDArray[np.uint16]  # (H, W)
    owner: NDArray[np.uint16]  # (H, W)
    highest_cm: NDArray[np.uint16]  # (H / POOL_PX, W / POOL_PX)


class SurfaceStore:
    """Rasters over the square of the given half extent; memory is touched only where painted."""

    def __init__(self, painter: SurfacePainter, half_extent_m: float, resolution_m: float) -> None:
        self._painter = painter
        self.resolution_m = resolution_m
        self._tiles = int(np.ceil(2 * half_extent_m / (TILE_PX * resolution_m)))
        self.edge_m = self._tiles * TILE_PX * resolution_m / 2
        side = self._tiles * TILE_PX
        self._colour = [np.zeros((side >> k, side >> k, 3), np.uint8) for k in range(LEVELS)]
        self._height = np.zeros((side, side), np.uint16)
        self._tops = np.zeros((side, side), np.uint16)
        self._owner = np.zeros((side, side), np.uint16)
        self._highest = np.zeros((side // POOL_PX, side // POOL_PX), np.uint16)
        self._painted = np.zeros((self._tiles, self._tiles), bool)

    def window(self, west_m: float, south_m: float, east_m: float, north_m: float) -> StoredWindow:
        """The surface over a box; beyond the store's edge the world is mirrored."""
        unit = POOL_PX
        left, right = self._cells(west_m, unit), self._cells(east_m, unit) + 1
        top, bottom = self._cells(-north_m, unit), self._cells(-south_m, unit) + 1
        rows, columns = self._folded(top, bottom), self._folded(left, right)
        for tile_row in np.unique(rows * unit // TILE_PX):
            for tile_column in np.unique(columns * unit // TILE_PX):
                self._paint(int(tile_row), int(tile_column))
        return StoredWindow(
            left * unit * self.resolution_m - self.edge_m,
            self.edge_m - top * unit * self.resolution_m,
            self.resolution_m,
            tuple(_cut(level, rows, columns, unit >> k) for k, level in enumerate(self._colour)),
            _cut(self._height, rows, columns, unit),
            _cut(self._tops, rows, columns, unit),
            _cut(self._owner, rows, columns, unit),
            _cut(self._highest, rows, columns, 1),
        )

    def _cells(self, metres: float, unit: int) -> int:
        return int(np.floor((metres + self.edge_m) / (self.resolution_m * unit)))

    def _folded(self, first: int, last: int) -> NDArray[np.int64]:
        """Pool cells first..last, those beyond an edge mirrored back."""
        count = len(self._highest)
        cells = np.arange(first, last) % (2 * count)
        return np.where(cells < count, cells, 2 * count - 1 - cells)

    def _paint(self, tile_row: int, tile_column: int) -> None:
        if self._painted[tile_row, tile_column]:
            return
        side_m = TILE_PX * self.resolution_m
        window = RasterWindow(
            tile_column * side_m - self.edge_m,
            self.edge_m - tile_row * side_m,
            self.resolution_m,
            TILE_PX,
            TILE_PX,
        )
        surface = self._painter.paint(window)
        colour = surface.colour
        for k, level in enumerate(self._colour):
            side = TILE_PX >> k
            if k > 0:
                smaller = cv2.resize(colour, (side, side), interpolation=cv2.INTER_AREA)
                colour = smaller.astype(np.uint8)
            level[_block(tile_row, tile_column, side)] = colour
        block = _block(tile_row, tile_column, TILE_PX)
        self._height[block] = np.round(surface.height_m / CENTIMETRES)
        self._tops[block] = np.round(surface.shadow_top_m / CENTIMETRES)
        self._owner[block] = surface.owner
        pools = TILE_PX // POOL_PX
        pooled = self._height[block].reshape(pools, POOL_PX, pools, POOL_PX).max((1, 3))
        self._highest[_block(tile_row, tile_column, pools)] = pooled
        self._painted[tile_row, tile_column] = True


def _block(row: int, column: int, side: int) -> tuple[slice, slice]:
    return slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)


def _cut(
    raster: NDArray[Pixel], rows: NDArray[np.int64], columns: NDArray[np.int64], unit: int
) -> NDArray[Pixel]:
    """The pixels of runs of pool cells: a view if the runs are unbroken, else a copy."""
    if (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all():
        view: NDArray[Pixel] = raster[
            rows[0] * unit : (rows[-1] + 1) * unit, columns[0] * unit : (columns[-1] + 1) * unit
        ]
        return view
    return raster[np.ix_(_pixels(rows, unit), _pixels(columns, unit))]


def _pixels(cells: NDArray[np.int64], unit: int) -> NDArray[np.int64]:
    """Pixels of pool cells; a mirrored run of cells has its pixels mirrored too."""
    inside = np.arange(unit)
    falling = np.concatenate([np.diff(cells), [0]]) < 0
    falling[1:] |= np.diff(cells) < 0
    steps = np.where(falling[:, None], inside[::-1], inside)
    return (cells[:, None] * unit + steps).ravel()
