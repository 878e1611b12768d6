"""Lattices over rectangles, and which pictures their tiles show."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import shapely

from dmnil_maps.area import LocalArea
from dmnil_maps.raster import LocalBounds, Picture, open_imagery
from dmnil_maps.tiling import block_windows, chosen_positions, lattice_blocks, lattice_over
from edge_runtime.contract.errors import MapError
from tests.maps.conftest import KINDS, Ground, tile_pictures, write_ground, write_imagery


def test_tiles_fit_into_the_bounds_and_are_centred_in_them():
    level = lattice_over(LocalBounds(-200.0, -100.0, 215.0, 90.0), 120.0, 30.0)
    # 415 m: 120 + 9 x 30 = 390, so ten columns and 12.5 m to spare on either side.
    assert (level.columns, level.rows) == (10, 3)
    assert level.first_east_m == pytest.approx(-200.0 + 12.5 + 60.0)
    assert level.first_north_m == pytest.approx(90.0 - 5.0 - 60.0)


def test_row_0_is_the_northernmost():
    level = lattice_over(LocalBounds(-200.0, -100.0, 215.0, 90.0), 120.0, 30.0)
    assert level.centre(0, 0)[1] > level.centre(2, 0)[1]
    assert level.centre(0, 0)[0] < level.centre(0, 9)[0]


def test_a_raster_of_exactly_one_footprint_has_one_tile():
    level = lattice_over(LocalBounds(-60.0, -60.0, 60.0, 60.0), 120.0, 30.0)
    assert (level.columns, level.rows) == (1, 1)
    np.testing.assert_allclose(level.centre(0, 0), [0.0, 0.0])


def test_a_raster_smaller_than_a_footprint_is_refused():
    with pytest.raises(MapError, match="400 m by 119 m, smaller than one footprint of 120 m"):
        lattice_over(LocalBounds(-200.0, -59.5, 200.0, 59.5), 120.0, 30.0)


def all_tiles(imagery, level, size=64):
    """Every tile's picture by its lattice place."""
    pictures, places = tile_pictures(imagery, level, size, size)
    return {tuple(place): picture for place, picture in zip(places.tolist(), pictures, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_marker_appears_in_the_centre_of_its_tile(tmp_path, imagery_of, kind):
    with open_imagery(imagery_of(kind)) as imagery:
        level = lattice_over(imagery.bounds, 120.0, 30.0)
        place = (level.rows - 3, 2)
        latitude, longitude = imagery.frame.to_geodetic(level.centre(*place))
    ground = Ground(markers=((float(latitude), float(longitude)),), texture=False)
    with open_imagery(write_imagery(tmp_path, kind, ground)) as imagery:
        tiles = all_tiles(imagery, level)
    brightness = tiles[place].mean(axis=-1) - 20.0
    along = np.arange(64) + 0.5
    centre = [brightness.sum(axis=0) @ along, brightness.sum(axis=1) @ along] / brightness.sum()
    np.testing.assert_allclose(centre, [32.0, 32.0], atol=0.05 / (120.0 / 64))
    brightest = max(tiles, key=lambda key: int(tiles[key][31:33, 31:33].sum()))
    assert brightest == place


@pytest.mark.parametrize("ratio", [0.25, 0.3, 1 / 3])
def test_every_tile_is_what_a_warp_of_its_own_would_give(imagery_of, ratio):
    # 0.25 cuts tiles out of blocks; 0.3 and 1/3 of 64 pixels are no whole number of pixels.
    with open_imagery(imagery_of("utm")) as imagery:
        level = lattice_over(imagery.bounds, 120.0, 120.0 * ratio)
        tiles = all_tiles(imagery, level)
        assert set(tiles) == {(r, c) for r in range(level.rows) for c in range(level.columns)}
        for place in [(0, 0), (1, 2), (level.rows - 1, level.columns - 1)]:
            east, north = level.centre(*place)
            alone = imagery.read(east - 60.0, north + 60.0, (1.875, 1.875), 64, 64)
            difference = np.abs(tiles[place].astype(int) - alone.rgb)
            assert difference.max() <= 3
            assert difference.mean() < 0.1


def test_blocks_meet_without_a_seam(imagery_of, monkeypatch):
    with open_imagery(imagery_of("utm")) as imagery:
        level = lattice_over(imagery.bounds, 120.0, 30.0)
        whole = all_tiles(imagery, level)
        monkeypatch.setattr("dmnil_maps.tiling.BLOCK_PX", 90)
        pieces = all_tiles(imagery, level)
    assert set(whole) == set(pieces)
    for place, picture in whole.items():
        assert np.abs(picture.astype(int) - pieces[place]).max() <= 3


def test_an_encoder_input_may_be_oblong(imagery_of):
    with open_imagery(imagery_of("utm")) as imagery:
        level = lattice_over(imagery.bounds, 120.0, 30.0)
        pictures, _ = tile_pictures(imagery, level, width=64, height=32)
    assert pictures.shape[1:] == (32, 64, 3)


def test_tiles_are_kept_from_95_percent_of_cover_on(tmp_path):
    path = write_ground(tmp_path / "utm.tif", Ground(), "EPSG:32632", nodata=0)
    with rasterio.open(path, "r+") as raster:
        pixels = raster.read()
        pixels[:, :, : pixels.shape[2] // 2] = 0
        raster.write(pixels)
    with open_imagery(path) as imagery:
        level = lattice_over(imagery.bounds, 120.0, 7.5)
        columns = {column for row, column in all_tiles(imagery, level) if row == level.rows // 2}
        middle = (imagery.bounds.west_m + imagery.bounds.east_m) / 2
        covered_share = {
            column: (float(level.centre(0, column)[0]) + 60.0 - middle) / 120.0
            for column in range(level.columns)
        }
    # The grid is turned by a little against UTM, hence the doubtful 1.5 %.
    assert all(share > 0.935 for column, share in covered_share.items() if column in columns)
    assert all(share < 0.965 for column, share in covered_share.items() if column not in columns)
    assert columns
    assert len(columns) < level.columns


LEVELS = [
    lattice_over(LocalBounds(-2000.0, -1500.0, 2000.0, 1500.0), footprint_m, footprint_m * ratio)
    for footprint_m, ratio in ((120.0, 0.25), (200.0, 0.3))
]


def positions_of(blocks, level):
    """How often each lattice position of a level is in a block."""
    counts = np.zeros((LEVELS[level].rows, LEVELS[level].columns), int)
    for block in blocks:
        if block.level == level:
            rows = slice(block.first_row, block.first_row + block.rows)
            counts[rows, block.first_column : block.first_column + block.columns] += 1
    return counts


def test_blocks_cover_every_position_once_in_a_fixed_order():
    blocks = lattice_blocks(LEVELS, 64, 64)
    for level in (0, 1):
        assert (positions_of(blocks, level) == 1).all()
    assert blocks == sorted(blocks, key=lambda b: (b.level, b.first_row, b.first_column))
    assert len(blocks) > 8


def test_only_tiles_that_touch_the_area_are_chosen_and_only_their_blocks_are_listed():
    area = LocalArea(shapely.buffer(shapely.LineString([(-1500, -1000), (1500, 900)]), 100.0))
    blocks = lattice_blocks(LEVELS, 64, 64, area)
    assert len(blocks) < len(lattice_blocks(LEVELS, 64, 64))
    for number, level in enumerate(LEVELS):
        found = np.zeros((level.rows, level.columns), bool)
        for block in blocks:
            if block.level == number:
                chosen = chosen_positions(level, block, area)
                rows = slice(block.first_row, block.first_row + block.rows)
                found[rows, block.first_column : block.first_column + block.columns] |= chosen
        centres = level.centre(np.arange(level.rows)[:, None], np.arange(level.columns))
        half = level.footprint_m / 2
        # By shapely's own distance, along the axes, from a centre to the area.
        expected = [
            shapely.box(east - half, north - half, east + half, north + half).intersects(area.shape)
            for east, north in centres.reshape(-1, 2)
        ]
        np.testing.assert_array_equal(found.ravel(), expected)


class ReadingLog:
    """Imagery of nothing, which notes the rectangles that are read."""

    def __init__(self):
        self.read_m = []

    def read(self, west_m, north_m, metres_per_pixel, width, height):
        east_m, south_m = (
            west_m + width * metres_per_pixel[0],
            north_m - height * metres_per_pixel[1],
        )
        self.read_m.append(shapely.box(west_m, south_m, east_m, north_m))
        return Picture(np.zeros((height, width, 3), np.uint8), np.ones((height, width), bool))


@pytest.mark.parametrize("number", [0, 1])
def test_reading_keeps_to_the_tiles_that_are_chosen(number):
    log, level = ReadingLog(), LEVELS[number]
    block = lattice_blocks(LEVELS, 64, 64)[0 if number == 0 else -1]
    chosen = np.zeros((block.rows, block.columns), bool)
    chosen[1, 2] = chosen[3, 2] = chosen[2, 4] = True
    windows = list(block_windows(log, level, block, 64, 64, chosen))
    assert [w.place for w in windows] == [
        (block.first_row + row, block.first_column + column)
        for row, column in ((1, 2), (2, 4), (3, 2))
    ]
    tiles = [
        shapely.box(*(level.centre(*w.place) - level.footprint_m / 2),
                    *(level.centre(*w.place) + level.footprint_m / 2))
        for w in windows
    ]  # fmt: skip
    around = shapely.buffer(shapely.envelope(shapely.union_all(tiles)), 1e-6, join_style="mitre")
    assert around.contains(shapely.union_all(log.read_m))
    assert len(log.read_m) == (1 if number == 0 else 3)
