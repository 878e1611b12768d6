"""Places on Earth at the edges of maps, and places that cannot be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.transform import Affine

from dmnil_maps.raster import open_imagery
from dmnil_maps.sources.georeference import name_of
from edge_runtime.contract.errors import MapError
from tests.maps.conftest import tile_bounds, write_geotiff
from tests.maps.mbtiles import write_mbtiles

ZOOM = 17
TILE_PX = 256
SIGMA_M = 6.0
PIXELS = np.full((3, 256, 256), 90, np.uint8)


def paint_spot(crs, transform, width, height, latitude, longitude):
    """A dark raster with one bright spot of 6 m at a place on Earth, by PROJ alone."""
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = (np.asarray(axis) for axis in transform @ (column, row))
    frame = f"+proj=ortho +lat_0={latitude} +lon_0={longitude} +datum=WGS84"
    east, north = Transformer.from_crs(crs, frame, always_xy=True).transform(x, y)
    spot = np.exp(-(np.square(east) + np.square(north)) / (2 * SIGMA_M**2))
    return np.repeat(np.rint(20 + 235 * spot).astype(np.uint8)[None], 3, axis=0)


def write_around(path, crs, latitude, longitude, spot, pixel=0.5, side=1000):
    """A raster around a place with a spot at another."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, latitude)
    if crs == "EPSG:4326":
        steps = pixel / (111_320.0 * np.cos(np.radians(latitude))), pixel / 111_180.0
    elif crs == "EPSG:3857":
        steps = (pixel / np.cos(np.radians(latitude)),) * 2
    else:
        steps = pixel, pixel
    west, north = x - (side / 2 + 0.3) * steps[0], y + (side / 2 + 0.2) * steps[1]
    transform = Affine(steps[0], 0, west, 0, -steps[1], north)
    return write_geotiff(path, paint_spot(crs, transform, side, side, *spot), crs, transform)


def assert_spot_in_place(sources, spot, tolerance_m=0.05):
    """The spot's centre of mass lies where PROJ puts it in the imagery's frame."""
    with open_imagery(sources) as imagery:
        frame = imagery.frame
        to_frame = Transformer.from_crs(
            "EPSG:4326",
            f"+proj=ortho +lat_0={frame.latitude_deg} +lon_0={frame.longitude_deg} +datum=WGS84",
            always_xy=True,
        )
        expected = np.array(to_frame.transform(spot[1], spot[0]))
        assert np.abs(expected).max() > 20.0
        west, north = expected[0] - 40.13, expected[1] + 39.71
        picture = imagery.read(west, north, (0.5, 0.5), 160, 160)
        assert picture.covered.all()
        bounds = imagery.bounds
        assert max(bounds.width_m, bounds.height_m) < 2000.0
    weight = picture.rgb[..., 0].astype(np.float64) - 20.0
    along = (np.arange(160) + 0.5) * 0.5
    found = (
        west + (weight.sum(axis=0) @ along) / weight.sum(),
        north - (weight.sum(axis=1) @ along) / weight.sum(),
    )
    np.testing.assert_allclose(found, expected, atol=tolerance_m)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326", "EPSG:3995"])
def test_72_degrees_north(tmp_path, crs):
    spot = (72.0009, 15.0021)
    assert_spot_in_place(write_around(tmp_path / "n.tif", crs, 72.0, 15.0, spot), spot)


@pytest.mark.parametrize("crs", ["EPSG:32701", "EPSG:32760", "EPSG:4326", "EPSG:3832"])
@pytest.mark.parametrize("spot", [(-16.8004, 179.9993), (-16.8004, -179.9993)])
def test_a_raster_across_the_antimeridian(tmp_path, crs, spot):
    path = write_around(tmp_path / "fiji.tif", crs, -16.8, 180.0, spot)
    assert_spot_in_place(path, spot)


@pytest.mark.parametrize("order", [1, -1])
def test_two_rasters_that_meet_at_the_antimeridian(tmp_path, order):
    spot = (-16.8004, -179.9985)
    east = write_around(tmp_path / "e.tif", "EPSG:3857", -16.8, 179.997, spot)
    west = write_around(tmp_path / "w.tif", "EPSG:4326", -16.8, -179.997, spot)
    assert_spot_in_place([east, west][::order], spot)


