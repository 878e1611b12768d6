"""Lattices over rectangles, and which pictures their tiles show."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from dmnil_maps.raster import LocalBounds, open_imagery
from dmnil_maps.tiling import lattice_over, tile_batches
from edge_runtime.contract.errors import MapError
from tests.maps.conftest import KINDS, Ground, write_ground, write_imagery


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


def all_tiles(imagery, level, size=64, batch_size=7):
    """Every tile's picture by its lattice place."""
    found = {}
    examined = 0
    for batch in tile_batches(imagery, level, size, size, batch_size):
        assert 1 <= len(batch.pictures) <= batch_size
        examined += batch.examined
        for place, picture in zip(batch.lattice.tolist(), batch.pictures, strict=True):
            found[tuple(place)] = picture
    assert examined <= level.rows * level.columns
    return found


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
        batch = next(tile_batches(imagery, level, width=64, height=32, batch_size=3))
    assert batch.pictures.shape == (3, 32, 64, 3)


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
