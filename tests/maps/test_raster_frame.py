"""Where the ground appears once a raster is warped into the map's frame."""

from __future__ import annotations

import numpy as np
import pytest
from pyproj import Transformer
from rasterio.transform import Affine

from dmnil_maps.raster import open_imagery
from tests.maps.conftest import (
    KINDS,
    LATITUDE_DEG,
    LONGITUDE_DEG,
    Ground,
    paint,
    raster_grid,
    write_geotiff,
    write_ground,
    write_imagery,
)

MARKER = (LATITUDE_DEG + 0.0006, LONGITUDE_DEG - 0.0009)


def marker_by_pyproj(imagery):
    """The marker in the imagery's frame, by PROJ and not by the project's own geodesy."""
    frame = imagery.frame
    to_frame = Transformer.from_crs(
        "EPSG:4326",
        f"+proj=ortho +lat_0={frame.latitude_deg} +lon_0={frame.longitude_deg} +datum=WGS84",
        always_xy=True,
    )
    return np.array(to_frame.transform(MARKER[1], MARKER[0]))


def marker_in_picture(imagery, expected, metres_per_pixel=0.5):
    """The bright spot's centre of mass in metres, looked for around the expected place."""
    pixels = 160
    # Off the expected place by parts of a pixel, so that symmetry cannot hide an error.
    west = expected[0] - pixels / 2 * metres_per_pixel + 0.13
    north = expected[1] + pixels / 2 * metres_per_pixel - 0.29
    picture = imagery.read(west, north, (metres_per_pixel, metres_per_pixel), pixels, pixels)
    weight = picture.rgb[..., 0].astype(np.float64) - 20.0
    along = (np.arange(pixels) + 0.5) * metres_per_pixel
    column = (weight.sum(axis=0) @ along) / weight.sum()
    row = (weight.sum(axis=1) @ along) / weight.sum()
    return np.array([west + column, north - row])


def assert_marker_in_place(path, tolerance_m=0.05):
    with open_imagery(path) as imagery:
        expected = marker_by_pyproj(imagery)
        assert np.abs(expected).max() > 30.0
        for metres_per_pixel in (0.5, 1.25):
            found = marker_in_picture(imagery, expected, metres_per_pixel)
            np.testing.assert_allclose(found, expected, atol=tolerance_m)


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_on_earth_appears_where_proj_says(tmp_path, kind):
    ground = Ground(markers=(MARKER,), texture=False)
    assert_marker_in_place(write_imagery(tmp_path, kind, ground))


def test_a_rotated_raster_is_turned_north_up(tmp_path):
    transform, width, height = raster_grid("EPSG:32632")
    cosine, sine = np.cos(0.47), np.sin(0.47)
    turned = Affine(cosine, sine, transform.c - 90.0, sine, -cosine, transform.f - 120.0)
    ground = Ground(markers=(MARKER,), texture=False)
    bands = np.moveaxis(paint(ground, "EPSG:32632", turned, width, height), -1, 0)
    assert_marker_in_place(write_geotiff(tmp_path / "turned.tif", bands, "EPSG:32632", turned))


def test_a_raster_on_another_datum_is_shifted_to_wgs84(tmp_path):
    # Swiss CH1903 / LV03: its datum lies over 100 m from WGS84.
    ground = Ground(markers=(MARKER,), texture=False)
    assert_marker_in_place(write_ground(tmp_path / "swiss.tif", ground, "EPSG:21781"), 1.0)


def test_a_window_that_starts_at_the_origin_is_read_like_any_other(imagery_of):
    # GDAL takes a transform of (0, 0) and steps of 1 for none at all.
    with open_imagery(imagery_of("utm")) as imagery:
        at_origin = imagery.read(0.0, 0.0, (1.0, 1.0), 100, 100)
        beside = imagery.read(-1.0, 1.0, (1.0, 1.0), 101, 101)
    assert at_origin.covered.all()
    assert np.abs(at_origin.rgb.astype(float) - beside.rgb[1:, 1:]).max() <= 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_the_frame_starts_at_the_rasters_centre_and_its_metres_are_true(imagery_of, kind):
    with open_imagery(imagery_of(kind)) as imagery:
        bounds = imagery.bounds
        assert imagery.frame.latitude_deg == round(imagery.frame.latitude_deg, 6)
        assert abs(bounds.west_m + bounds.east_m) < 1.0
        assert abs(bounds.south_m + bounds.north_m) < 1.0
        # Zoom 17 has 1.194 m a pixel at the equator, here times the latitude's cosine.
        true_metres = 0.8086 if kind == "tiles" else 1.0
        assert imagery.ground_sample_distance_m == pytest.approx(true_metres, rel=5e-3)


def test_the_same_ground_looks_the_same_from_every_projection(imagery_of):
    pictures = []
    for kind in KINDS:
        with open_imagery(imagery_of(kind)) as imagery:
            east, north = imagery.frame.to_local(LATITUDE_DEG, LONGITUDE_DEG)
            pictures.append(
                imagery.read(east - 96, north + 96, (1.5, 1.5), 128, 128).rgb.astype(float)
            )
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).mean() < 2.0
