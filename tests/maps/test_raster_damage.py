"""Imagery that is damaged in the middle: what is left of it, and when too little is."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio

from dmnil_maps.raster import open_imagery
from dmnil_maps.sources.damage import Damage
from dmnil_maps.sources.warp import _LARGEST_PIECE_PX
from edge_runtime.contract.errors import MapError
from tests.maps.conftest import Ground, paint, raster_grid, write_geotiff

CRS = "EPSG:32632"


def write_town(path, crs=CRS, block=32, dtype="uint8", **more):
    """840 m by 840 m in blocks of 32 m: 27 x 27 of them."""
    transform, width, height = raster_grid(crs, 420.0, 420.0)
    bands = np.moveaxis(paint(Ground(), crs, transform, width, height), -1, 0).astype(dtype)
    options = {"blockxsize": block, "blockysize": block, "compress": "deflate", **more}
    with rasterio.open(
        path, "w", driver="GTiff", dtype=dtype, count=len(bands), height=height, width=width,
        crs=crs, transform=transform, tiled=True, interleave="pixel", **options,
    ) as raster:  # fmt: skip
        raster.write(bands)
    return path


def damage_block(path, column, row):
    """Overwrite a compressed block with noise."""
    with rasterio.open(path) as raster:
        place, size = (
            int(raster.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    content = bytearray(path.read_bytes())
    content[place : place + size] = b"\x07" * size
    path.write_bytes(content)


def look(path, metres=1.0, pixels=800):
    with open_imagery(path) as imagery:
        return imagery.read(-400.0, 400.0, (metres, metres), pixels, pixels), imagery.damage


@pytest.mark.parametrize(
    ("crs", "dtype"), [(CRS, "uint8"), ("EPSG:4326", "uint16"), (CRS, "float32")]
)
def test_a_damaged_block_is_named_left_out_and_counted(tmp_path, caplog, crs, dtype):
    path = write_town(tmp_path / "town.tif", crs, dtype=dtype)
    sound, none = look(path)
    assert none.blocks == 0
    damage_block(path, 14, 12)
    with caplog.at_level(logging.WARNING):
        picture, damage = look(path)
    assert damage.blocks == 1
    assert 600 < damage.blocks_read <= 27 * 27
    assert f"{path}, columns 448 to 479 of rows 384 to 415" in caplog.text
    lost = sound.covered & ~picture.covered
    assert 0.9 < lost.sum() / 32**2 < 1.1
    rows, columns = np.nonzero(lost)
    assert np.ptp(rows) < 40
    assert np.ptp(columns) < 40
    # The rest is what it was; beside the hole, pixels mix fewer of their neighbours.
    difference = np.abs(sound.rgb.astype(float) - picture.rgb).max(axis=-1)[picture.covered]
    assert difference.mean() < 2.0
    assert difference.max() < 30


def test_a_view_of_the_whole_leaves_out_what_is_damaged_too(tmp_path):
    path = write_town(tmp_path / "town.tif")
    damage_block(path, 14, 12)
    picture, damage = look(path, metres=8.0, pixels=100)
    assert damage.blocks == 1
    assert 8 <= (~picture.covered).sum() <= 25


def test_around_damage_large_views_are_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("dmnil_maps.sources.warp._LARGEST_PIECE_PX", 2**14)
    assert _LARGEST_PIECE_PX > 2**14
    path = write_town(tmp_path / "town.tif")
    damage_block(path, 14, 12)
    in_pieces, damage = look(path)
    monkeypatch.undo()
    at_once, _ = look(path)
    assert damage.blocks == 1
    np.testing.assert_array_equal(in_pieces.covered, at_once.covered)
    assert np.abs(in_pieces.rgb.astype(float) - at_once.rgb).max() <= 2


def test_damage_in_overviews_does_not_count(tmp_path):
    path = write_town(tmp_path / "town.tif")
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2], rasterio.enums.Resampling.average)
    with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
        place = int(overview.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[place : place + 300] = b"\x07" * 300
    path.write_bytes(content)
    with open_imagery(path) as imagery:
        picture = imagery.read(-400.0, 400.0, (4.0, 4.0), 200, 200, overviews=True)
        assert picture.covered.all()
        assert imagery.damage.blocks == 0


def test_more_than_1_in_100_blocks_damaged_make_no_map(tmp_path):
    path = write_town(tmp_path / "town.tif")
    for column in range(8):
        damage_block(path, 10 + column, 12)
    with pytest.raises(MapError, match=r"at least 8 of 729 blocks are damaged: .*town\.tif"):
        look(path)


def test_up_to_1_in_100_is_borne(tmp_path):
    path = write_town(tmp_path / "town.tif")
    for column in range(6):
        damage_block(path, 10 + column, 12)
    assert look(path)[1].blocks == 6


def test_the_share_is_of_what_was_read(tmp_path):
    path = write_town(tmp_path / "town.tif")
    damage_block(path, 13, 13)
    with (
        pytest.raises(MapError, match=r"1 of \d+ blocks of imagery that were read are damaged"),
        open_imagery(path) as imagery,
    ):
        imagery.read(-40.0, 40.0, (1.0, 1.0), 80, 80)


def test_a_build_can_ask_before_it_keeps_its_map(tmp_path):
    path = write_town(tmp_path / "town.tif")
    damage_block(path, 13, 13)
    with pytest.raises(MapError), open_imagery(path) as imagery:  # noqa: PT012
        imagery.read(-40.0, 40.0, (1.0, 1.0), 80, 80)
        assert imagery.damage.share > 0.01
        with pytest.raises(MapError, match="1% is borne"):
            imagery.check_damage()


def test_another_source_shows_where_one_is_damaged(tmp_path):
    top, below = write_town(tmp_path / "top.tif"), write_town(tmp_path / "below.tif")
    damage_block(top, 14, 12)
    with open_imagery([top, below]) as imagery:
        picture = imagery.read(-400.0, 400.0, (1.0, 1.0), 800, 800)
        assert imagery.damage.blocks == 1
    assert picture.covered.all()


def test_a_broken_file_of_a_folder_is_left_out_if_it_is_one_of_many(tmp_path, caplog):
    transform = raster_grid(CRS)[0]
    bands = np.zeros((1, 8, 8), np.uint8)
    for number in range(100):
        x, y = transform @ (number * 8, 0)
        place = rasterio.Affine(1, 0, x, 0, -1, y)
        write_geotiff(tmp_path / f"{number:03}.tif", bands, CRS, place)
    (tmp_path / "050.tif").write_bytes(b"broken")
    with caplog.at_level(logging.WARNING), open_imagery(tmp_path):
        assert "050.tif" in caplog.text
    (tmp_path / "051.tif").write_bytes(b"broken")
    with pytest.raises(MapError, match="2 of 100 rasters"), open_imagery(tmp_path):
        pass


def test_several_threads_read_the_same_as_one(tmp_path):
    path = write_town(tmp_path / "town.tif")
    damage_block(path, 14, 12)
    places = [(-400.0 + 100 * column, 400.0 - 100 * row) for row, column in np.ndindex(8, 8)]

    def read(imagery, place):
        return imagery.read(*place, (0.5, 0.5), 200, 200)

    with open_imagery(path) as imagery:
        alone = [read(imagery, place) for place in places]
    with open_imagery(path) as imagery, ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda place: read(imagery, place), places))
        assert imagery.damage.blocks == 1
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.rgb, other.rgb)
        np.testing.assert_array_equal(one.covered, other.covered)


def test_nothing_read_is_nothing_damaged():
    damage = Damage([])
    damage.check()
    assert damage.share == 0.0


@pytest.mark.parametrize("column", [1, 5])
def test_damage_is_found_on_both_sides_of_the_antimeridian(tmp_path, column):
    path = tmp_path / "fiji.tif"
    pixels = np.full((1, 840, 840), 90, np.uint8)
    place = rasterio.Affine(1e-5, 0, 180 - 420e-5, 0, -1e-5, -16.8)
    write_geotiff(path, pixels, "EPSG:4326", place, compress="deflate")
    damage_block(path, column, 3)
    with pytest.raises(MapError, match=r"fiji\.tif, columns \d+ to \d+ of rows 384 to 511"):
        look(path)


def test_only_blocks_under_a_window_across_the_antimeridian_count_as_read(tmp_path):
    pixels = np.full((1, 840, 840), 90, np.uint8)
    place = rasterio.Affine(1e-5, 0, 180 - 420e-5, 0, -1e-5, -16.8)
    path = write_geotiff(tmp_path / "fiji.tif", pixels, "EPSG:4326", place)
    with open_imagery(path) as imagery:
        imagery.read(-20.0, 20.0, (1.0, 1.0), 40, 40)
        assert imagery.damage.blocks_read == 1
        imagery.read(-80.0, 80.0, (1.0, 1.0), 160, 160)
        assert imagery.damage.blocks_read in (4, 6, 9)
