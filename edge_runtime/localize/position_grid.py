"""Probability mass on a grid of ground cells: the arithmetic under the Bayes filter."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.localize.camera import FloatArray

_NARROW_BLUR_CELLS = 0.65
_LARGE_BLUR_CELLS = 12.0
_ALIGNED = 1e-6  # share of a cell by which bounds may miss the cells' edges and still be on them


@dataclass(frozen=True)
class Bounds:
    """A north-up rectangle in the map's frame, metres."""

    west_m: float
    south_m: float
    east_m: float
    north_m: float

    @classmethod
    def around(cls, east_north_m: FloatArray, reach_m: float) -> Bounds:
        """The square that reaches this far from a point to every side."""
        east, north = float(east_north_m[0]), float(east_north_m[1])
        return cls(east, north, east, north).grown(reach_m)

    def grown(self, margin_m: float) -> Bounds:
        """The rectangle with a margin on every side."""
        return Bounds(
            self.west_m - margin_m,
            self.south_m - margin_m,
            self.east_m + margin_m,
            self.north_m + margin_m,
        )

    def united(self, other: Bounds) -> Bounds:
        """The smallest rectangle that holds both."""
        return Bounds(
            min(self.west_m, other.west_m),
            min(self.south_m, other.south_m),
            max(self.east_m, other.east_m),
            max(self.north_m, other.north_m),
        )

    @property
    def diagonal_m(self) -> float:
        """Distance between opposite corners."""
        return float(np.hypot(self.east_m - self.west_m, self.north_m - self.south_m))

    def contains(self, east_north_m: FloatArray) -> bool:
        """Whether a point lies inside."""
        east, north = east_north_m
        return bool(self.west_m <= east <= self.east_m and self.south_m <= north <= self.north_m)


