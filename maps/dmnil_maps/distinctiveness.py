"""How far a tile stands out from the rest of its map: near 0 for sea, fields and forest.

The runtime compares a view with the tiles around where the drone may be. Where many of them look
alike, the best of them is chance; a tile's score says so before any flight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import MapLevel
from edge_runtime.contract.row_sample import evenly_spread
from edge_runtime.localize.quality import QualityConfig

MOST_COMPARED = 4096
"""Tiles of a level that all are compared with; of larger levels an even spread along its order."""
SAME_TO_A_VIEW = 0.8
"""Tiles with descriptors this similar are one to a view, which resembles its own tile less."""
APART_TO_A_VIEW = 0.3
"""Tiles that resemble each other this little or less do not compete for a view."""
LOW_DISTINCTIVENESS = 0.2
"""Below this a tile is reported as one that hardly tells where it is."""
_ROWS_PER_CHUNK = 1024


def distinctiveness_of(
    descriptors: npt.NDArray[np.floating[Any]],
    level: MapLevel,
    lattice_row: npt.NDArray[np.integer[Any]],
    lattice_column: npt.NDArray[np.integer[Any]],
    contrast: npt.NDArray[np.floating[Any]],
) -> npt.NDArray[np.float32]:
    """Distinctiveness (N,), 0 to 1, of a level's tiles.

    It falls from 1 to 0 as the cosine to the most similar tile further than a footprint away rises
    from `APART_TO_A_VIEW` to `SAME_TO_A_VIEW`; a picture of less contrast than the runtime accepts
    of a view lowers it further. Where no tile lies so far away, the contrast alone counts.

    The work grows with N x `MOST_COMPARED`, not with N x N: in a level of more tiles a rare double
    may go unnoticed, what looks alike in large numbers never does.

    Args:
        descriptors: (N, D) of unit length, in the map's order; may be memory-mapped.
        contrast: (N,) standard deviation of each tile's grey levels, 0 to 255.
    """
    count = len(descriptors)
    centres = level.centre(lattice_row, lattice_column).astype(np.float32)
    chosen = evenly_spread(count, MOST_COMPARED)
    compared = np.ascontiguousarray(descriptors[chosen], np.float32).T
    compared_centres = centres[chosen]
    scores = np.empty(count, np.float32)
    for start in range(0, count, _ROWS_PER_CHUNK):
        rows = slice(start, min(start + _ROWS_PER_CHUNK, count))
        similarity = np.asarray(descriptors[rows], np.float32) @ compared
        _leave_out_near(similarity, centres[rows], compared_centres, level.footprint_m)
        scores[rows] = SAME_TO_A_VIEW - similarity.max(axis=1)
    stands_out = np.clip(scores / (SAME_TO_A_VIEW - APART_TO_A_VIEW), 0.0, 1.0)
    return np.asarray(stands_out * texture_share(contrast), np.float32)


def texture_share(contrast: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """What a picture's contrast leaves of its distinctiveness, 0 to 1.

    1 from the contrast on that the runtime asks of a view, 0 from half of it down.
    """
    least = QualityConfig().smallest_contrast
    return np.asarray(np.clip(2.0 * np.asarray(contrast) / least - 1.0, 0.0, 1.0), np.float32)


def _leave_out_near(
    similarity: npt.NDArray[np.float32],
    centres_m: npt.NDArray[np.float32],
    compared_centres_m: npt.NDArray[np.float32],
    footprint_m: float,
) -> None:
    """Set similarities (n, m) of tiles that may share ground to -1.

    Tiles of a chunk are neighbours, so few of the compared ones are near any of them.
    """
    low, high = centres_m.min(axis=0) - footprint_m, centres_m.max(axis=0) + footprint_m
    inside = (compared_centres_m >= low) & (compared_centres_m <= high)
    near = np.flatnonzero(inside.all(axis=1))
    apart = np.abs(centres_m[:, None] - compared_centres_m[near]).max(axis=-1)
    similarity[:, near] = np.where(apart > footprint_m, similarity[:, near], -1.0)
