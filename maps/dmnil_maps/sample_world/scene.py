"""What a generated world is made of: vector elements in metres, with no colours and no season.

East and north are metres on the plane tangent at the world's centre, which is (0, 0); the ground is
flat at height 0. Angles in radians run counter-clockwise from east.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
RecordArray = NDArray[Any]
Point = FloatArray | tuple[float, float]  # east, north

Roof = Literal["gable", "hip", "flat", "metal", "sawtooth", "solar", "glass", "equipment"]
RoadSurface = Literal["asphalt", "concrete", "gravel", "dirt", "rail"]
RoadMarking = Literal["none", "centre", "lanes"]
Paint = Literal["white", "yellow", "rail", "path"]

TREE_DTYPE = np.dtype(
    [
        ("east", np.float64),
        ("north", np.float64),
        ("radius_m", np.float32),
        ("height_m", np.float32),
        ("species", np.uint8),  # index into palette.SPECIES
        ("variant", np.uint16),
    ]
)
CAR_DTYPE = np.dtype(
    [
        ("east", np.float64),
        ("north", np.float64),
        ("angle_rad", np.float32),
        ("length_m", np.float32),
        ("presence", np.float32),  # chance that this place is taken on a given day
    ]
)


@dataclass(frozen=True)
class Patch:
    """A piece of ground of one material; later patches lie over earlier ones."""

    outline: FloatArray  # (N, 2) east, north
    material: str  # a key of palette.MATERIALS, or "field" (its crop depends on the season)
    seed: int
    row_angle_rad: float = 0.0  # direction of crop rows or mowing stripes
    row_spacing_m: float = 0.0  # 0: no rows


@dataclass(frozen=True)
class Road:
    """A carriageway (or track, path, railway) along a centre line."""

    centreline: FloatArray  # (N, 2) east, north
    width_m: float
    surface: RoadSurface = "asphalt"
    sidewalk_m: float = 0.0
    marking: RoadMarking = "none"
    seed: int = 0


@dataclass(frozen=True)
class Stripe:
    """A painted line: parking bays, pitch lines, rails."""

    points: FloatArray  # (N, 2) east, north
    width_m: float
    paint: Paint = "white"


@dataclass(frozen=True)
class Hedge:
    """A clipped hedge along a line."""

    centreline: FloatArray  # (N, 2) east, north
    width_m: float
    height_m: float


@dataclass(frozen=True)
class BuildingPart:
    """One rectangular wing of a building, or a box on its roof; wings of one building overlap."""

    building: int  # parts with the same number appear and vanish together
    east: float
    north: float
    length_m: float  # along angle_rad; a ridge runs this way
    width_m: float
    angle_rad: float
    height_m: float  # of the eaves, or of a flat roof
    roof: Roof
    roof_rise_m: float  # ridge above eaves
    roof_colour: int
    wall_colour: int
    seed: int

    @property
    def top_m(self) -> float:
        """Highest point above ground."""
        return self.height_m + self.roof_rise_m

    def corners(self, grow_m: float = 0.0) -> FloatArray:
        """(4, 2) footprint corners."""
        return rectangle(
            (self.east, self.north),
            self.length_m + 2 * grow_m,
            self.width_m + 2 * grow_m,
            self.angle_rad,
        )


def rectangle(middle: Point, length_m: float, width_m: float, angle_rad: float) -> FloatArray:
    """(4, 2) corners, counter-clockwise, of a rectangle about its centre."""
    along = np.array([np.cos(angle_rad), np.sin(angle_rad)]) * (length_m / 2)
    across = np.array([-np.sin(angle_rad), np.cos(angle_rad)]) * (width_m / 2)
    centre = np.asarray(middle)
    return np.stack(
        [
            centre - along - across,
            centre + along - across,
            centre + along + across,
            centre - along + across,
        ]
    )
