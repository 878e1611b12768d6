"""The satellite picture: straight down, north up, and its georeference."""

from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray

from dmnil_maps.sample_world.appearance import Appearance
from dmnil_maps.sample_world.raster_window import RasterWindow
from dmnil_maps.sample_world.scene_index import SceneIndex
from dmnil_maps.sample_world.sensor import expose
from dmnil_maps.sample_world.surface import SurfacePainter
from dmnil_maps.sample_world.world import World
from edge_runtime.contract.geodesy import LocalFrame

PAINT_RESOLUTION_M = 0.25
STRIP_M = 256.0


def render_satellite(
    world: World, appearance: Appearance, ground_sample_distance_m: float
) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of the whole world, north up; the world's centre is the picture's centre.

    Raises:
        ValueError: If the ground sample distance is not positive.
    """
    if ground_sample_distance_m <= 0:
        raise ValueError(
            f"ground_sample_distance_m is {ground_sample_distance_m}: must be positive"
        )
    side = round(world.size_m / ground_sample_distance_m)
    finer = max(1, round(ground_sample_distance_m / PAINT_RESOLUTION_M))
    fine_m = ground_sample_distance_m / finer
    painter = SurfacePainter(SceneIndex(world), appearance)
    picture = np.zeros((side, side, 3), np.uint8)
    strip = max(1, round(STRIP_M / ground_sample_distance_m))
    west, north = -side * ground_sample_distance_m / 2, side * ground_sample_distance_m / 2
    for top in range(0, side, strip):
        for left in range(0, side, strip):
            rows, columns = min(strip, side - top), min(strip, side - left)
            window = RasterWindow(
                west + left * ground_sample_distance_m,
                north - top * ground_sample_distance_m,
                fine_m,
                rows * finer,
                columns * finer,
            )
            colour = painter.paint(window).colour
            small = cv2.resize(colour, (columns, rows), interpolation=cv2.INTER_AREA)
            picture[top : top + rows, left : left + columns] = small
    result = np.empty_like(picture)
    for top in range(0, side, strip):  # by strips: the sensor's floats need eight times the memory
        halo = 4
        first, last = max(0, top - halo), min(side, top + strip + halo)
        exposed = expose(picture[first:last], appearance, appearance.haze, world.seed + top)
        result[top : min(side, top + strip)] = exposed[top - first : top - first + strip]
    return result


def write_geotiff(
    path: Path,
    image: NDArray[np.uint8],
    origin_latitude_deg: float,
    origin_longitude_deg: float,
    ground_sample_distance_m: float,
) -> None:
    """Write a picture whose centre is the world's origin as a tiled, JPEG-compressed GeoTIFF.

    Its reference system is the plane tangent to WGS84 at the origin (`LocalFrame`), in which the
    world's east and north are exact.
    """
    height, width = image.shape[:2]
    frame = LocalFrame(origin_latitude_deg, origin_longitude_deg)
    beside = path.with_name(f".{path.stem}.partial.tif")
    with rasterio.open(
        beside,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=3,
        dtype="uint8",
        crs=rasterio.CRS.from_proj4(frame.proj_string),
        transform=rasterio.Affine(
            ground_sample_distance_m,
            0.0,
            -width * ground_sample_distance_m / 2,
            0.0,
            -ground_sample_distance_m,
            height * ground_sample_distance_m / 2,
        ),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="jpeg",
        jpeg_quality=88,
        photometric="ycbcr",
    ) as raster:
        raster.write(np.moveaxis(image, -1, 0))
    beside.replace(path)
