"""Elevations in a map: cut from a terrain model, carried by cuts, merges and updates."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import rasterio
from pyproj import Transformer

from dmnil_maps.cli import main
from dmnil_maps.describe import verify_map
from edge_runtime.contract.region_map import load_region_map
from tests.maps.conftest import LATITUDE_DEG, LONGITUDE_DEG, Ground, write_ground


def slope(latitude_deg, longitude_deg):
    """Rises by 300 m a degree to the east, falls by 200 m a degree to the north."""
    return 450.0 + 3e3 * (longitude_deg - LONGITUDE_DEG) - 2e3 * (latitude_deg - LATITUDE_DEG)


def write_model(path, reach_deg=0.02, crs="EPSG:4326", away_deg=0.0):
    """The slope as a raster of elevations, in degrees or in metres."""
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    x, y = to_degrees.transform(LONGITUDE_DEG, LATITUDE_DEG, direction="INVERSE")
    x += away_deg
    reach = reach_deg if crs == "EPSG:4326" else reach_deg * 111_000
    size = 200
    step = 2 * reach / size
    column, row = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    longitude, latitude = to_degrees.transform(x - reach + column * step, y + reach - row * step)
    elevation = slope(latitude, longitude).astype(np.float32)
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=1, dtype="float32", crs=crs,
        transform=rasterio.Affine(step, 0, x - reach, 0, -step, y + reach), nodata=-9999.0,
    ) as raster:  # fmt: skip
        raster.write(elevation, 1)
    return path


def build(source, encoder, output, *more):
    arguments = ["build", str(source), "--encoder", str(encoder), "-o", str(output)]
    return main([*arguments, "--threads", "1", *more])


@pytest.fixture(scope="module")
def imagery(tmp_path_factory):
    return write_ground(tmp_path_factory.mktemp("raster") / "ground.tif", Ground(), "EPSG:32632")


@pytest.fixture(scope="module")
def built(tmp_path_factory, imagery, tiny_encoder):
    folder = tmp_path_factory.mktemp("terrain")
    model = write_model(folder / "model.tif")
    assert build(imagery, tiny_encoder, folder / "m.map", "--terrain", str(model)) == 0
    return load_region_map(folder / "m.map")


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632", "EPSG:3857"])
def test_elevations_stand_where_the_model_has_them(tmp_path, imagery, tiny_encoder, crs):
    model = write_model(tmp_path / "model.tif", crs=crs)
    output = tmp_path / "m.map"
    options = ["--terrain", str(model), "--terrain_resolution_m", "25"]
    assert build(imagery, tiny_encoder, output, *options) == 0
    region_map = load_region_map(output)
    verify_map(output)
    assert region_map.terrain.geometry.spacing_m == 25.0
    places = np.random.default_rng(1).uniform(-500, 500, (60, 2))
    expected = slope(*region_map.frame.to_geodetic(places))
    np.testing.assert_allclose(region_map.terrain.elevation_m(places), expected, atol=0.15)


def test_the_grid_reaches_to_where_a_drone_may_be(built):
    centres = built.frame.to_local(built.tiles["latitude_deg"], built.tiles["longitude_deg"])
    corners = np.stack([centres.min(axis=0) - 550, centres.max(axis=0) + 550])
    assert np.isfinite(built.terrain.elevation_m(corners)).all()


def test_the_grid_is_as_fine_as_the_model(built):
    # A pixel of 0.0002 degrees, 22.2 m to the north and 15.1 m to the east.
    assert 15.0 < built.terrain.geometry.spacing_m < 23.0


def test_info_tells_of_the_terrain(built, capsys):
    assert main(["info", str(built.folder)]) == 0
    assert "every " in next(
        line for line in capsys.readouterr().out.splitlines() if line.startswith("terrain")
    )
    assert main(["info", str(built.folder), "--json"]) == 0
    terrain = json.loads(capsys.readouterr().out)["terrain"]
    assert 400 < terrain["lowest_m"] < 450 < terrain["highest_m"] < 500


def cut(region_map, output, *bounds_m):
    west, south, east, north = bounds_m
    latitude, longitude = region_map.frame.to_geodetic([[west, south], [east, north]])
    numbers = (longitude[0], latitude[0], longitude[1], latitude[1])
    bounds = ",".join(repr(float(value)) for value in numbers)
    assert main(["cut", str(region_map.folder), "-o", str(output), f"--bounds={bounds}"]) == 0
    return load_region_map(output)


def test_cuts_and_their_merge_carry_the_same_points(built, tmp_path):
    west = cut(built, tmp_path / "west.map", -230.0, -170.0, -90.0, 170.0)
    east = cut(built, tmp_path / "east.map", 90.0, -170.0, 230.0, 170.0)
    assert west.terrain.steps.size < built.terrain.steps.size
    places = np.random.default_rng(1).uniform(-200, -100, (40, 2))
    expected = built.terrain.elevation_m(places)
    np.testing.assert_allclose(west.terrain.elevation_m(places), expected, atol=0.11)
    parts = [str(part.folder) for part in (west, east)]
    assert main(["merge", *parts, "-o", str(tmp_path / "both.map")]) == 0
    merged = load_region_map(tmp_path / "both.map")
    far = np.array([[-600.0, 0.0], [0.0, 0.0], [600.0, 0.0]])
    np.testing.assert_allclose(
        merged.terrain.elevation_m(far), built.terrain.elevation_m(far), atol=0.11
    )


def test_an_update_keeps_the_terrain(built, imagery, tiny_encoder, tmp_path):
    output = tmp_path / "new.map"
    arguments = ["--imagery", str(imagery), "--encoder", str(tiny_encoder), "-o", str(output)]
    assert main(["update", str(built.folder), *arguments, "--threads", "1"]) == 0
    updated = load_region_map(output).terrain
    np.testing.assert_array_equal(updated.steps, built.terrain.steps)
    assert updated.geometry == built.terrain.geometry


def test_a_model_of_a_part_leaves_the_rest_unknown(tmp_path, imagery, tiny_encoder):
    model = write_model(tmp_path / "model.tif", reach_deg=0.002)
    assert build(imagery, tiny_encoder, tmp_path / "m.map", "--terrain", str(model)) == 0
    terrain = load_region_map(tmp_path / "m.map").terrain
    assert np.isfinite(terrain.elevation_m([0.0, 0.0]))
    assert np.isnan(terrain.elevation_m([500.0, 500.0]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: write_model(path, away_deg=0.5), "model.tif: .* no elevation within the map"),
        (lambda path: path.write_text("no raster") and path, "cannot be read as terrain"),
        (lambda path: path, "cannot be read as terrain"),
    ],
)
def test_a_model_that_is_none_is_refused_in_one_line(
    tmp_path, imagery, tiny_encoder, capsys, make, words
):
    model = make(tmp_path / "model.tif")
    assert build(imagery, tiny_encoder, tmp_path / "m.map", "--terrain", str(model)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(words, error), error
    assert not (tmp_path / "m.map").exists()
