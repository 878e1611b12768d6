"""What a user is told about imagery that no map can be made of."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from dmnil_maps.raster import open_imagery
from edge_runtime.contract.errors import MapError
from tests.maps.conftest import Ground, write_geotiff, write_ground, write_tile_folder

PIXELS = np.full((3, 256, 256), 90, np.uint8)


def refuse(path, zoom=None):
    """The one line that opening and reading such imagery ends with."""
    with pytest.raises(MapError) as caught, open_imagery(path, zoom) as imagery:
        imagery.read(-200.0, 200.0, (1.0, 1.0), 400, 400)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_missing_file(tmp_path):
    assert "no such file or folder" in refuse(tmp_path / "none.tif")


def test_a_file_that_is_no_raster(tmp_path):
    path = tmp_path / "notes.tif"
    path.write_text("not a raster")
    assert "not a raster that GDAL can read" in refuse(path)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (None, Affine.identity()),
        ("EPSG:32632", Affine.identity()),
        (None, Affine(1, 0, 5, 0, -1, 5)),
    ],
)
def test_a_raster_without_georeference(tmp_path, crs, transform):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        path = write_geotiff(tmp_path / "plain.tif", PIXELS, crs, transform)
    assert "has no georeference" in refuse(path)


def test_a_projection_that_cannot_reach_wgs84(tmp_path):
    crs = 'LOCAL_CS["site grid",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    path = write_geotiff(tmp_path / "site.tif", PIXELS, crs, Affine(1, 0, 100, 0, -1, 900))
    assert "check its georeference" in refuse(path)


def test_a_raster_of_half_the_world(tmp_path):
    path = write_geotiff(
        tmp_path / "world.tif", PIXELS, "EPSG:4326", Affine(1, 0, -180, 0, -0.7, 90)
    )
    assert "cut it to a region" in refuse(path)


def test_a_raster_that_is_cut_short(tmp_path):
    path = write_ground(tmp_path / "cut.tif", Ground(), "EPSG:32632")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    assert "cannot be read" in refuse(path)


def test_an_empty_folder(tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    assert "holds no XYZ tiles" in refuse(folder)


def test_a_folder_of_pictures_that_are_not_tiles(tmp_path):
    folder = write_tile_folder(tmp_path / "tiles", Ground()) / "17"
    assert "holds no XYZ tiles" in refuse(folder)


def test_a_tile_folder_whose_pictures_are_all_broken(tmp_path):
    path = tmp_path / "tiles" / "17" / "5" / "6.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"broken")
    assert "no readable tiles" in refuse(tmp_path / "tiles")


def test_a_tile_number_that_its_zoom_does_not_have(tmp_path):
    path = tmp_path / "tiles" / "3" / "5" / "8.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert "tile numbers 0 to 7" in refuse(tmp_path / "tiles")


def test_a_zoom_that_is_not_there(tmp_path):
    folder = write_tile_folder(tmp_path / "tiles", Ground())
    assert "no zoom 18, only 17" in refuse(folder, zoom=18)


def test_a_zoom_of_a_geotiff(tmp_path):
    path = write_ground(tmp_path / "utm.tif", Ground(), "EPSG:32632")
    assert "tile folders and MBTiles only" in refuse(path, zoom=17)
