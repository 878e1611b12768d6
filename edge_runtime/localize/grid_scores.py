"""Views of a frame scored at every cell of their hypotheses' grids, by as few passes as can be.

Cold, all hypotheses look at nearly the same tiles, which is the whole map: comparing each tile
once with all of them costs a fraction of one pass for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import MapLevel, RegionMap
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.lattice_interpolation import interpolated
from edge_runtime.localize.position_grid import PositionGrid
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.search import TileSearch

_MOST_SCORES = 8 << 20
"""Scores of tiles that are held at a time: 32 MB, 40 hypotheses over 200,000 tiles."""

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SearchedView:
    """A view's query in the map's descriptor space, and where the drone may be that has it."""

    level: int
    query: Scores
    """(D,), of unit length."""
    window: GroundWindow
    grid: PositionGrid


def scores_on_grids(
    search: TileSearch, region_map: RegionMap, views: Sequence[SearchedView]
) -> list[Scores]:
    """Score of each view for a drone in each cell of its grid, NaN where the map has no tile.

    A drone in a cell looks at the ground the window's offset away; the score there is
    interpolated between the lattice's tiles. Where views look at very many tiles together the
    improbable ones score as chance does, where the likelihood ratio is at its floor.
    """
    areas = [_viewed_area(region_map.levels[view.level], view) for view in views]
    scores: dict[int, Scores] = {}
    for batch, area in _batches(areas):
        lattice = region_map.rows_at(area.level, *area.slices)
        present = lattice >= 0
        if not present.any():
            continue
        queries = np.stack([views[number].query for number in batch])
        of_tiles = search.scores_where_likely(queries, area.level, lattice[present])
        for number, tile_scores in zip(batch, of_tiles, strict=True):
            field = np.zeros(lattice.shape, np.float32)
            field[present] = tile_scores
            own = areas[number].within(area)
            to_lattice = _to_lattice(region_map.levels[area.level], views[number], areas[number])
            shape = views[number].grid.mass.shape
            scores[number] = interpolated(field[own], present[own], to_lattice, shape)
    return [
        scores[number] if number in scores else np.full(view.grid.mass.shape, np.nan, np.float32)
        for number, view in enumerate(views)
    ]


@dataclass(frozen=True)
class _Area:
    """Rows and columns of a level's lattice."""

    level: int
    first_row: int
    end_row: int
    first_column: int
    end_column: int

    @property
    def positions(self) -> int:
        return (self.end_row - self.first_row) * (self.end_column - self.first_column)

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.first_row, self.end_row), slice(self.first_column, self.end_column)

    def united(self, other: _Area) -> _Area:
        return _Area(
            self.level,
            min(self.first_row, other.first_row),
            max(self.end_row, other.end_row),
            min(self.first_column, other.first_column),
            max(self.end_column, other.end_column),
        )

    def within(self, larger: _Area) -> tuple[slice, slice]:
        return (
            slice(self.first_row - larger.first_row, self.end_row - larger.first_row),
            slice(self.first_column - larger.first_column, self.end_column - larger.first_column),
        )


def _viewed_area(level: MapLevel, view: SearchedView) -> _Area:
    """Where the grid's cells may look at the lattice, one row and column to spare."""
    bounds, window = view.grid.bounds, view.window
    west = (bounds.west_m + window.east_m - level.first_east_m) / level.stride_m
    east = (bounds.east_m + window.east_m - level.first_east_m) / level.stride_m
    north = (level.first_north_m - bounds.north_m - window.north_m) / level.stride_m
    south = (level.first_north_m - bounds.south_m - window.north_m) / level.stride_m
    first_row = min(max(0, floor(north) - 1), level.rows)
    first_column = min(max(0, floor(west) - 1), level.columns)
    return _Area(
        view.level,
        first_row,
        max(first_row, min(level.rows, ceil(south) + 2)),
        first_column,
        max(first_column, min(level.columns, ceil(east) + 2)),
    )


def _batches(areas: Sequence[_Area]) -> Iterator[tuple[list[int], _Area]]:
    """Numbers of areas to search at once, and the area that holds them.

    Areas far apart are left alone: together they would compare more tiles than each by itself.
    """
    waiting = [number for number, area in enumerate(areas) if area.positions]
    while waiting:
        batch, *others = waiting
        whole, alone, taken = areas[batch], areas[batch].positions, [batch]
        waiting = []
        for number in others:
            area = areas[number]
            larger = whole.united(area)
            if (
                area.level == whole.level
                and larger.positions <= alone + area.positions
                and larger.positions * (len(taken) + 1) <= _MOST_SCORES
            ):
                whole, alone = larger, alone + area.positions
                taken.append(number)
            else:
                waiting.append(number)
        yield taken, whole


def _to_lattice(level: MapLevel, view: SearchedView, area: _Area) -> FloatArray:
    """Affine map (2, 3) from a grid's columns and rows to those of an area of the lattice."""
    step = view.grid.cell_m / level.stride_m
    viewed_west = view.grid.west_m + view.window.east_m
    viewed_north = view.grid.north_m + view.window.north_m
    first_column = (viewed_west - level.first_east_m) / level.stride_m - area.first_column
    first_row = (level.first_north_m - viewed_north) / level.stride_m - area.first_row
    return np.array([[step, 0.0, first_column], [0.0, step, first_row]])
