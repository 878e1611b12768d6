"""The world while it is being generated: elements collected so far and the ground still free."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world import scene
from dmnil_maps.sample_world.planning_grid import PlanningGrid
from dmnil_maps.sample_world.scene import FloatArray, Point

# Values of planning cells: nothing may stand here, city ground, countryside, the block being built.
TAKEN, FREE, OPEN_LAND, THIS_BLOCK = 0, 1, 2, 3
PLANNING_CELL_M = 0.5


class SceneBuilder:
    """Collects elements; what is built stays on the THIS_BLOCK cells of `free`."""

    def __init__(self, rng: np.random.Generator, half_extent_m: float) -> None:
        self.rng = rng
        self.half_extent_m = half_extent_m
        self.free = PlanningGrid(half_extent_m, PLANNING_CELL_M)
        self.carriageway = PlanningGrid(half_extent_m, PLANNING_CELL_M)  # 1 on roads
        self.patches: list[scene.Patch] = []
        self.roads: list[scene.Road] = []
        self.stripes: list[scene.Stripe] = []
        self.hedges: list[scene.Hedge] = []
        self.parts: list[scene.BuildingPart] = []
        self.trees: list[tuple[float, float, float, float, int, int]] = []
        self.cars: list[tuple[float, float, float, float, float]] = []
        self._buildings = 0

    def seed(self) -> int:
        """A fresh seed for one element's own details."""
        return int(self.rng.integers(1 << 31))

    def new_building(self) -> int:
        """The number of a new building."""
        self._buildings += 1
        return self._buildings

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.rng.uniform(low, high))

    def pick(self, options: Sequence[int]) -> int:
        """One of the options."""
        return int(options[int(self.rng.integers(len(options)))])

    def patch(
        self, outline: FloatArray, material: str, row_angle_rad: float = 0, row_spacing_m: float = 0
    ) -> None:
        """Lay a patch of ground over what is there."""
        self.patches.append(
            scene.Patch(outline, material, self.seed(), row_angle_rad, row_spacing_m)
        )

    def open_block(self, outline: FloatArray) -> None:
        """Make the free city ground inside an outline the block being built."""
        self._swap(outline, FREE, THIS_BLOCK)

    def close_block(self, outline: FloatArray) -> None:
        """Make what is left of the block plain city ground again."""
        self._swap(outline, THIS_BLOCK, FREE)

    def _swap(self, outline: FloatArray, old: int, new: int) -> None:
        cells = self.free.to_cells(outline)
        low = np.clip(np.floor(cells.min(0)).astype(int) - 1, 0, self.free.size)
        high = np.clip(np.ceil(cells.max(0)).astype(int) + 2, 0, self.free.size)
        window = self.free.cells[low[1] : high[1], low[0] : high[0]]
        mask = np.zeros(window.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(cells - low).astype(np.int32)], 1)
        window[(mask == 1) & (window == old)] = new

    def is_free(self, outline: FloatArray) -> bool:
        """Whether a polygon lies on free ground of the block being built."""
        return self.free.all_inside(outline, THIS_BLOCK)

    def is_free_at(self, points: FloatArray) -> NDArray[np.bool_]:
        """(N,) whether points lie on free ground of the block being built."""
        free: NDArray[np.bool_] = self.free.at(points) == THIS_BLOCK
        return free

    def take(self, outline: FloatArray) -> None:
        """Mark a polygon as used."""
        self.free.fill(outline, TAKEN)

    def tree(self, spot: Point, radius_m: float, species: int) -> None:
        """Plant a tree; its height follows from its crown."""
        height_m = radius_m * self.between(1.55, 2.35) + 1.2
        self.trees.append(
            (*_pair(spot), radius_m, height_m, species, int(self.rng.integers(1 << 16)))
        )

    def trees_where_free(
        self, points: FloatArray, radius_m: tuple[float, float], species: Sequence[int]
    ) -> None:
        """Plant at those of the (N, 2) points that are free ground of the block."""
        for east, north in points[self.is_free_at(points)]:
            self.tree((east, north), self.between(*radius_m), self.pick(species))

    def car(self, spot: Point, angle_rad: float, presence: float) -> None:
        """A place where a car may stand."""
        if self.chance(0.5):
            angle_rad += np.pi
        length_m = self.between(4.0, 4.9) if self.chance(0.9) else self.between(5.4, 7.0)
        self.cars.append((*_pair(spot), angle_rad, length_m, presence))


def _pair(spot: Point) -> tuple[float, float]:
    return float(spot[0]), float(spot[1])
