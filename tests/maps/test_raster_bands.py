"""Bands, bit depths and the several ways in which a raster says that it has nothing there."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from dmnil_maps.raster import open_imagery
from tests.maps.conftest import Ground, paint, raster_grid, write_geotiff

CRS = "EPSG:32632"


def ground_bands():
    transform, width, height = raster_grid(CRS)
    return np.moveaxis(paint(Ground(), CRS, transform, width, height), -1, 0), transform


def hole_of(bands):
    hole = np.zeros(bands.shape[1:], bool)
    hole[:, : hole.shape[1] // 2] = True
    return hole


def read_centre(path):
    with open_imagery(path) as imagery:
        return imagery.read(-80.0, 80.0, (1.0, 1.0), 160, 160)


def test_a_grey_raster_is_read_as_rgb(tmp_path):
    bands, transform = ground_bands()
    picture = read_centre(write_geotiff(tmp_path / "grey.tif", bands[:1], CRS, transform))
    assert picture.rgb.std() > 10
    assert (picture.rgb == picture.rgb[..., :1]).all()


def test_a_near_infrared_band_is_left_out(tmp_path):
    bands, transform = ground_bands()
    infrared = np.full_like(bands[:1], 99)
    four = write_geotiff(
        tmp_path / "four.tif", np.concatenate([bands, infrared]), CRS, transform, alpha="no"
    )
    three = write_geotiff(tmp_path / "three.tif", bands, CRS, transform)
    np.testing.assert_array_equal(read_centre(four).rgb, read_centre(three).rgb)
    assert read_centre(four).covered.all()


def test_bands_are_taken_by_their_meaning(tmp_path):
    bands, transform = ground_bands()
    path = write_geotiff(tmp_path / "bgr.tif", bands[::-1], CRS, transform)
    with rasterio.open(path, "r+") as raster:
        raster.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    straight = write_geotiff(tmp_path / "rgb.tif", bands, CRS, transform)
    np.testing.assert_array_equal(read_centre(path).rgb, read_centre(straight).rgb)


@pytest.mark.parametrize("way", ["nodata", "alpha", "mask"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_ground_without_imagery_is_known_as_such(tmp_path, way, dtype):
    bands, transform = ground_bands()
    bands = bands.astype(dtype) + 1
    hole = hole_of(bands)
    more = {}
    if way == "nodata":
        bands[:, hole] = 0
        more = {"nodata": 0}
    if way == "alpha":
        opaque = np.where(hole, 0, np.iinfo(dtype).max).astype(dtype)
        bands, more = np.concatenate([bands, opaque[None]]), {"alpha": "yes"}
    path = write_geotiff(tmp_path / "holed.tif", bands, CRS, transform, photometric="RGB", **more)
    if way == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as raster:
            raster.write_mask(~hole)
    covered = read_centre(path).covered
    assert 0.48 < covered.mean() < 0.52
    assert not covered[:, :70].any()
    assert covered[:, 90:].all()


def test_beyond_the_rasters_edge_is_not_covered(tmp_path):
    bands, transform = ground_bands()
    with open_imagery(write_geotiff(tmp_path / "edge.tif", bands, CRS, transform)) as imagery:
        bounds = imagery.bounds
        picture = imagery.read(bounds.east_m - 50.0, 50.0, (1.0, 1.0), 100, 100)
    assert picture.covered[:, :45].all()
    assert not picture.covered[:, 55:].any()


def test_16_bits_are_scaled_by_percentiles(tmp_path):
    bands, transform = ground_bands()
    deep = bands.astype(np.uint16) * 37 + 2000
    deep[:, :4, :4] = 65535  # a few hot pixels must not darken the rest
    shallow = read_centre(write_geotiff(tmp_path / "8.tif", bands, CRS, transform)).rgb
    scaled = read_centre(write_geotiff(tmp_path / "16.tif", deep, CRS, transform)).rgb
    assert scaled.min() < 15
    assert scaled.max() > 240
    assert np.corrcoef(scaled.ravel(), shallow.ravel())[0, 1] > 0.99


def test_16_bits_leave_nodata_out_of_the_percentiles(tmp_path):
    bands, transform = ground_bands()
    deep = bands.astype(np.uint16) * 37 + 2000
    whole = read_centre(write_geotiff(tmp_path / "whole.tif", deep, CRS, transform)).rgb
    deep[:, :100] = 0
    holed = read_centre(write_geotiff(tmp_path / "h.tif", deep, CRS, transform, nodata=0)).rgb
    assert np.abs(whole.astype(float) - holed).mean() < 8
