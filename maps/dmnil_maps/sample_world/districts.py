"""Division of the ground between the main lines into districts, each with one land use."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.planning_grid import PlanningGrid
from dmnil_maps.sample_world.scene import FloatArray
from dmnil_maps.sample_world.scene_builder import SceneBuilder
from dmnil_maps.sample_world.street_network import MainLines

LandUse = Literal[
    "centre", "suburb", "slabs", "industry", "campus", "park", "farmland", "wood", "verge"
]
DISTRICT_CELL_M = 2.0
SMALLEST_DISTRICT_M2 = 4500.0
# Wanted share of the area, by distance from the town centre.
INNER: dict[LandUse, float] = {"centre": 0.8, "park": 0.1, "campus": 0.1}
MIDDLE: dict[LandUse, float] = {
    "suburb": 0.42,
    "slabs": 0.2,
    "industry": 0.14,
    "campus": 0.12,
    "park": 0.07,
    "farmland": 0.05,
}
OUTER: dict[LandUse, float] = {"farmland": 0.58, "wood": 0.17, "suburb": 0.15, "industry": 0.1}


@dataclass(frozen=True)
class District:
    """A connected piece of ground between main lines."""

    use: LandUse
    grid: PlanningGrid  # cells hold 1 inside the district
    outline: FloatArray  # (N, 2)
    area_m2: float
    angle_rad: float  # of its longest side
    low: FloatArray  # (2,) south-west corner of its bounding box
    high: FloatArray  # (2,) north-east corner

    def inside(self, points: FloatArray) -> NDArray[np.bool_]:
        """(N,) whether points lie in the district."""
        inside: NDArray[np.bool_] = self.grid.at(points) == 1
        return inside


def divide(builder: SceneBuilder, lines: MainLines) -> list[District]:
    """Districts between the main lines, largest use deficits served first."""
    barrier = PlanningGrid(builder.half_extent_m, DISTRICT_CELL_M)
    for road in (*lines.roads, *lines.rails):
        barrier.draw(road.centreline, max(road.width_m, 4.0), 1)
    barrier.fill(lines.river_bank.outline, 1)
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(
        (barrier.cells == 0).astype(np.uint8), connectivity=4
    )
    placed: dict[LandUse, float] = {}
    districts: list[District] = []
    for label in builder.rng.permutation(np.arange(1, count)):
        area_m2 = float(stats[label, cv2.CC_STAT_AREA]) * DISTRICT_CELL_M**2
        grid = PlanningGrid(builder.half_extent_m, DISTRICT_CELL_M)
        grid.cells = (labels == label).astype(np.uint8)
        outlines = grid.outlines(grid.cells, 3.0)
        if not outlines or area_m2 < 60.0:
            continue
        outline = max(outlines, key=len)
        middle = grid.to_ground(centroids[label][None])[0]
        distance_m = float(np.hypot(*(middle - lines.town_centre)))
        use = _choose_use(builder, area_m2, distance_m, placed)
        placed[use] = placed.get(use, 0.0) + area_m2
        angle_rad = _longest_side(outline) + builder.between(-0.04, 0.04)
        districts.append(
            District(use, grid, outline, area_m2, angle_rad, outline.min(0), outline.max(0))
        )
    return districts


def _choose_use(
    builder: SceneBuilder, area_m2: float, distance_m: float, placed: dict[LandUse, float]
) -> LandUse:
    if area_m2 < SMALLEST_DISTRICT_M2:
        return "verge"
    distance_m += builder.between(-60, 60)
    wanted = INNER if distance_m < 330 else MIDDLE if distance_m < 820 else OUTER
    return min(
        wanted,
        key=lambda use: (
            (placed.get(use, 0.0) + area_m2 / 2) / wanted[use] * builder.between(0.7, 1.3)
        ),
    )


def _longest_side(outline: FloatArray) -> float:
    sides = np.diff(np.concatenate([outline, outline[:1]]), axis=0)
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    # Sides of a bent boundary are short: weigh directions (mod 90 degrees) by length.
    doubled = np.sum(lengths * np.exp(4j * np.arctan2(sides[:, 1], sides[:, 0])))
    angle = float(np.angle(doubled)) / 4
    extent = outline @ np.stack([np.array([np.cos(angle), np.sin(angle)])]).T
    across = outline @ np.stack([np.array([-np.sin(angle), np.cos(angle)])]).T
    return angle if np.ptp(extent) >= np.ptp(across) else angle + np.pi / 2
