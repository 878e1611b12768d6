"""Which elements of a world touch a raster window."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.raster_window import RasterWindow
from dmnil_maps.sample_world.scene import FloatArray, RecordArray
from dmnil_maps.sample_world.world import World


class SceneIndex:
    """Bounding boxes of every element of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._boxes = {
            "patches": _boxes((p.outline, 0.5) for p in world.patches),
            "roads": _boxes((r.centreline, r.width_m / 2 + r.sidewalk_m + 1) for r in world.roads),
            "stripes": _boxes((s.points, s.width_m) for s in world.stripes),
            "hedges": _boxes((h.centreline, h.width_m) for h in world.hedges),
            "parts": _boxes((b.corners(), 0.5) for b in world.parts),
            "trees": _around(world.trees, "radius_m"),
            "cars": _around(world.cars, "length_m"),
        }

    def touching(self, kind: str, window: RasterWindow) -> NDArray[np.int64]:
        """Indices, in the world's order, of the elements of a kind that touch the window."""
        low, high = self._boxes[kind]
        return np.flatnonzero(window.overlaps(low, high))


def _boxes(lines: Iterable[tuple[FloatArray, float]]) -> tuple[FloatArray, FloatArray]:
    pairs = [(points.min(0) - pad, points.max(0) + pad) for points, pad in lines]
    if not pairs:
        return np.zeros((0, 2)), np.zeros((0, 2))
    return np.array([low for low, _ in pairs]), np.array([high for _, high in pairs])


def _around(records: RecordArray, reach: str) -> tuple[FloatArray, FloatArray]:
    centres = np.stack([records["east"], records["north"]], 1)
    return centres - records[reach][:, None], centres + records[reach][:, None]
