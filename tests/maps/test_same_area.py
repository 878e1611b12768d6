"""The same area as people may have it, each built into a map: the maps have to be the same."""

from __future__ import annotations

import shutil
from itertools import combinations

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from pyproj import Geod, Transformer
from rasterio.transform import Affine

from dmnil_maps.build import build_map
from dmnil_maps.build_config import BuildConfig
from edge_runtime.contract.region_map import load_region_map
from tests.maps.conftest import (
    TILE_ZOOM,
    Ground,
    paint,
    tile_bounds,
    tiles_of_ground,
    write_geotiff,
    write_tile_folder,
)
from tests.maps.mbtiles import write_mbtiles

GROUND = Ground()
FARTHEST_M = 0.5
LEAST_COSINE = 0.99


def extent_of_tiles():
    """West, south, east and north of the 3 x 3 tiles, in Web Mercator."""
    corners = np.array([tile_bounds(TILE_ZOOM, *tile) for tile in tiles_of_ground()])
    return *corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0)


def write_projected(path, crs):
    """The tiles' area in another projection at another resolution, around the same centre."""
    west, south, east, north = extent_of_tiles()
    to_crs = Transformer.from_crs("EPSG:3857", crs, always_xy=True)
    x, y = to_crs.transform((west + east) / 2, (south + north) / 2)
    width = height = 1240
    transform = Affine(0.5, 0, x - width / 4, 0, -0.5, y + height / 4)
    bands = np.moveaxis(paint(GROUND, crs, transform, width, height), -1, 0)
    return write_geotiff(path, bands, crs, transform)


def write_mercator(path):
    west, _, _, north = extent_of_tiles()
    step = (extent_of_tiles()[2] - west) / 768
    transform = Affine(step, 0, west, 0, -step, north)
    bands = np.moveaxis(paint(GROUND, "EPSG:3857", transform, 768, 768), -1, 0)
    return write_geotiff(path, bands, "EPSG:3857", transform)


def write_tms(folder, tiles):
    for tile in tiles.glob("*/*/*.png"):
        path = folder / tile.parent.relative_to(tiles) / f"{2**TILE_ZOOM - 1 - int(tile.stem)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tile, path)
    (folder / "tilemapresource.xml").write_text(
        '<TileMap><TileSets profile="mercator"></TileSets></TileMap>'
    )
    return folder


def write_vrt(folder, mercator):
    """Two halves of the raster side by side in a VRT, as gdalbuildvrt would write it."""
    folder.mkdir()
    with rasterio.open(mercator) as raster:
        bands, transform = raster.read(), raster.transform
    sources = []
    for name, columns in (("west", slice(0, 400)), ("east", slice(400, 768))):
        place = transform @ Affine.translation(columns.start, 0)
        write_geotiff(folder / f"{name}.tif", bands[:, :, columns], "EPSG:3857", place)
        width = columns.stop - columns.start
        sources.append(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}.tif</SourceFilename>'
            "<SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="768"/>'
            f'<DstRect xOff="{columns.start}" yOff="0" xSize="{width}" ySize="768"/></SimpleSource>'
        )
    numbers = ", ".join(repr(float(number)) for number in transform.to_gdal())
    drawn = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}">'
        f"{''.join(sources).format(band=band)}</VRTRasterBand>"
        for band in (1, 2, 3)
    )
    path = folder / "mosaic.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="768" rasterYSize="768"><SRS>EPSG:3857</SRS>'
        f"<GeoTransform>{numbers}</GeoTransform>{drawn}</VRTDataset>"
    )
    return path


@pytest.fixture(scope="module")
def maps(tmp_path_factory, tiny_encoder):
    folder = tmp_path_factory.mktemp("same")
    tiles = write_tile_folder(folder / "xyz", GROUND)
    mercator = write_mercator(folder / "mercator.tif")
    vrt = write_vrt(folder / "vrt", mercator)
    sources = {
        "utm": write_projected(folder / "utm.tif", "EPSG:32632"),
        "swiss": write_projected(folder / "swiss.tif", "EPSG:2056"),
        "mercator": mercator,
        "vrt": vrt,
        "files": (vrt.parent / "west.tif", vrt.parent / "east.tif"),
        "mbtiles": write_mbtiles(folder / "town.mbtiles", tiles, TILE_ZOOM, format="png"),
        "xyz": tiles,
        "tms": write_tms(folder / "tms", tiles),
    }
    built = {}
    for name, source in sources.items():
        output = folder / f"{name}.map"
        built[name] = load_region_map(
            build_map(BuildConfig(imagery=source, encoder=tiny_encoder, output=output))
        )
    return built


KINDS = ("utm", "swiss", "mercator", "vrt", "files", "mbtiles", "xyz", "tms")
PAIRS = list(combinations(KINDS, 2))


def at_lattice(region_map):
    """Rows of the map in the order of its lattice."""
    tiles = region_map.tiles
    return np.lexsort((tiles["lattice_column"], tiles["lattice_row"]))


def directions(region_map):
    """Descriptors (N, D) back on the encoder's axes, which maps have in common."""
    found = region_map.descriptors_of(slice(None)).astype(np.float64)
    found = found @ np.linalg.pinv(region_map.projection.astype(np.float64))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_tile_centres_agree(maps, one, other):
    tiles = [maps[name].tiles[at_lattice(maps[name])] for name in (one, other)]
    assert len(tiles[0]) == len(tiles[1]) > 250
    _, _, apart_m = Geod(ellps="WGS84").inv(
        *(axis for side in tiles for axis in (side["longitude_deg"], side["latitude_deg"]))
    )
    assert apart_m.max() <= FARTHEST_M


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_descriptors_agree(maps, one, other):
    ours, theirs = (directions(maps[name])[at_lattice(maps[name])] for name in (one, other))
    assert (ours * theirs).sum(axis=1).min() >= LEAST_COSINE
    # And not because all tiles look alike.
    assert (ours * np.roll(theirs, 40, axis=0)).sum(axis=1).mean() < 0.5
