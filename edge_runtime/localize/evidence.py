"""What one view says about every possible position: a likelihood ratio per grid cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.position_grid import PositionGrid
from edge_runtime.localize.rectify import GroundWindow


@dataclass(frozen=True)
class EvidenceConfig:
    """How a score, in standard deviations above chance, turns into evidence."""

    log_ratio_per_sigma: float = 2.5
    """Growth of the log likelihood ratio with the score; less is more cautious."""
    indifferent_score: float = 3.0
    """The score that speaks neither for nor against a place."""
    largest_score: float = 8.0
    """Scores above count as this: no single view may be more certain."""
    mismatch_probability: float = 0.1
    """How often a view looks like no tile at all though the drone is over the map."""
    independent_shift: float = 0.25
    """Shift of the view, in footprints, after which it counts as independent of the last."""
    distinct_margin: float = 2.5
    """A view counts in full if its best place scores this much above the next one elsewhere."""
    same_view_similarity: float = 0.95
    """Where odometry fails, a view with a descriptor this close to the last used one's is it."""
    smallest_novelty: float = 0.5
    """Views worth less than this share of an independent one are not encoded."""

    def __post_init__(self) -> None:
        if self.log_ratio_per_sigma <= 0.0:
            raise ConfigError("evidence.log_ratio_per_sigma must be positive")
        if not 0.0 < self.mismatch_probability < 1.0:
            raise ConfigError("evidence.mismatch_probability must lie between 0 and 1")
        if self.distinct_margin <= 0.0:
            raise ConfigError("evidence.distinct_margin must be positive")
        if self.independent_shift <= 0.0 or not 0.0 < self.smallest_novelty <= 1.0:
            raise ConfigError("evidence.independent_shift must be > 0, smallest_novelty in 0..1")


def likelihood_ratio(
    scores: npt.NDArray[np.float32], config: EvidenceConfig
) -> npt.NDArray[np.float32]:
    """Probability of a view at a place over its probability at a place that it does not show.

    NaN scores, where the map has no tile, give 1: the view says nothing about those places.
    """
    # In place: over a large map every array is as large as all the rest of the filter's.
    ratio = np.asarray(np.minimum(scores, np.float32(config.largest_score)), np.float32)
    ratio -= np.float32(config.indifferent_score)
    ratio *= np.float32(config.log_ratio_per_sigma)
    np.exp(ratio, out=ratio)
    ratio *= np.float32(1.0 - config.mismatch_probability)
    ratio += np.float32(config.mismatch_probability)
    ratio[np.isnan(ratio)] = 1.0
    return ratio


def distinctiveness(
    scores: npt.NDArray[np.float32], grid: PositionGrid, footprint_m: float, margin: float
) -> float:
    """Share, 0-1, that a view counts, by how far its best place stands out from any other.

    Fields look like fields: which of them scores highest is chance and season, and the next views
    of the same field would repeat the error. Places within a footprint of the best show the same
    ground and do not compete with it.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    row, column = np.unravel_index(int(np.argmax(known)), known.shape)
    best = float(known[row, column])
    if not np.isfinite(best):
        return 0.0
    reach = round(footprint_m / grid.cell_m)
    known[
        max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1
    ] = -np.inf
    return float(np.clip((best - float(known.max())) / margin, 0.0, 1.0))


def matched_distinctiveness(
    scores: npt.NDArray[np.float32],
    grid: PositionGrid,
    region_map: RegionMap,
    level_number: int,
    window: GroundWindow,
) -> float:
    """How much the tile at the best place stands out from all of its map, 0-1, as it was built.

    The other tiles within a small prior may all differ from it, and the drone be elsewhere.
    """
    if np.isnan(scores).all():
        return 0.0
    row, column = np.unravel_index(int(np.nanargmax(scores)), scores.shape)
    level = region_map.levels[level_number]
    viewed_east = grid.west_m + int(column) * grid.cell_m + window.east_m
    viewed_north = grid.north_m - int(row) * grid.cell_m + window.north_m
    at_row = round((level.first_north_m - viewed_north) / level.stride_m)
    at_column = round((viewed_east - level.first_east_m) / level.stride_m)
    tile = region_map.rows_at(
        level_number,
        slice(max(0, at_row), max(0, at_row) + 1),
        slice(max(0, at_column), max(0, at_column) + 1),
    )
    if not tile.size or tile[0, 0] < 0:
        return 1.0
    return float(region_map.tiles["distinctiveness"][tile[0, 0]])


def score_at(
    scores: npt.NDArray[np.float32], grid: PositionGrid, east_north_m: FloatArray
) -> float:
    """The best score within one cell of a position; NaN off the grid or where the map ends."""
    row = round((grid.north_m - east_north_m[1]) / grid.cell_m)
    column = round((east_north_m[0] - grid.west_m) / grid.cell_m)
    around = scores[max(0, row - 1) : max(0, row + 2), max(0, column - 1) : max(0, column + 2)]
    if not around.size or np.isnan(around).all():
        return float("nan")
    return float(np.nanmax(around))
