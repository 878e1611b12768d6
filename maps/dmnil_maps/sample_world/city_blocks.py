"""City blocks: the pieces of ground that streets leave, and the street fronts around them."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dmnil_maps.sample_world import curves
from dmnil_maps.sample_world.districts import District
from dmnil_maps.sample_world.scene import FloatArray
from dmnil_maps.sample_world.scene_builder import FREE, SceneBuilder

SMALLEST_BLOCK_M2 = 150.0


@dataclass(frozen=True)
class Front:
    """A straight stretch of a block's border; the block is to the left of `along`."""

    start: FloatArray  # (2,)
    along: FloatArray  # (2,) unit
    inward: FloatArray  # (2,) unit
    length_m: float

    def at(self, along_m: float, inward_m: float) -> FloatArray:
        """(2,) point at a distance along the front and into the block."""
        point: FloatArray = self.start + self.along * along_m + self.inward * inward_m
        return point

    @property
    def angle_rad(self) -> float:
        """Direction of the front."""
        return float(np.arctan2(self.along[1], self.along[0]))


@dataclass(frozen=True)
class Block:
    """A connected piece of free ground inside one district."""

    outline: FloatArray  # (N, 2) counter-clockwise
    area_m2: float

    @property
    def centre(self) -> FloatArray:
        """(2,) middle of the bounding box."""
        middle: FloatArray = (self.outline.min(0) + self.outline.max(0)) / 2
        return middle

    def contains(self, points: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(N,) whether points lie inside."""
        contour = self.outline.astype(np.float32)[:, None]
        return np.array([cv2.pointPolygonTest(contour, (e, n), False) > 0 for e, n in points])

    def fronts(self, shortest_m: float) -> list[Front]:
        """Straight stretches, longest first."""
        sides = np.diff(np.concatenate([self.outline, self.outline[:1]]), axis=0)
        lengths = np.hypot(sides[:, 0], sides[:, 1])
        fronts = []
        for index in np.argsort(-lengths):
            if lengths[index] >= shortest_m:
                along = sides[index] / lengths[index]
                inward = np.array([-along[1], along[0]])
                fronts.append(Front(self.outline[index], along, inward, float(lengths[index])))
        return fronts


def blocks_of(builder: SceneBuilder, district: District) -> list[Block]:
    """The blocks that the streets of a district leave free."""
    grid = builder.free
    low = np.floor(grid.to_cells(np.array([[district.low[0], district.high[1]]]))[0]).astype(int)
    high = np.ceil(grid.to_cells(np.array([[district.high[0], district.low[1]]]))[0]).astype(int)
    low, high = np.clip(low, 0, grid.size), np.clip(high + 1, 0, grid.size)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    inside = cv2.resize(
        district.grid.cells, (grid.size, grid.size), interpolation=cv2.INTER_NEAREST
    )
    free = ((grid.cells[window] == FREE) & (inside[window] == 1)).astype(np.uint8)
    free = cv2.morphologyEx(free, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
    contours, _ = cv2.findContours(free, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    blocks = []
    for contour in contours:
        simple = cv2.approxPolyDP(contour, 1.2 / grid.cell_m, True)[:, 0].astype(np.float64)
        area_m2 = float(cv2.contourArea(contour)) * grid.cell_m**2
        if len(simple) < 3 or area_m2 < SMALLEST_BLOCK_M2:
            continue
        outline = grid.to_ground(simple + low)
        if _signed_area(outline) < 0:
            outline = outline[::-1].copy()
        blocks.append(Block(outline, area_m2))
    return blocks


def scattered(
    builder: SceneBuilder, low: FloatArray, high: FloatArray, spacing_m: float
) -> FloatArray:
    """(N, 2) points over a box about `spacing_m` apart, in no visible grid."""
    columns = np.arange(low[0], high[0], spacing_m)
    rows = np.arange(low[1], high[1], spacing_m)
    grid = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    points: FloatArray = grid + builder.rng.uniform(-0.55, 0.55, grid.shape) * spacing_m
    return points[builder.rng.permutation(len(points))]


def clumped(builder: SceneBuilder, points: FloatArray, share: float) -> FloatArray:
    """About a share of the (N, 2) points, in clumps with gaps between."""
    if len(points) == 0:
        return points
    field = curves.SmoothBend(builder.rng, 42.0, 1.0)
    value = (field(points) - points).sum(1) + builder.rng.normal(0, 0.7, len(points))
    kept: FloatArray = points[value > np.quantile(value, 1 - share)]
    return kept


def along_line(points: FloatArray, spacing_m: float) -> Iterator[tuple[FloatArray, float]]:
    """Points and directions (radians) about every `spacing_m` metres along a polyline."""
    even = curves.resample(points, spacing_m)
    unit = curves.directions(even)
    for point, direction in zip(even, unit, strict=True):
        yield point, float(np.arctan2(direction[1], direction[0]))


def _signed_area(outline: FloatArray) -> float:
    following = np.roll(outline, -1, axis=0)
    return float(np.sum(outline[:, 0] * following[:, 1] - following[:, 0] * outline[:, 1])) / 2
