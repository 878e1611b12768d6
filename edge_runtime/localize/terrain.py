"""How high the drone is above the ground that it looks at, where that ground is not flat.

The barometer tells the height above take-off. With the map's elevations and the take-off's own,
the optical axis is followed to where it meets the ground; above that place the drone has the
height with which flat-ground geometry comes to the same place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.terrain_grid import TerrainGrid
from edge_runtime.localize.camera import CameraAttitude, CameraPose, FloatArray, PinholeCamera

_FARTHEST_HEIGHTS = 20.0
"""An optical axis is followed this many heights above take-off, and no further than that."""
_LEAST_REACH_M = 300.0
_STEPS = 256
_BISECTIONS = 20
_LEAST_HEIGHT_M = 5.0
_PLANE_POINTS = 7
_KNOWN_SHARE = 0.8


@dataclass(frozen=True)
class TerrainConfig:
    """Heights above terrain, where the map carries elevations."""

    enabled: bool = True
    """Use the map's elevations where it has them and the take-off's elevation is known."""
    take_off_elevation_m: float | None = None
    """Elevation of the take-off in the terrain model's own heights."""
    take_off: tuple[float, float] | None = None
    """Latitude and longitude of the take-off, whose elevation is then looked up."""

    def __post_init__(self) -> None:
        named = [self.take_off_elevation_m] if self.take_off_elevation_m is not None else []
        if not np.isfinite([*named, *(self.take_off or ())]).all():
            raise ConfigError("terrain: the take-off's place and elevation must be finite")
        if self.take_off is not None and named:
            raise ConfigError("terrain: name the take-off's elevation or its place, not both")


@dataclass(frozen=True)
class GroundPlane:
    """The plane that fits a window of ground best, beside the drone.

    Args:
        height_m: Of the drone above it, straight below.
        slope_east: Metres it rises a metre to the east; likewise slope_north.
        roughness_m: Root mean square of what is left.
    """

    height_m: float
    slope_east: float
    slope_north: float
    roughness_m: float


def plane_to_image(
    camera: PinholeCamera, attitude: CameraAttitude, plane: GroundPlane
) -> FloatArray:
    """Homography (3, 3) from metres beside the drone on a sloping plane to homogeneous pixels.

    `ground_to_image` for ground that slopes; `warp_ground` rectifies by it.
    """
    projection = camera.matrix @ attitude.rotation
    up = projection[:, 2]
    return np.column_stack(
        [
            projection[:, 0] + plane.slope_east * up,
            projection[:, 1] + plane.slope_north * up,
            -plane.height_m * up,
        ]
    )


@dataclass(frozen=True)
class Terrain:
    """A map's elevations and the elevation of the place from which heights are measured."""

    grid: TerrainGrid
    take_off_elevation_m: float

    def viewed_ground(self, pose: CameraPose, position_m: FloatArray) -> FloatArray | None:
        """East and north metres from the drone to where its optical axis meets the ground.

        None where it meets none of known elevation, or the drone would be below the ground.

        Args:
            pose: Its height is above take-off.
            position_m: East and north of the drone in the map's frame.
        """
        forward = pose.attitude.rotation[2]
        if forward[2] >= 0.0:
            return None
        drone_m = np.append(np.asarray(position_m, np.float64), self._elevation_of(pose))
        farthest = max(_LEAST_REACH_M, _FARTHEST_HEIGHTS * abs(pose.height_m))
        distances = np.linspace(0.0, farthest, _STEPS)
        clearance = self._clearance(drone_m, forward, distances)
        # What is unknown before the first meeting hides it.
        below = np.flatnonzero(~(clearance > 0.0))
        if not len(below) or below[0] == 0 or np.isnan(clearance[below[0]]):
            return None
        near, far = distances[below[0] - 1], distances[below[0]]
        for _ in range(_BISECTIONS):
            middle = (near + far) / 2.0
            is_above = self._clearance(drone_m, forward, np.array([middle]))[0] > 0.0
            near, far = (middle, far) if is_above else (near, middle)
        return np.asarray(forward[:2] * far, np.float64)

    def pose_above(self, pose: CameraPose, position_m: FloatArray) -> CameraPose | None:
        """The pose with its height above the viewed ground instead of above take-off.

        None where the terrain does not tell, or the drone would fly lower than 5 m above it.

        Args:
            position_m: East and north of the drone in the map's frame.
        """
        beside = self.viewed_ground(pose, position_m)
        if beside is None:
            return None
        ground_m = float(self.grid.elevation_m(np.asarray(position_m) + beside))
        height_m = self._elevation_of(pose) - ground_m
        if not height_m >= _LEAST_HEIGHT_M:
            return None
        return replace(pose, height_m=height_m)

    def plane_under(
        self, pose: CameraPose, position_m: FloatArray, offset_m: FloatArray, footprint_m: float
    ) -> GroundPlane | None:
        """The plane through a window of ground; None where too little of it is known.

        Args:
            pose: Its height is above take-off.
            position_m: East and north of the drone in the map's frame.
            offset_m: From the drone to the window's centre.
        """
        steps = (np.arange(_PLANE_POINTS) / (_PLANE_POINTS - 1) - 0.5) * footprint_m
        beside = np.asarray(offset_m) + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        elevation = self.grid.elevation_m(np.asarray(position_m) + beside)
        known = np.isfinite(elevation)
        if known.mean() < _KNOWN_SHARE:
            return None
        design = np.column_stack([np.ones(known.sum()), beside[known]])
        solution, *_ = np.linalg.lstsq(design, elevation[known], rcond=None)
        left = elevation[known] - design @ solution
        below_m, slope_east, slope_north = (float(value) for value in solution)
        return GroundPlane(
            height_m=self._elevation_of(pose) - below_m,
            slope_east=slope_east,
            slope_north=slope_north,
            roughness_m=float(np.sqrt(np.mean(left**2))),
        )

    def _elevation_of(self, pose: CameraPose) -> float:
        return self.take_off_elevation_m + pose.height_m

    def _clearance(
        self, drone_m: FloatArray, forward: FloatArray, distances: FloatArray
    ) -> FloatArray:
        """Metres above the ground (n,) at some distances along a line of sight."""
        points = drone_m + distances[:, None] * forward
        return np.asarray(points[:, 2] - self.grid.elevation_m(points[:, :2]), np.float64)


def terrain_for(
    grid: TerrainGrid | None, config: TerrainConfig, frame: LocalFrame
) -> Terrain | None:
    """The terrain to fly with; None without elevations or without the take-off's.

    Raises:
        ConfigError: If the take-off is named and the map has no elevation there.
    """
    if grid is None or not config.enabled:
        return None
    if config.take_off_elevation_m is not None:
        return Terrain(grid, config.take_off_elevation_m)
    if config.take_off is None:
        return None
    elevation_m = float(grid.elevation_m(frame.to_local(*config.take_off)))
    if not np.isfinite(elevation_m):
        raise ConfigError(
            "terrain: the map has no elevation at the take-off: give terrain.take_off_elevation_m"
        )
    return Terrain(grid, elevation_m)
