"""How much each map tile looks like the view, in standard deviations above chance."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.coarse_index import LARGE_LEVEL_TILES, CoarseIndex, coarse_index_file
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import RegionMap

_REFERENCE_TILES = 1024
_BLOCK_TILES = 2048
_MEDIAN_TO_SIGMA = 1.4826
_LEAST_SHARE_OF_DEVIATION = 0.5
_FEWEST_CANDIDATES = 1000
_TILES_PER_CANDIDATE = 100
CHANCE_SCORE = 0.0
"""What tiles score that a coarse search does not compare: as any tile elsewhere."""

_log = logging.getLogger(__name__)
Rows = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.float32]


class TileSearch:
    """Exact search over the map's descriptors within a window, and over a whole map.

    Similarities are put on a scale of the frame's own: zero is what a tile elsewhere shows, one
    is the spread among those. A reference sample of the level's tiles gives both, so that a small
    window has the same scale as the whole map; it is read with the level's first search, which
    keeps opening a large map from a slow disk quick, and stays in memory.

    Where a map has a coarse index (and faiss is installed), searches without a prior compare
    only the tiles that it names; a tile's score is exact whenever it has one.
    """

    def __init__(self, region_map: RegionMap) -> None:
        self._map = region_map
        self._indexes: dict[int, CoarseIndex | None] = {}
        self._references: dict[int, Scores] = {}

    def scores(self, queries: Scores, level: int, tiles: Rows | None = None) -> Scores:
        """Scores of tiles for unit-length queries in the map's descriptor space, all exact.

        Args:
            queries: (D,), or several views or headings (Q, D).
            tiles: Rows (n,) of the map's tiles to score; all of the level, in map order, if None.

        Returns:
            (n,), or (Q, n).
        """
        several = np.atleast_2d(queries)
        scores = self._scaled(self._similarity(several, level, tiles), several, level)
        return scores if queries.ndim == 2 else scores[0]

    def scores_where_likely(self, queries: Scores, level: int, tiles: Rows) -> Scores:
        """As `scores`, but exact for probable tiles alone where there are very many.

        The others, which exact scores would show below some 2.3, get the score of chance; which
        ones they are is each query's own matter, however many are asked together. Levels without
        a coarse index are compared whole.
        """
        index = self._index(level) if len(tiles) > LARGE_LEVEL_TILES else None
        if index is None:
            return self.scores(queries, level, tiles)
        several = np.atleast_2d(queries)
        in_map = self._map.rows_of_level(level)
        count = max(_FEWEST_CANDIDATES, (in_map.stop - in_map.start) // _TILES_PER_CANDIDATE)
        candidates = index.candidates(several, count)
        place = np.full(in_map.stop - in_map.start, -1, np.int32)
        place[tiles - in_map.start] = np.arange(len(tiles))
        at = place[candidates - in_map.start]
        among = at >= 0
        of_query = np.nonzero(among)[0]
        # Views of one frame have many candidates in common: each is read once.
        found, number = np.unique(candidates[among], return_inverse=True)
        exact = self._scaled(self._scattered_similarity(several, found), several, level)
        scores = np.full((len(several), len(tiles)), CHANCE_SCORE, np.float32)
        scores[of_query, at[among]] = exact[of_query, number]
        return scores if queries.ndim == 2 else scores[0]

    def best(
        self, queries: Sequence[Scores], levels: Sequence[int], count: int
    ) -> tuple[npt.NDArray[np.int64], Scores]:
        """The whole map's best tiles for views or headings, over one level or several at once.

        Args:
            queries: Per level, (Q, D): a view's query depends on the level's mean.
            levels: Levels to search.
            count: Tiles to name; fewer where the levels have fewer.

        Returns:
            The map's rows (Q, count), best first, and their scores (Q, count), which are exact.
        """
        found = [
            self._best_of_level(several, level, count)
            for several, level in zip(queries, levels, strict=True)
        ]
        rows = np.concatenate([rows for rows, _ in found], axis=1)
        scores = np.concatenate([scores for _, scores in found], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)

    def _best_of_level(
        self, queries: Scores, level: int, count: int
    ) -> tuple[npt.NDArray[np.int64], Scores]:
        in_map = self._map.rows_of_level(level)
        large = in_map.stop - in_map.start > LARGE_LEVEL_TILES
        index = self._index(level) if large else None
        if index is None:
            scores, rows = self.scores(queries, level), np.arange(in_map.start, in_map.stop)
        else:
            rows = np.unique(index.candidates(queries, max(_FEWEST_CANDIDATES, 10 * count)))
            similarity = self._scattered_similarity(queries, rows)
            scores = self._scaled(similarity, queries, level)
        kept = min(count, len(rows))
        best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        return np.asarray(rows[best], np.int64), np.take_along_axis(scores, best, 1)

    def _similarity(self, queries: Scores, level: int, tiles: Rows | None) -> Scores:
        in_map = self._map.rows_of_level(level)
        count = in_map.stop - in_map.start if tiles is None else len(tiles)
        similarity = np.empty((len(queries), count), np.float32)
        for start in range(0, count, _BLOCK_TILES):
            end = min(start + _BLOCK_TILES, count)
            block = (
                slice(in_map.start + start, in_map.start + end)
                if tiles is None
                else tiles[start:end]
            )
            similarity[:, start:end] = self._map.store.similarity(block, queries)
        return similarity

    def _scattered_similarity(self, queries: Scores, rows: Rows) -> Scores:
        """Inner products (Q, n) with rows far apart, of which a block at a time is in memory."""
        similarity = np.empty((len(queries), len(rows)), np.float32)
        for start in range(0, len(rows), _BLOCK_TILES):
            block = rows[start : start + _BLOCK_TILES]
            descriptors = self._map.store.scattered(block)
            similarity[:, start : start + len(block)] = queries @ descriptors.T
        return similarity

    def _scaled(self, similarity: Scores, queries: Scores, level: int) -> Scores:
        """Similarities (Q, n) as scores, each query on its own scale; in place."""
        chance = queries @ self._reference(level).T
        middle = _medians(chance)
        # Where most tiles are alike (water, black edges) the median deviation collapses.
        spread = np.maximum(
            _MEDIAN_TO_SIGMA * _medians(np.abs(chance - middle)),
            _LEAST_SHARE_OF_DEVIATION * chance.std(axis=1, keepdims=True),
        )
        similarity -= middle
        similarity /= np.maximum(spread, 1e-6)
        return similarity

    def _reference(self, level: int) -> Scores:
        if level not in self._references:
            rows = self._map.rows_of_level(level)
            step = max(1, (rows.stop - rows.start) // _REFERENCE_TILES)
            spread = np.arange(rows.start, rows.stop, step)
            self._references[level] = self._map.store.scattered(spread)
        return self._references[level]

    def _index(self, level: int) -> CoarseIndex | None:
        """The level's coarse index, read when first asked for; None where there is none to use."""
        if level not in self._indexes:
            self._indexes[level] = None
            region_map = self._map
            rows, size = region_map.rows_of_level(level), region_map.descriptor_size
            if coarse_index_file(level) in region_map.manifest["files"]:
                try:
                    self._indexes[level] = CoarseIndex(region_map.folder, level, rows, size)
                except MapError as error:
                    _log.warning("searches without a prior compare all tiles: %s", error)
        return self._indexes[level]


def _medians(values: Scores) -> Scores:
    """The median (Q, 1) of each row (Q, n): numpy's takes twice as long over a few rows."""
    count = values.shape[1]
    below, above = (count - 1) // 2, count // 2
    ordered = np.partition(values, (below, above), axis=1)
    return np.asarray(ordered[:, below : above + 1].mean(axis=1, keepdims=True), np.float32)