def write_tiles_around_antimeridian(folder, spot):
    """Two columns of tiles: the last of the world and the first."""
    latitude = np.radians(spot[0])
    middle = int((1.0 - np.arcsinh(np.tan(latitude)) / np.pi) / 2.0 * 2**ZOOM)
    for x in (2**ZOOM - 1, 0):
        for y in range(middle - 1, middle + 2):
            west, south, east, north = tile_bounds(ZOOM, x, y)
            step = (east - west) / TILE_PX
            transform = Affine(step, 0, west, 0, -(north - south) / TILE_PX, north)
            picture = paint_spot("EPSG:3857", transform, TILE_PX, TILE_PX, *spot)
            path = folder / str(ZOOM) / str(x) / f"{y}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), np.ascontiguousarray(np.moveaxis(picture, 0, -1)))
    return folder


@pytest.mark.parametrize("spot", [(-16.8004, 179.9985), (-16.8004, -179.9985)])
def test_tiles_on_both_sides_of_the_antimeridian(tmp_path, spot):
    tiles = write_tiles_around_antimeridian(tmp_path / "tiles", spot)
    assert_spot_in_place(tiles, spot)
    path = write_mbtiles(tmp_path / "fiji.mbtiles", tiles, ZOOM, format="png")
    assert_spot_in_place(path, spot)


def refuse(path, **more):
    with pytest.raises(MapError) as caught, open_imagery(path, **more):
        pass
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def write_plain(path, crs, transform):
    return write_geotiff(path, PIXELS, crs, transform)


def test_latitude_and_longitude_swapped(tmp_path):
    # Sydney: longitude 151, latitude -34.
    path = write_plain(tmp_path / "s.tif", "EPSG:4326", Affine(1e-5, 0, -33.8, 0, -1e-5, 151.2))
    message = refuse(path)
    assert "latitudes up to 151.2 degrees" in message
    assert "latitude and longitude look swapped" in message


def test_metres_said_to_be_degrees(tmp_path):
    path = write_plain(tmp_path / "m.tif", "EPSG:4326", Affine(1, 0, 465_000, 0, -1, 5_247_000))
    assert "its numbers look like metres" in refuse(path)
    path = write_plain(tmp_path / "l.tif", "EPSG:4326", Affine(1e-5, 0, 2600, 0, -1e-5, 47))
    assert "its numbers look like metres" in refuse(path)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857"])
def test_degrees_said_to_be_metres(tmp_path, crs):
    path = write_plain(tmp_path / "d.tif", crs, Affine(1e-5, 0, 8.5, 0, -1e-5, 47.4))
    assert "its numbers look like degrees" in refuse(path)


def test_a_local_grid_close_to_its_origin_is_no_degrees(tmp_path):
    crs = "+proj=tmerc +lat_0=47 +lon_0=8 +datum=WGS84"
    path = write_plain(tmp_path / "site.tif", crs, Affine(0.02, 0, 8.5, 0, -0.02, 47.4))
    with open_imagery(path) as imagery:
        assert imagery.ground_sample_distance_m == pytest.approx(0.02, rel=1e-3)


def test_easting_and_northing_swapped(tmp_path):
    path = write_plain(tmp_path / "x.tif", "EPSG:32632", Affine(1, 0, 5_247_000, 0, -1, 465_000))
    message = refuse(path)
    assert "far outside the area of EPSG:32632" in message
    assert "easting and northing look swapped" in message


def test_a_place_a_little_outside_its_projections_area_is_taken(tmp_path):
    spot = (60.0009, 15.0021)  # two zones east of zone 31
    assert_spot_in_place(write_around(tmp_path / "z.tif", "EPSG:32631", 60.0, 15.0, spot), spot)


def test_a_georeference_without_extent(tmp_path):
    path = write_plain(tmp_path / "flat.tif", "EPSG:32632", Affine(1, 0, 5e5, 1, 0, 5e6))
    assert "georeference without extent" in refuse(path)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("EPSG:32632", "EPSG:32632"),
        (
            "+proj=ortho +lat_0=47 +lon_0=9 +datum=WGS84 +units=m +no_defs",
            "+proj=ortho +lat_0=47 +lon_0=9 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
        ),
        (
            "+proj=utm +zone=19 +south +datum=WGS84 +units=us-ft +no_defs",
            "+proj=utm +zone=19 +south +datum=WGS84 +units=us-ft",
        ),
    ],
)
def test_a_reference_system_is_named_as_proj_writes_it(given: str, name: str) -> None:
    assert name_of(CRS.from_string(given)) == name
