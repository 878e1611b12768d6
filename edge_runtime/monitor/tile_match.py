"""The map tiles that look like a view, and where they lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.monitor.details import FixDetails, ScoredGround

MATCHES = 5
_BEST_CELLS = 400
"""Enough for the best tiles, each of which is the best of several cells."""
_SAMPLE_STEP = 61


@dataclass(frozen=True)
class TileMatch:
    """A map tile that looks like the view; its centre in the map's frame."""

    east_m: float
    north_m: float
    footprint_m: float
    similarity: float


def tile_matches(region_map: RegionMap, details: FixDetails) -> tuple[TileMatch, ...]:
    """The tiles that a localiser named by rows of the map, or those that scored best; best first.

    Scores over the 6 million cells of a map of 25 km take some milliseconds.
    """
    if details.matched_tiles:
        return _distinct(region_map, _of_rows(region_map, details.matched_tiles))
    if details.scored_ground is not None:
        return _distinct(region_map, _of_cells(region_map, details.scored_ground))
    return ()


_Place = tuple[int, int, int, float]
"""Level, row and column on its lattice, similarity."""


def _distinct(region_map: RegionMap, places: Iterable[_Place]) -> tuple[TileMatch, ...]:
    matches: dict[tuple[int, int, int], TileMatch] = {}
    for number, row, column, similarity in places:
        level = region_map.levels[number]
        east, north = level.centre(row, column)
        match = TileMatch(float(east), float(north), level.footprint_m, similarity)
        matches.setdefault((number, row, column), match)
        if len(matches) == MATCHES:
            break
    return tuple(matches.values())


def _of_rows(region_map: RegionMap, named: Iterable[tuple[int, float]]) -> Iterable[_Place]:
    for row, similarity in named:
        if 0 <= row < len(region_map.tiles):
            tile = region_map.tiles[row]
            lattice = int(tile["lattice_row"]), int(tile["lattice_column"])
            yield int(tile["level"]), *lattice, similarity


def _of_cells(region_map: RegionMap, ground: ScoredGround) -> Iterable[_Place]:
    """The tiles nearest to the best cells' ground."""
    level = region_map.levels[ground.level]
    scores = ground.scores.ravel()
    best = _best_cells(scores)
    cell_rows, cell_columns = np.unravel_index(best, ground.scores.shape)
    east_m = ground.west_m + cell_columns * ground.cell_m
    north_m = ground.north_m - cell_rows * ground.cell_m
    rows = np.rint((level.first_north_m - north_m) / level.stride_m).astype(int)
    columns = np.rint((east_m - level.first_east_m) / level.stride_m).astype(int)
    rows, columns = np.clip(rows, 0, level.rows - 1), np.clip(columns, 0, level.columns - 1)
    for row, column, score in zip(rows, columns, scores[best], strict=True):
        yield ground.level, int(row), int(column), float(score)


def _best_cells(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Indices of the highest scores, NaN left out, highest first; `_BEST_CELLS` at most."""
    sample = scores[::_SAMPLE_STEP]
    sample = sample[~np.isnan(sample)]
    rank = 4 * _BEST_CELLS // _SAMPLE_STEP
    # Of very many cells most are ruled out by what a sample shows to be out of reach.
    limit = np.partition(sample, -rank)[-rank] if sample.size > 10 * rank else -np.inf
    best = np.flatnonzero(scores >= limit)
    if best.size > _BEST_CELLS:
        best = best[np.argpartition(-scores[best], _BEST_CELLS)[:_BEST_CELLS]]
    return best[np.argsort(-scores[best], kind="stable")]
