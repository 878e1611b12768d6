"""One painted ground, written as rasters of several projections."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from pyproj import CRS, Transformer
from rasterio.transform import Affine

from dmnil_maps.raster import Imagery
from dmnil_maps.tiling import tile_windows
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MapLevel
from tests.tiny_encoder import write_tiny_encoder

LATITUDE_DEG, LONGITUDE_DEG = 47.3769, 8.5417
MARKER_SIGMA_M = 6.0
TILE_ZOOM = 17


@dataclass(frozen=True)
class Ground:
    """A smooth random texture on true metres, with bright spots on top of it."""

    markers: tuple[tuple[float, float], ...] = ()
    texture: bool = True

    def colours(self, latitude_deg: np.ndarray, longitude_deg: np.ndarray) -> np.ndarray:
        """RGB (..., 3) of places on the ground."""
        east, north = np.moveaxis(_FRAME.to_local(latitude_deg, longitude_deg), -1, 0)
        picture = np.full((*east.shape, 3), 20.0, np.float32)
        if self.texture:
            cells = np.random.default_rng(5).uniform(10, 200, (128, 128, 3)).astype(np.float32)
            column, row = (np.asarray(axis / 20.0 + 64.0, np.float32) for axis in (east, -north))
            picture = cv2.remap(cells, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        for place in self.markers:
            marker_east, marker_north = _FRAME.to_local(*place)
            squared = (east - marker_east) ** 2 + (north - marker_north) ** 2
            spot = np.exp(-squared / (2 * MARKER_SIGMA_M**2))[..., None]
            picture = picture + (255.0 - picture) * spot
        return np.rint(picture).astype(np.uint8)


_FRAME = LocalFrame(LATITUDE_DEG, LONGITUDE_DEG)

GEOTIFF_PROJECTIONS = {
    "utm": "EPSG:32632",
    "web_mercator": "EPSG:3857",
    "degrees": "EPSG:4326",
}


def paint(ground: Ground, crs: str, transform: Affine, width: int, height: int) -> np.ndarray:
    """The ground (height, width, 3) as pixels of a raster of any projection."""
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x = transform.a * column + transform.b * row + transform.c
    y = transform.d * column + transform.e * row + transform.f
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    return ground.colours(latitude, longitude)


def write_geotiff(
    path: Path, bands: np.ndarray, crs: str | None, transform: Affine | None, **more: Any
):
    """Write bands (B, h, w) as a tiled GeoTIFF."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype=bands.dtype,
        count=len(bands),
        height=bands.shape[1],
        width=bands.shape[2],
        crs=crs,
        tiled=True,
        blockxsize=128,
        blockysize=128,
        **({} if transform is None else {"transform": transform}),
        **more,
    ) as raster:
        raster.write(bands)
    return path


def raster_grid(crs: str, half_width_m: float = 260.0, half_height_m: float = 210.0, pixel_m=1.0):
    """Transform, width and height of a north-up raster around the ground's centre."""
    to_crs = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to_crs.transform(LONGITUDE_DEG, LATITUDE_DEG)
    width, height = (int(2 * half / pixel_m) for half in (half_width_m, half_height_m))
    if CRS.from_user_input(crs).is_geographic:
        pixel_x = pixel_m / (111_320.0 * math.cos(math.radians(LATITUDE_DEG)))
        pixel_y = pixel_m / 111_180.0
    elif crs == "EPSG:3857":
        pixel_x = pixel_y = pixel_m / math.cos(math.radians(LATITUDE_DEG))
    else:
        pixel_x = pixel_y = pixel_m
    # A corner off any round number, so that nothing falls into place by itself.
    west, north = x - (width / 2 + 0.37) * pixel_x, y + (height / 2 + 0.21) * pixel_y
    return Affine(pixel_x, 0, west, 0, -pixel_y, north), width, height


def write_ground(path: Path, ground: Ground, crs: str, **more: Any) -> Path:
    """Write the ground as a GeoTIFF of a projection."""
    transform, width, height = raster_grid(crs)
    bands = np.moveaxis(paint(ground, crs, transform, width, height), -1, 0)
    return write_geotiff(path, bands, crs, transform, **more)


def tile_bounds(zoom: int, x: int, y: int) -> tuple[float, float, float, float]:
    """West, south, east and north of an XYZ tile in Web Mercator, by the scheme's definition."""
    half = math.pi * 6378137.0
    side = 2 * half / 2**zoom
    return -half + x * side, half - (y + 1) * side, -half + (x + 1) * side, half - y * side


def tiles_of_ground(zoom: int = TILE_ZOOM) -> list[tuple[int, int]]:
    """Numbers (x, y) of 3 x 3 tiles around the ground's centre: about 620 m at zoom 17."""
    scale = 2**zoom
    x = int((LONGITUDE_DEG + 180.0) / 360.0 * scale)
    latitude = math.radians(LATITUDE_DEG)
    y = int((1.0 - math.asinh(math.tan(latitude)) / math.pi) / 2.0 * scale)
    return [(x + i, y + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]


def write_tile_folder(folder: Path, ground: Ground, suffix: str = ".png") -> Path:
    """Write the ground as XYZ tiles."""
    for x, y in tiles_of_ground():
        west, south, east, north = tile_bounds(TILE_ZOOM, x, y)
        transform = Affine((east - west) / 256, 0, west, 0, (south - north) / 256, north)
        picture = paint(ground, "EPSG:3857", transform, 256, 256)
        path = folder / str(TILE_ZOOM) / str(x) / f"{y}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return folder


def write_imagery(folder: Path, kind: str, ground: Ground) -> Path:
    """Write the ground as one of the kinds: a key of GEOTIFF_PROJECTIONS, or 'tiles'."""
    if kind == "tiles":
        return write_tile_folder(folder / "tiles", ground)
    return write_ground(folder / f"{kind}.tif", ground, GEOTIFF_PROJECTIONS[kind])


def tile_pictures(
    imagery: Imagery, level: MapLevel, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N, height, width, 3) of the tiles that a map would hold, and places (N, 2)."""
    windows = [window for window in tile_windows(imagery, level, width, height) if window.kept]
    return np.stack([window.rgb for window in windows]), np.array([w.place for w in windows])


KINDS = [*GEOTIFF_PROJECTIONS, "tiles"]


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny.encoder")


@pytest.fixture(scope="session")
def imagery_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The plain textured ground, written once a kind."""
    folder = tmp_path_factory.mktemp("imagery")
    written: dict[str, Path] = {}

    def path_of(kind: str) -> Path:
        if kind not in written:
            written[kind] = write_imagery(folder, kind, Ground())
        return written[kind]

    return path_of
