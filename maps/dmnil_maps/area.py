"""The part of the imagery that a map is made of: a polygon in the map's frame, and its tiles."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from dmnil_maps.raster import LocalBounds
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MapLevel

_POINTS_PER_EDGE = 41
_LONGEST_EDGE_DEG = 0.01
"""Edges are straight in degrees (RFC 7946); cut this short they are within 0.1 m in metres too."""
_MARGIN_DEG = 0.01
_PREPARED = threading.Lock()
"""A prepared shape builds its index when it is first asked, which crashes if two threads ask."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class GeodeticArea:
    """An area as its user names it.

    Args:
        shape: Longitude and latitude in degrees. Polygons are meant with their inside; along lines
            the ground up to `reach_m` to either side is meant. Longitudes run on beyond 180 where
            an edge crosses the antimeridian.
        reach_m: 0 for polygons.
        name: What to call it in messages.
    """

    shape: BaseGeometry
    reach_m: float
    name: str


@dataclass(frozen=True)
class LocalArea:
    """An area in the map's frame, in metres; a tile belongs to it whose footprint touches it."""

    shape: BaseGeometry

    def touches(
        self, west_m: Any, south_m: Any, east_m: Any, north_m: Any
    ) -> npt.NDArray[np.bool_]:
        """Which rectangles (N,) share ground with the area."""
        boxes = shapely.box(west_m, south_m, east_m, north_m)
        with _PREPARED:
            shapely.prepare(self.shape)
            return np.asarray(shapely.intersects(self.shape, boxes), np.bool_)

    @property
    def bounds(self) -> LocalBounds:
        """The rectangle around it."""
        return LocalBounds(*(float(side) for side in self.shape.bounds))

    @property
    def digest(self) -> str:
        """The area as text that differs wherever two areas do."""
        return str(shapely.to_wkb(shapely.normalize(self.shape), hex=True))


def locate(area: GeodeticArea, frame: LocalFrame, bounds: LocalBounds) -> LocalArea:
    """An area in a raster's frame, cut to the raster.

    The cut is made in degrees around the raster, since the frame's plane shows the far side of the
    globe too; so an area may span the antimeridian, or the whole globe.

    Raises:
        MapError: If the two share no ground.
    """
    longitude_deg, latitude_deg = _ring_of(bounds, frame)
    window = shapely.box(
        longitude_deg.min(), latitude_deg.min(), longitude_deg.max(), latitude_deg.max()
    )
    reach_deg = np.degrees(area.reach_m / 6.3e6)
    slimmest = max(0.01, float(np.cos(np.radians(np.abs(latitude_deg).max()))))
    window = shapely.buffer(
        window, min(180.0, (_MARGIN_DEG + reach_deg) / slimmest), join_style="mitre"
    )
    around = _near(area.shape, window, frame.longitude_deg)
    if around.is_empty:
        raise MapError(_apart(area, window, frame.longitude_deg))
    local = shapely.transform(
        shapely.segmentize(around, _LONGEST_EDGE_DEG),
        lambda degrees: frame.to_local(degrees[:, 1], degrees[:, 0] + frame.longitude_deg),
    )
    if area.reach_m:
        local = shapely.buffer(local, area.reach_m)
    local = shapely.intersection(
        shapely.make_valid(local),
        shapely.box(bounds.west_m, bounds.south_m, bounds.east_m, bounds.north_m),
    )
    if shapely.area(local) <= 0.0:
        raise MapError(_apart(area, window, frame.longitude_deg))
    return LocalArea(local)


def cropped(level: MapLevel, area: LocalArea) -> MapLevel:
    """The part of a lattice whose tiles may touch an area, on the same positions.

    Raises:
        MapError: If none does.
    """
    reach_m = level.footprint_m / 2
    bounds = area.bounds
    first_column, end_column = _range_within(
        (bounds.west_m - reach_m - level.first_east_m) / level.stride_m,
        (bounds.east_m + reach_m - level.first_east_m) / level.stride_m,
        level.columns,
    )
    first_row, end_row = _range_within(
        (level.first_north_m - bounds.north_m - reach_m) / level.stride_m,
        (level.first_north_m - bounds.south_m + reach_m) / level.stride_m,
        level.rows,
    )
    if first_column >= end_column or first_row >= end_row:
        raise MapError(f"the area touches no tile of {level.footprint_m:g} m")
    east_m, north_m = level.centre(first_row, first_column)
    return MapLevel(
        footprint_m=level.footprint_m,
        stride_m=level.stride_m,
        rows=end_row - first_row,
        columns=end_column - first_column,
        first_east_m=float(east_m),
        first_north_m=float(north_m),
    )


def _range_within(low: float, high: float, count: int) -> tuple[int, int]:
    # An edge that meets the area to within rounding touches it.
    first, last = np.ceil(low - _TOLERANCE), np.floor(high + _TOLERANCE)
    return max(0, int(first)), min(count, int(last) + 1)


def _ring_of(
    bounds: LocalBounds, frame: LocalFrame
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Longitudes from the frame's own and latitudes, in degrees, of a grid over a rectangle."""
    east = np.linspace(bounds.west_m, bounds.east_m, _POINTS_PER_EDGE)
    north = np.linspace(bounds.south_m, bounds.north_m, _POINTS_PER_EDGE)
    with np.errstate(invalid="ignore"):  # a rectangle's corners may lie beyond the globe's rim
        latitude, longitude = frame.to_geodetic(np.stack(np.meshgrid(east, north), axis=-1))
    on_globe = np.isfinite(latitude) & np.isfinite(longitude)
    return _from_meridian(longitude[on_globe], frame.longitude_deg), latitude[on_globe]


def _from_meridian(
    longitude_deg: npt.NDArray[np.float64], meridian_deg: float
) -> npt.NDArray[np.float64]:
    return (longitude_deg - meridian_deg + 180.0) % 360.0 - 180.0


def _near(shape: BaseGeometry, window: BaseGeometry, meridian_deg: float) -> BaseGeometry:
    """A shape's part in a window whose longitudes count from a meridian, whatever turn it is on."""
    turns = [
        shapely.intersection(translate(shape, turn - meridian_deg), window)
        for turn in (-720.0, -360.0, 0.0, 360.0, 720.0)
    ]
    return shapely.union_all([turn for turn in turns if not turn.is_empty])


def _apart(area: GeodeticArea, window: BaseGeometry, meridian_deg: float) -> str:
    west, south, east, north = area.shape.bounds
    _, window_south, _, window_north = window.bounds
    message = (
        f"{area.name} spans {west:.4f} to {east:.4f} east and {south:.4f} to {north:.4f} north, "
        f"where there is no imagery: that lies around {meridian_deg:.4f} east, "
        f"{(window_south + window_north) / 2:.4f} north"
    )
    swapped = shapely.transform(area.shape, lambda degrees: degrees[:, ::-1])
    if not _near(swapped, window, meridian_deg).is_empty:
        message += ". Are latitude and longitude swapped?"
    return message
