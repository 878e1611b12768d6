"""How well a flight's rectified views agree with the map where the camera must have looked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine
from edge_runtime.localize.camera import CameraAttitude, FloatArray, PinholeCamera
from edge_runtime.localize.rectify import choose_window, rectify
from edge_runtime.localize.search import TileSearch
from edge_runtime.telemetry.log import TelemetrySample
from edge_runtime.telemetry.orientation import attitude_of, quaternion_of

Turn = Callable[[FloatArray], FloatArray]
"""From the camera's orientation that telemetry tells, a quaternion, to the one to be tried."""

_BATCH = 8
_MAP_MEAN_WEIGHT = 5.0
_LEAST_COVERAGE = 0.6
_AMPLE_COVERAGE = 0.9
_WORST_SCORE = 0.0


@dataclass(frozen=True)
class CalibrationView:
    """A picture with its telemetry, and where the drone was in the map's frame."""

    image: npt.NDArray[np.uint8]
    camera: PinholeCamera
    sample: TelemetrySample
    east_north_m: FloatArray

    def turned(self, turn: Turn) -> tuple[CameraAttitude, float] | None:
        """The camera's attitude if that turn is right, and its height; None if not known."""
        pose = self.sample.pose
        if pose is None:
            return None
        return attitude_of(turn(quaternion_of(pose.attitude))), pose.height_m


class MapAgreement:
    """Scores turns of the camera: standard deviations above chance, one for each view.

    Args:
        slack_m: Each position may be this far off: the best tile within that radius counts. At 0
            positions are true, and the score is read off where the view must lie.
    """

    def __init__(
        self, engine: Engine, region_map: RegionMap, input_size: int, slack_m: float
    ) -> None:
        self._engine, self._map = engine, region_map
        self._search = TileSearch(region_map)
        self._input_size = input_size
        self._slack_m = slack_m

    def level_for(self, view: CalibrationView, turn: Turn) -> int | None:
        """The map's level whose footprint the view shows best; None if it shows none."""
        posed = view.turned(turn)
        if posed is None:
            return None
        coverages = np.array(
            [choose_window(view.camera, *posed, level.footprint_m)[1] for level in self._map.levels]
        )
        footprints = np.array([level.footprint_m for level in self._map.levels])
        ample = coverages >= _AMPLE_COVERAGE
        if ample.any():
            return int(np.argmax(np.where(ample, footprints, 0.0)))
        best = int(np.argmax(coverages))
        return best if coverages[best] >= _LEAST_COVERAGE else None

    def scores(
        self, views: Sequence[CalibrationView], levels: Sequence[int], turn: Turn
    ) -> FloatArray:
        """Agreement (N,) of each view with the map if the camera was turned so."""
        pictures, centres = [], []
        for view, level in zip(views, levels, strict=True):
            posed = view.turned(turn)
            if posed is None:
                raise ValueError("a view for calibration needs height and heading")
            footprint_m = self._map.levels[level].footprint_m
            window, _ = choose_window(view.camera, *posed, footprint_m)
            pictures.append(rectify(view.image, view.camera, *posed, window, self._input_size))
            centres.append(view.east_north_m + window.offset_m)
        batches = range(0, len(pictures), _BATCH)
        descriptors = np.concatenate(
            [self._engine.encode(np.stack(pictures[at : at + _BATCH])) for at in batches]
        )
        queries = self._queries(descriptors, np.asarray(levels))
        return np.array(
            [
                self._score_at(query, level, centre)
                for query, level, centre in zip(queries, levels, centres, strict=True)
            ]
        )

    def _queries(
        self, descriptors: npt.NDArray[np.float32], levels: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Descriptors less the views' own mean, in the map's space, as flights ask."""
        centred = descriptors.astype(np.float64)
        for level in np.unique(levels):
            of_level = levels == level
            total = _MAP_MEAN_WEIGHT * self._map.descriptor_mean[level]
            total = total + descriptors[of_level].sum(axis=0)
            centred[of_level] -= total / (_MAP_MEAN_WEIGHT + of_level.sum())
        queries = centred @ np.asarray(self._map.projection, np.float64)
        lengths = np.linalg.norm(queries, axis=1, keepdims=True)
        return np.asarray(queries / np.maximum(lengths, 1e-12), np.float32)

    def _score_at(self, query: npt.NDArray[np.float32], level: int, centre_m: FloatArray) -> float:
        grid = self._map.levels[level]
        column, row = (centre_m - [grid.first_east_m, grid.first_north_m]) / grid.stride_m * [1, -1]
        reach = max(self._slack_m / grid.stride_m, 1.0)
        rows = _around(row, reach, grid.rows)
        columns = _around(column, reach, grid.columns)
        tiles = self._map.rows_at(level, rows, columns)
        present = tiles >= 0
        if not present.any():
            return _WORST_SCORE
        scores = self._search.scores(query, level, tiles[present].astype(np.int64))
        if self._slack_m > 0.0:
            return max(float(scores.max()), _WORST_SCORE)
        down, right = np.nonzero(present)
        near = np.clip(1.0 - np.abs(down + rows.start - row), 0.0, 1.0)
        near = near * np.clip(1.0 - np.abs(right + columns.start - column), 0.0, 1.0)
        weight = float(near.sum())
        if weight < 0.5:  # beyond the map's edge
            return _WORST_SCORE
        return max(float(near @ scores) / weight, _WORST_SCORE)


def _around(place: float, reach: float, count: int) -> slice:
    first = int(np.clip(np.floor(place - reach) + 1, 0, count))
    last = int(np.clip(np.ceil(place + reach), first, count))
    return slice(first, last)


def shrunk(view: CalibrationView, largest_width: int) -> CalibrationView:
    """The view with a smaller picture where it is larger than that: many are kept in memory."""
    height, width = view.image.shape[:2]
    if width <= largest_width:
        return view
    small = round(height * largest_width / width)
    image = cv2.resize(view.image, (largest_width, small), interpolation=cv2.INTER_AREA)
    scale = largest_width / width
    matrix = view.camera.matrix
    camera = PinholeCamera(
        largest_width,
        small,
        view.camera.focal_px * scale,
        (matrix[0, 2] + 0.5) * scale - 0.5,
        (matrix[1, 2] + 0.5) * scale - 0.5,
    )
    return replace(view, image=np.asarray(image, np.uint8), camera=camera)
