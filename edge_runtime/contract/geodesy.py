"""WGS84 positions and the flat frame in which a region map and its filter live."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SEMI_MAJOR_AXIS_M = 6378137.0
FLATTENING = 1.0 / 298.257223563
ECCENTRICITY_SQUARED = FLATTENING * (2.0 - FLATTENING)


def geodetic_to_ecef(
    latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike, height_m: npt.ArrayLike = 0.0
) -> FloatArray:
    """Earth-centred coordinates (..., 3) in metres of WGS84 positions."""
    latitude = np.radians(np.asarray(latitude_deg, np.float64))
    longitude = np.radians(np.asarray(longitude_deg, np.float64))
    height = np.asarray(height_m, np.float64)
    normal = SEMI_MAJOR_AXIS_M / np.sqrt(1.0 - ECCENTRICITY_SQUARED * np.sin(latitude) ** 2)
    return np.stack(
        np.broadcast_arrays(
            (normal + height) * np.cos(latitude) * np.cos(longitude),
            (normal + height) * np.cos(latitude) * np.sin(longitude),
            (normal * (1.0 - ECCENTRICITY_SQUARED) + height) * np.sin(latitude),
        ),
        axis=-1,
    )


@dataclass(frozen=True)
class LocalFrame:
    """East and north metres on the plane that touches WGS84 at an origin.

    It is PROJ's `+proj=ortho +datum=WGS84` at the same origin, so rasters warped by GDAL and
    positions converted here agree; within 25 km of the origin its scale is true to 1e-5.
    """

    latitude_deg: float
    longitude_deg: float

    @cached_property
    def _origin(self) -> FloatArray:
        return geodetic_to_ecef(self.latitude_deg, self.longitude_deg)

    @cached_property
    def _axes(self) -> FloatArray:
        """Rows: east, north and up at the origin, in earth-centred coordinates."""
        latitude, longitude = np.radians(self.latitude_deg), np.radians(self.longitude_deg)
        east = [-np.sin(longitude), np.cos(longitude), 0.0]
        up = [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        ]
        return np.asarray([east, np.cross(up, east), up], np.float64)

    @property
    def proj_string(self) -> str:
        """This frame as PROJ and GDAL know it.

        The datum is named because PROJ skips the shift from another (125 m in Britain) without.
        """
        return (
            f"+proj=ortho +lat_0={self.latitude_deg!r} +lon_0={self.longitude_deg!r} "
            "+datum=WGS84 +units=m +no_defs"
        )

    def to_local(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> FloatArray:
        """East and north metres (..., 2) of WGS84 positions on the ellipsoid."""
        offset = geodetic_to_ecef(latitude_deg, longitude_deg) - self._origin
        return np.asarray(offset @ self._axes[:2].T, np.float64)

    def to_geodetic(self, east_north_m: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Latitude and longitude in degrees of local positions (..., 2)."""
        local = np.asarray(east_north_m, np.float64)
        # The line through the point along the plane's normal meets the ellipsoid where
        # |scaled point| = 1: a quadratic in the height above the plane.
        scale = np.array([1.0, 1.0, 1.0 / (1.0 - FLATTENING)]) / SEMI_MAJOR_AXIS_M
        start = (self._origin + local @ self._axes[:2]) * scale
        direction = self._axes[2] * scale
        half_b = start @ direction
        a = direction @ direction
        c = np.sum(start * start, axis=-1) - 1.0
        up = (-half_b + np.sqrt(half_b**2 - a * c)) / a
        x, y, z = np.moveaxis((start + up[..., None] * direction) / scale, -1, 0)
        latitude = np.arctan2(z, (1.0 - ECCENTRICITY_SQUARED) * np.hypot(x, y))
        return np.degrees(latitude), np.degrees(np.arctan2(y, x))


def ground_distance_m(
    latitude_a_deg: npt.ArrayLike,
    longitude_a_deg: npt.ArrayLike,
    latitude_b_deg: npt.ArrayLike,
    longitude_b_deg: npt.ArrayLike,
) -> FloatArray:
    """Distance between WGS84 positions in metres, along the chord.

    The chord is shorter than the geodesic by 1 mm at 10 km, which scoring does not notice.
    """
    a = geodetic_to_ecef(latitude_a_deg, longitude_a_deg)
    b = geodetic_to_ecef(latitude_b_deg, longitude_b_deg)
    return np.asarray(np.linalg.norm(a - b, axis=-1), np.float64)
