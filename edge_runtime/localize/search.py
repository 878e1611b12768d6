"""How much each map tile looks like the view, in standard deviations above chance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import RegionMap

_REFERENCE_TILES = 1024
_BLOCK_TILES = 16384
_MEDIAN_TO_SIGMA = 1.4826
_LEAST_SHARE_OF_DEVIATION = 0.5


class TileSearch:
    """Exact search over the map's descriptors, whole or within a window.

    Similarities are put on a scale of the frame's own: zero is what a tile elsewhere shows, one
    is the spread among those. A reference sample of the map's tiles, kept in memory, gives both,
    so that a small window has the same scale as the whole map.
    """

    def __init__(self, region_map: RegionMap) -> None:
        self._map = region_map
        self._level_tiles = [
            np.arange(len(region_map.tiles))[region_map.rows_of_level(level)]
            for level in range(len(region_map.levels))
        ]
        self._reference = [
            region_map.descriptors_of(tiles[:: max(1, len(tiles) // _REFERENCE_TILES)])
            for tiles in self._level_tiles
        ]

    def scores(
        self, query: npt.NDArray[np.float32], level: int, tiles: npt.NDArray[np.int32] | None = None
    ) -> npt.NDArray[np.float32]:
        """Scores of tiles for a unit-length query (D,) in the map's descriptor space.

        Args:
            tiles: Rows of the map's tiles to score; all of the level, in map order, if None.
        """
        chance = self._reference[level] @ query
        middle = np.median(chance)
        # Where most tiles are alike (water, black edges) the median deviation collapses.
        spread = max(
            _MEDIAN_TO_SIGMA * float(np.median(np.abs(chance - middle))),
            _LEAST_SHARE_OF_DEVIATION * float(chance.std()),
            1e-6,
        )
        rows = self._level_tiles[level] if tiles is None else tiles
        similarity = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK_TILES):
            block = rows[start : start + _BLOCK_TILES]
            similarity[start : start + len(block)] = self._map.descriptors_of(block) @ query
        return np.asarray((similarity - middle) / spread, np.float32)

    def level_tiles(self, level: int) -> npt.NDArray[np.intp]:
        """Rows of a level's tiles, in map order."""
        return self._level_tiles[level]