@dataclass
class PositionGrid:
    """Mass per square cell; row 0 is the northernmost, (west_m, north_m) its first cell's centre.

    The grid moves by moving its origin, so motion costs no resampling and adds no blur.
    """

    mass: npt.NDArray[np.float32]
    west_m: float
    north_m: float
    cell_m: float

    @classmethod
    def uniform(cls, bounds: Bounds, cell_m: float, total: float) -> PositionGrid:
        """A grid over a rectangle with the given total mass, spread evenly."""
        columns = max(1, int(np.ceil((bounds.east_m - bounds.west_m) / cell_m)))
        rows = max(1, int(np.ceil((bounds.north_m - bounds.south_m) / cell_m)))
        mass = np.full((rows, columns), total / (rows * columns), np.float32)
        return cls(mass, bounds.west_m + cell_m / 2, bounds.north_m - cell_m / 2, cell_m)

    @property
    def total(self) -> float:
        """All mass on the grid."""
        # NumPy's order of adding, the same in every process: with OpenCV's, replays differed in the
        # last digit.
        return float(self.mass.sum(dtype=np.float64))

    @property
    def easts_m(self) -> FloatArray:
        """East of each column's centre."""
        return self.west_m + np.arange(self.mass.shape[1], dtype=np.float64) * self.cell_m

    @property
    def norths_m(self) -> FloatArray:
        """North of each row's centre."""
        return self.north_m - np.arange(self.mass.shape[0], dtype=np.float64) * self.cell_m

    @property
    def bounds(self) -> Bounds:
        """The rectangle that the cells cover."""
        rows, columns = self.mass.shape
        half = self.cell_m / 2
        return Bounds(
            self.west_m - half,
            self.north_m + half - rows * self.cell_m,
            self.west_m - half + columns * self.cell_m,
            self.north_m + half,
        )

    def move(self, east_m: float, north_m: float) -> None:
        """Carry all mass along a displacement."""
        self.west_m += east_m
        self.north_m += north_m

    def scaled(self, share: float) -> PositionGrid:
        """A grid of its own with so much of the mass."""
        mass = self.mass * np.float32(share)
        return PositionGrid(mass, self.west_m, self.north_m, self.cell_m)

    def blur(self, sigma_m: float) -> None:
        """Spread mass by an isotropic Gaussian; what leaves the grid is lost from it."""
        sigma_cells = sigma_m / self.cell_m
        if sigma_cells <= 0.0:
            return
        if sigma_cells < _NARROW_BLUR_CELLS:
            # A Gaussian this narrow is badly sampled by cells: match its variance instead.
            side = sigma_cells**2 / 2
            kernel = np.array([side, 1.0 - 2.0 * side, side], np.float32)
            self.mass = _separable(self.mass, kernel)
        elif sigma_cells < _LARGE_BLUR_CELLS:
            reach = int(np.ceil(3.0 * sigma_cells))
            taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_cells) ** 2)
            self.mass = _separable(self.mass, (taps / taps.sum()).astype(np.float32))
        else:
            # Three running means of width w have variance (w^2 - 1) / 4, at a cost free of w.
            width = int(np.sqrt(4.0 * sigma_cells**2 + 1.0)) | 1
            for _ in range(3):
                self.mass = np.asarray(
                    cv2.blur(self.mass, (width, width), borderType=cv2.BORDER_CONSTANT), np.float32
                )

    def reframed(self, bounds: Bounds) -> PositionGrid:
        """The same mass on cells that cover other bounds; what lies outside them is dropped."""
        first_column = int(np.floor((bounds.west_m - self.west_m) / self.cell_m + 0.5 + _ALIGNED))
        first_row = int(np.floor((self.north_m - bounds.north_m) / self.cell_m + 0.5 + _ALIGNED))
        end_column = int(np.ceil((bounds.east_m - self.west_m) / self.cell_m + 0.5 - _ALIGNED))
        end_row = int(np.ceil((self.north_m - bounds.south_m) / self.cell_m + 0.5 - _ALIGNED))
        shape = max(1, end_row - first_row), max(1, end_column - first_column)
        return PositionGrid(
            self._cut(first_row, first_column, shape),
            self.west_m + first_column * self.cell_m,
            self.north_m - first_row * self.cell_m,
            self.cell_m,
        )

    def on_cells_of(self, other: PositionGrid) -> npt.NDArray[np.float32]:
        """The mass on another grid's cells of the same size, each cell's on the nearest one."""
        first_row = round((self.north_m - other.north_m) / self.cell_m)
        first_column = round((other.west_m - self.west_m) / self.cell_m)
        return self._cut(first_row, first_column, other.mass.shape)

    def _cut(
        self, first_row: int, first_column: int, shape: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """Mass of a block of cells that may reach beyond the grid."""
        rows, columns = shape
        mass = np.zeros((rows, columns), np.float32)
        top, left = max(0, -first_row), max(0, -first_column)
        source = self.mass[max(0, first_row) : first_row + rows, :]
        source = source[:, max(0, first_column) : first_column + columns]
        if first_row + rows > 0 and first_column + columns > 0 and source.size:
            mass[top : top + source.shape[0], left : left + source.shape[1]] = source
        return mass

    def mean(self) -> FloatArray:
        """East and north of the mass's centre."""
        total = self.total
        east = float(self.mass.sum(axis=0, dtype=np.float64) @ self.easts_m) / total
        north = float(self.mass.sum(axis=1, dtype=np.float64) @ self.norths_m) / total
        return np.array([east, north])

    def covariance(self, mean: FloatArray) -> FloatArray:
        """Covariance (2, 2) in square metres about a point, cells taken as uniform inside."""
        total = self.total
        east, north = self.easts_m - mean[0], self.norths_m - mean[1]
        by_column = self.mass.sum(axis=0, dtype=np.float64)
        by_row = self.mass.sum(axis=1, dtype=np.float64)
        cross = float(north @ self.mass.astype(np.float64) @ east) / total
        inside_cell = self.cell_m**2 / 12.0
        return np.array(
            [
                [float(by_column @ east**2) / total + inside_cell, cross],
                [cross, float(by_row @ north**2) / total + inside_cell],
            ]
        )

    def radius_holding(self, centre: FloatArray, mass: float) -> float:
        """Radius around a point that holds the given mass; infinite if the grid has less."""
        squared = (self.norths_m - centre[1])[:, None] ** 2 + (self.easts_m - centre[0]) ** 2
        order = np.argsort(squared, axis=None)
        held = np.cumsum(self.mass.ravel()[order], dtype=np.float64)
        reached = int(np.searchsorted(held, mass))
        if reached >= held.size:
            return float("inf")
        # Mass inside a cell lies evenly, as much this side of its centre as beyond.
        return float(np.sqrt(squared.ravel()[order[reached]] + self.cell_m**2 / 6.0))

    def mass_beyond(self, centre: FloatArray, radius_m: float) -> float:
        """Mass of the cells whose centres lie further than this from a point."""
        squared = (self.norths_m - centre[1])[:, None] ** 2 + (self.easts_m - centre[0]) ** 2
        return float(self.mass[squared > radius_m**2].sum(dtype=np.float64))

    def mass_bounds(self, neglected: float) -> Bounds:
        """The smallest rectangle outside which at most about `neglected` mass lies per side."""
        first_row, last_row = _extent(self.mass.sum(axis=1, dtype=np.float64), neglected)
        first_column, last_column = _extent(self.mass.sum(axis=0, dtype=np.float64), neglected)
        half = self.cell_m / 2
        return Bounds(
            self.west_m + first_column * self.cell_m - half,
            self.north_m - last_row * self.cell_m - half,
            self.west_m + last_column * self.cell_m + half,
            self.north_m - first_row * self.cell_m + half,
        )

    def peak(self) -> FloatArray:
        """East and north of the cell with most mass."""
        row, column = np.unravel_index(int(np.argmax(self.mass)), self.mass.shape)
        return np.array(
            [self.west_m + column * self.cell_m, self.north_m - row * self.cell_m], np.float64
        )


def _separable(
    mass: npt.NDArray[np.float32], kernel: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return np.asarray(
        cv2.sepFilter2D(mass, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT),
        np.float32,
    )


def _extent(line: FloatArray, neglected: float) -> tuple[int, int]:
    held = np.cumsum(line)
    first = int(np.searchsorted(held, neglected, side="right"))
    last = int(np.searchsorted(held, held[-1] - neglected))
    return min(first, len(line) - 1), max(first, min(last, len(line) - 1))
