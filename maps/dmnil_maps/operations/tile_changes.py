"""Which tiles of a map show other ground in newer imagery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.picture_digest import picture_digests
from dmnil_maps.raster import Imagery, LocalBounds
from dmnil_maps.tiling import LatticeBlock, TileWindow, block_windows
from edge_runtime.contract.region_map import MapLevel, RegionMap

_FITS = 1e-6


@dataclass(frozen=True)
class GrownLevels:
    """Lattices that may reach further than a map's, and where the map's own begin on them."""

    levels: tuple[MapLevel, ...]
    first: tuple[tuple[int, int], ...]
    """Row and column of each map lattice's first position."""


@dataclass(frozen=True)
class BlockChanges:
    """A block's tiles in newer imagery.

    Args:
        rows: (N,) the map's row of each, -1 for places where it had none.
        changed: (N,) shows other ground than before, or is new.
        pictures: N of (H, W, 3).
        contrast: (N,) standard deviation of the grey levels.
    """

    level: int
    lattice: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    changed: npt.NDArray[np.bool_]
    pictures: list[npt.NDArray[np.uint8]]
    contrast: npt.NDArray[np.float32]
    digests: npt.NDArray[np.uint64]


def grown_levels(levels: Sequence[MapLevel], bounds: LocalBounds | None) -> GrownLevels:
    """Lattices continued over new ground, on the same positions.

    Args:
        bounds: Ground to reach as far as whole footprints fit into it; None for no further.
    """
    grown, first = [], []
    for level in levels:
        north = south = west = east = 0
        if bounds is not None:
            half_m = level.footprint_m / 2
            last_east_m, last_north_m = level.centre(level.rows - 1, level.columns - 1)
            north, south, west, east = (
                max(0, int(np.floor(metres / level.stride_m + _FITS)))
                for metres in (
                    bounds.north_m - half_m - level.first_north_m,
                    float(last_north_m) - half_m - bounds.south_m,
                    level.first_east_m - half_m - bounds.west_m,
                    bounds.east_m - half_m - float(last_east_m),
                )
            )
        first_east_m, first_north_m = level.centre(-north, -west)
        first.append((north, west))
        grown.append(
            replace(
                level,
                rows=level.rows + north + south,
                columns=level.columns + west + east,
                first_east_m=float(first_east_m),
                first_north_m=float(first_north_m),
            )
        )
    return GrownLevels(tuple(grown), tuple(first))


def rows_on(
    region_map: RegionMap, grown: GrownLevels, block: LatticeBlock
) -> npt.NDArray[np.int64]:
    """The map's row (rows, columns) at each position of a block of grown lattices, -1 for none."""
    level, (top, left) = region_map.levels[block.level], grown.first[block.level]
    found = np.full((block.rows, block.columns), -1, np.int64)
    row, column = block.first_row - top, block.first_column - left
    inside_rows = slice(max(0, row), max(0, min(level.rows, row + block.rows)))
    inside_columns = slice(max(0, column), max(0, min(level.columns, column + block.columns)))
    known = region_map.rows_at(block.level, inside_rows, inside_columns)
    if known.size:
        first_row, first_column = inside_rows.start - row, inside_columns.start - column
        found[
            first_row : first_row + known.shape[0], first_column : first_column + known.shape[1]
        ] = known
    return found


@dataclass(frozen=True)
class ChangeFinder:
    """Compares a map's tiles with newer imagery, by older imagery or by the tiles' digests.

    Args:
        previous: The imagery that the map was made of; if None, `digests` tell.
        digests: (N,) of the map's pictures.
        everything: Take all tiles as changed that the newer imagery shows.
        add: Look at places too where the map has no tile.
        limit: Mean difference of grey levels, 0 to 255, up to which ground counts as the same;
            needs `previous`.
        size: Width and height of the encoder's input.
    """

    region_map: RegionMap
    grown: GrownLevels
    newer: Imagery
    previous: Imagery | None
    digests: npt.NDArray[np.uint64] | None
    everything: bool
    add: bool
    limit: float
    size: tuple[int, int]

    def changes(self, block: LatticeBlock) -> BlockChanges:
        """Read a block of the grown lattices.

        Raises:
            MapError: If imagery cannot be read.
        """
        rows = rows_on(self.region_map, self.grown, block)
        shown = rows >= 0
        every = np.ones_like(shown)
        read = self._read(block, rows, every if self.add else shown)
        if self._by_digests and not self.add and not shown.all() and read.changed.any():
            # A window's pixels depend a little on the rectangle it is cut from, and whether a
            # build read the places without a tile depends on why they have none.
            other = self._read(block, rows, every)
            if np.count_nonzero(other.changed) < np.count_nonzero(read.changed):
                return other
        return read

    @property
    def _by_digests(self) -> bool:
        return self.digests is not None and self.previous is None and not self.everything

    def _read(
        self, block: LatticeBlock, rows: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]
    ) -> BlockChanges:
        """A block as the rectangle around its chosen positions shows it."""
        places = [window for window in self._windows(self.newer, block, chosen) if window.kept]
        lattice = np.array([window.place for window in places], np.int64).reshape(-1, 2)
        found = rows[tuple((lattice - (block.first_row, block.first_column)).T)]
        wanted = np.flatnonzero((found >= 0) | self.add)
        windows = [places[number] for number in wanted]
        lattice, found = lattice[wanted], found[wanted]
        pictures = [window.rgb for window in windows]
        digests = picture_digests(pictures)
        changed = np.ones(len(windows), np.bool_)
        if self.previous is not None and not self.everything:
            changed = self._differing(self.previous, block, chosen, windows)
        elif self.digests is not None and not self.everything:
            changed = digests != self.digests[np.maximum(found, 0)]
        return BlockChanges(
            level=block.level,
            lattice=lattice,
            rows=found,
            changed=changed | (found < 0),
            pictures=pictures,
            contrast=np.array([_contrast(picture) for picture in pictures], np.float32),
            digests=digests,
        )

    def _windows(
        self, imagery: Imagery, block: LatticeBlock, chosen: npt.NDArray[np.bool_]
    ) -> list[TileWindow]:
        level = self.grown.levels[block.level]
        return list(block_windows(imagery, level, block, *self.size, chosen))

    def _differing(
        self,
        previous: Imagery,
        block: LatticeBlock,
        chosen: npt.NDArray[np.bool_],
        windows: Sequence[TileWindow],
    ) -> npt.NDArray[np.bool_]:
        before = {window.place: window for window in self._windows(previous, block, chosen)}
        return np.array(
            [
                not before[window.place].kept
                or _mean_difference(window.rgb, before[window.place].rgb) > self.limit
                for window in windows
            ],
            np.bool_,
        )


def _mean_difference(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    return float(cv2.norm(one, other, cv2.NORM_L1)) / one.size


def _contrast(rgb: npt.NDArray[np.uint8]) -> float:
    _, deviation = cv2.meanStdDev(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    return float(deviation[0, 0])
