"""Tile folders as they come: mixed formats, gaps, broken pictures, several zooms."""

from __future__ import annotations

import logging

import cv2
import numpy as np
import pytest
from pyproj import Transformer

from dmnil_maps.raster import open_imagery
from edge_runtime.contract.errors import MapError
from tests.maps.conftest import (
    TILE_ZOOM,
    Ground,
    tile_bounds,
    tiles_of_ground,
    write_tile_folder,
)

GROUND = Ground()


def tile_file(folder, number, suffix=".png"):
    x, y = tiles_of_ground()[number]
    return folder / str(TILE_ZOOM) / str(x) / f"{y}{suffix}"


def picture_of_tile(folder, number):
    """100 m of ground around a tile's centre."""
    west, south, east, north = tile_bounds(TILE_ZOOM, *tiles_of_ground()[number])
    to_degrees = Transformer.from_crs("EPSG:3857", "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform((west + east) / 2, (south + north) / 2)
    with open_imagery(folder) as imagery:
        centre = imagery.frame.to_local(latitude, longitude)
        return imagery.read(centre[0] - 50, centre[1] + 50, (1.0, 1.0), 100, 100)


@pytest.fixture
def folder(tmp_path):
    return write_tile_folder(tmp_path / "tiles", GROUND)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_other_formats_show_the_same_ground(tmp_path, folder, suffix):
    other = write_tile_folder(tmp_path / "other", GROUND, suffix)
    expected = picture_of_tile(folder, 4).rgb.astype(float)
    assert np.abs(picture_of_tile(other, 4).rgb - expected).mean() < 4.0


def test_formats_may_be_mixed(tmp_path, folder):
    expected = picture_of_tile(folder, 4).rgb.astype(float)
    picture = cv2.imread(str(tile_file(folder, 4)))
    tile_file(folder, 4).unlink()
    assert cv2.imwrite(str(tile_file(folder, 4, ".jpg")), picture)
    assert np.abs(picture_of_tile(folder, 4).rgb - expected).mean() < 4.0


def test_a_missing_tile_is_ground_without_imagery(folder):
    tile_file(folder, 4).unlink()
    assert not picture_of_tile(folder, 4).covered.any()
    assert picture_of_tile(folder, 5).covered.all()


def widen(folder, times=11):
    """Surround the ground's tiles with copies of one, so that one tile is less than 1 %."""
    first_x, first_y = (number - times // 2 for number in tiles_of_ground()[4])
    content = tile_file(folder, 0).read_bytes()
    for x, y in np.ndindex(times, times):
        path = folder / str(TILE_ZOOM) / str(first_x + x) / f"{first_y + y}.png"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_bytes(content)


@pytest.mark.parametrize("content", [b"\x89PNG broken", b"cut"])
def test_a_broken_tile_is_left_out_named_and_counted(folder, caplog, content):
    whole = tile_file(folder, 4).read_bytes()
    tile_file(folder, 4).write_bytes(whole[: len(whole) // 2] if content == b"cut" else content)
    widen(folder)
    with caplog.at_level(logging.WARNING), open_imagery(folder) as imagery:
        bounds = imagery.bounds
        picture = imagery.read(bounds.west_m, bounds.north_m, (4.0, 4.0), 571, 569)
        assert imagery.damage.blocks == 1
        assert imagery.damage.blocks_read == 121
    assert caplog.text.count(str(tile_file(folder, 4))) == 1
    assert 0.985 < picture.covered[5:-5, 5:-5].mean() < 0.995


def test_more_broken_tiles_than_1_in_100_make_no_map(folder):
    tile_file(folder, 4).write_bytes(b"\x89PNG broken")
    with pytest.raises(MapError, match=r"at least 1 of 9 blocks are damaged"):
        picture_of_tile(folder, 4)


def test_broken_tiles_are_a_share_of_those_read_and_not_of_those_there_are(folder):
    tile_file(folder, 4).write_bytes(b"\x89PNG broken")
    widen(folder)
    with pytest.raises(MapError, match=r"1 of \d+ blocks of imagery that were read"):
        picture_of_tile(folder, 4)


def test_an_empty_file_is_a_missing_tile(folder):
    tile_file(folder, 4).write_bytes(b"")
    assert not picture_of_tile(folder, 4).covered.any()


def test_a_transparent_tile_is_ground_without_imagery(folder):
    picture = cv2.cvtColor(cv2.imread(str(tile_file(folder, 4))), cv2.COLOR_BGR2BGRA)
    picture[..., 3] = 0
    assert cv2.imwrite(str(tile_file(folder, 4)), picture)
    assert not picture_of_tile(folder, 4).covered.any()
    assert picture_of_tile(folder, 5).covered.all()


def test_a_grey_tile_among_coloured_ones_is_grey(folder):
    grey = cv2.imread(str(tile_file(folder, 4)), cv2.IMREAD_GRAYSCALE)
    assert cv2.imwrite(str(tile_file(folder, 4)), grey)
    rgb = picture_of_tile(folder, 4).rgb
    assert rgb.std() > 5
    assert (rgb == rgb[..., :1]).all()
    assert (picture_of_tile(folder, 5).rgb.std(axis=-1) > 5).any()


def test_a_tile_of_twice_the_size_keeps_its_place(folder):
    expected = picture_of_tile(folder, 4).rgb.astype(float)
    large = cv2.resize(cv2.imread(str(tile_file(folder, 4))), (512, 512))
    assert cv2.imwrite(str(tile_file(folder, 4)), large)
    assert np.abs(picture_of_tile(folder, 4).rgb - expected).mean() < 3.0


def test_the_highest_zoom_is_read_unless_one_is_chosen(folder):
    x, y = (number // 2 for number in tiles_of_ground()[4])
    coarse = folder / str(TILE_ZOOM - 1) / str(x) / f"{y}.png"
    coarse.parent.mkdir(parents=True)
    assert cv2.imwrite(str(coarse), np.zeros((256, 256, 3), np.uint8))
    with open_imagery(folder) as fine, open_imagery(folder, TILE_ZOOM - 1) as chosen:
        ratio = chosen.ground_sample_distance_m / fine.ground_sample_distance_m
    assert ratio == pytest.approx(2.0, rel=1e-3)
