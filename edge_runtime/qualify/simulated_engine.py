"""An engine that recalls the map's own descriptors, for maps that carry no picture.

What it makes of a view is the descriptor of the ground truly below, as far as the view is
rectified truly, and chance besides: a stand-in for an encoder of a stated quality.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import RegionMap

FloatArray = npt.NDArray[np.float64]
_COMPARED_PX = 48


class RecallingEngine:
    """Knows where the simulated drone is; everything after the encoder does not."""

    def __init__(self, region_map: RegionMap, view_similarity: float) -> None:
        """Prepare the way back from the map's descriptors to the encoder's.

        Args:
            view_similarity: Cosine of a true view's query to its tile's descriptor, 0-1.
        """
        self._map = region_map
        self._similarity = view_similarity
        self._rng = np.random.default_rng(0)
        self._to_encoder = np.linalg.pinv(region_map.projection.astype(np.float64))
        self._tile: npt.NDArray[np.float64] | None = None
        self._truth: npt.NDArray[np.float32] | None = None

    def begin_flight(self, rng: np.random.Generator) -> None:
        """Draw what is chance from this generator from now on."""
        self._rng = rng

    def look_at(self, viewed_m: FloatArray | None, true_view: npt.NDArray[np.uint8]) -> None:
        """Say what the next views show.

        Args:
            viewed_m: East and north of their ground; None for ground that no tile shows.
            true_view: (H, W, 3) that view, rectified by the true pose.
        """
        self._tile = None if viewed_m is None else self._descriptor_at(viewed_m)
        self._truth = _comparable(true_view)

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Descriptors (N, D) of views (N, H, W, 3): the truer the rectification, the more alike."""
        size = self._map.descriptor_size
        mean = self._map.descriptor_mean[0].astype(np.float64)
        found = np.empty((len(images), len(mean)), np.float32)
        for number, image in enumerate(images):
            noise = self._rng.normal(size=size)
            query = noise / np.linalg.norm(noise)
            if self._tile is not None and self._truth is not None:
                alike = max(0.0, float((_comparable(image) * self._truth).mean()))
                share = self._similarity * alike
                query = share * self._tile + np.sqrt(max(0.0, 1.0 - share**2)) * query
            found[number] = mean + query @ self._to_encoder
        return found

    def _descriptor_at(self, viewed_m: FloatArray) -> npt.NDArray[np.float64] | None:
        """The tiles' descriptors around a place, blended as their ground is."""
        level = self._map.levels[0]
        row = (level.first_north_m - viewed_m[1]) / level.stride_m
        column = (viewed_m[0] - level.first_east_m) / level.stride_m
        first_row, first_column = int(np.floor(row)), int(np.floor(column))
        if not (0 <= first_row < level.rows - 1 and 0 <= first_column < level.columns - 1):
            return None
        tiles = self._map.rows_at(
            0, slice(first_row, first_row + 2), slice(first_column, first_column + 2)
        )
        if (tiles < 0).any():
            return None
        down, right = row - first_row, column - first_column
        weights = np.outer([1.0 - down, down], [1.0 - right, right]).ravel()
        blended = weights @ self._map.descriptors_of(tiles.ravel()).astype(np.float64)
        return np.asarray(blended / max(float(np.linalg.norm(blended)), 1e-12), np.float64)


def _comparable(view: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A view's coarse layout, normalised, so that the mean product of two is their correlation."""
    grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_COMPARED_PX, _COMPARED_PX), interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small.astype(np.float32), (0, 0), 2.0)
    centred = soft - soft.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-6), np.float32)
