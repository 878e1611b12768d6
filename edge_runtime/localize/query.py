"""From an encoder's descriptor of a view to a query in the map's descriptor space."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.region_map import RegionMap

_MAP_MEAN_WEIGHT = 5.0


class QueryProjector:
    """Removes the mean of the drone's own views, then projects as the map projected its tiles.

    Season, light and sensor shift all descriptors of a flight alike; the map's tiles had their
    own mean removed when it was built. The views' mean starts as the tiles' and follows the
    flight, each view counting by how much new ground it shows, so that hovering cannot fill it
    with one place.
    """

    def __init__(self, region_map: RegionMap) -> None:
        self._projection = np.asarray(region_map.projection)
        self._sum = region_map.descriptor_mean.astype(np.float64) * _MAP_MEAN_WEIGHT
        self._weight = np.full(len(region_map.levels), _MAP_MEAN_WEIGHT)

    def project(self, descriptor: npt.NDArray[np.float32], level: int) -> npt.NDArray[np.float32]:
        """Unit-length query (D_map,) for a view's descriptor (D_encoder,)."""
        centred = descriptor - (self._sum[level] / self._weight[level]).astype(np.float32)
        query = centred @ self._projection
        return np.asarray(query / max(float(np.linalg.norm(query)), 1e-12), np.float32)

    def learn(self, descriptor: npt.NDArray[np.float32], level: int, novelty: float) -> None:
        """Let a view count towards the mean."""
        self._sum[level] += novelty * descriptor
        self._weight[level] += novelty

    @property
    def learnt(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Sums (levels, D_encoder) and weights (levels,) of the views so far."""
        return self._sum.copy(), self._weight.copy()

    def resume(self, sums: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> None:
        """Go on from what was learnt before."""
        self._sum, self._weight = sums.copy(), weights.copy()
