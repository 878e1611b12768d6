"""Whether a raster's stated place on Earth can be true."""

from __future__ import annotations

import numpy as np
import pyproj
import pyproj.exceptions
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.transform import Affine, xy
from rasterio.warp import transform_bounds

from dmnil_maps.sources.reading_errors import READING_ERRORS
from edge_runtime.contract.errors import ConfigError, MapError

_LATITUDE_LIMIT_DEG = 90.0
_LONGITUDE_LIMIT_DEG = 180.0
_MARGIN_DEG = 0.01
_SMALLEST_PIXEL_M = 2e-3
"""Pixels below 2 mm next to a projection's origin are degrees, not metres."""
_OUTSIDE_USE_DEG = 20.0


def crs_named(text: str) -> CRS:
    """The coordinate reference system that a user names.

    Raises:
        ConfigError: If PROJ does not know it.
    """
    try:
        crs = CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise ConfigError(f"--crs {text} is not known to PROJ: name it as EPSG:32632") from error
    return crs


def has_place(dataset: DatasetReader) -> bool:
    """Whether the raster says where its pixels lie, in whatever reference system."""
    return not dataset.transform.is_identity


def check_place(crs: CRS, transform: Affine, width: int, height: int, name: str) -> None:
    """Refuse positions that cannot be, and say what is suspected.

    Raises:
        MapError: If degrees and metres, or latitude and longitude, look exchanged.
    """
    rows, columns = np.array([0, 0, height, height]), np.array([0, width, width, 0])
    x, y = (np.asarray(axis) for axis in xy(transform, rows, columns, offset="ul"))
    values = np.concatenate([x, y, [*transform][:6]])
    if not np.isfinite(values).all() or transform.is_degenerate:
        raise MapError(f"{name} has a georeference without extent: check it with gdalinfo")
    pixel = float(np.sqrt(abs(transform.determinant)))
    if crs.is_geographic:
        _check_degrees(x, y, pixel, name)
        return
    in_degree_range = (
        np.abs(x).max() <= 2 * _LONGITUDE_LIMIT_DEG and np.abs(y).max() <= _LONGITUDE_LIMIT_DEG
    )
    if in_degree_range and pixel * _metres_per_unit(crs) < _SMALLEST_PIXEL_M:
        raise MapError(
            f"{name} has pixels of {pixel:.2g} m in {name_of(crs)}: its numbers look like degrees; "
            "if they are, set that with gdal_translate -a_srs EPSG:4326"
        )
    _check_area_of_use(crs, x, y, name)


def _check_degrees(
    x: np.typing.NDArray[np.float64], y: np.typing.NDArray[np.float64], pixel: float, name: str
) -> None:
    beyond = float(np.abs(y).max())
    if beyond <= _LATITUDE_LIMIT_DEG + max(_MARGIN_DEG, pixel):
        if np.abs(x).max() <= 3 * _LONGITUDE_LIMIT_DEG:
            return
        beyond = float(np.abs(x).max())
    elif beyond <= 2 * _LONGITUDE_LIMIT_DEG and np.abs(x).max() <= _LATITUDE_LIMIT_DEG:
        raise MapError(
            f"{name} has latitudes up to {beyond:g} degrees: latitude and longitude look swapped; "
            "correct its corners with gdal_translate -a_ullr"
        )
    raise MapError(
        f"{name} is said to be in degrees and reaches to {beyond:g}: its numbers look like metres; "
        "name their projection with gdal_translate -a_srs"
    )


def _check_area_of_use(
    crs: CRS, x: np.typing.NDArray[np.float64], y: np.typing.NDArray[np.float64], name: str
) -> None:
    """Easting and northing exchanged put a raster far outside its projection's country."""
    authority = crs.to_authority()
    if authority is None:
        return
    try:
        area = pyproj.CRS.from_authority(*authority).area_of_use
        box = transform_bounds(crs, CRS.from_epsg(4326), x.min(), y.min(), x.max(), y.max())
    except (*READING_ERRORS, pyproj.exceptions.ProjError):
        return  # what cannot be converted is refused where the frame is made, with the reason
    if area is None or not np.isfinite(box).all():
        return
    west, south, east, north = box
    latitude = (south + north) / 2
    width = (area.east - area.west) % 360.0 or 360.0
    # The middle of a box whose west is above its east lies across the antimeridian.
    longitude = west + (east - west) % 360.0 / 2
    past_west = (longitude - area.west) % 360.0
    outside_east = 0.0 if past_west <= width else min(past_west - width, 360.0 - past_west)
    outside_north = max(area.south - latitude, latitude - area.north, 0.0)
    if max(outside_east, outside_north) > _OUTSIDE_USE_DEG:
        raise MapError(
            f"{name} lies at latitude {latitude:.1f}, longitude {(longitude + 180) % 360 - 180:.1f}"
            f", far outside the area of {name_of(crs)} ({area.name[:80]}): its easting and "
            "northing look swapped, or its projection is another"
        )


def _metres_per_unit(crs: CRS) -> float:
    try:
        return float(crs.linear_units_factor[1])
    except CRSError:
        return 1.0


def name_of(crs: CRS) -> str:
    """EPSG:3857 or the like where there is a code, else PROJ's own notation."""
    authority = crs.to_authority()
    if authority:
        return ":".join(authority)
    # rasterio writes the flags of PROJ's notation as +no_defs=True
    notation = str(crs.to_proj4()).replace("=True", "")
    return notation.replace(" +no_defs", "").strip()
