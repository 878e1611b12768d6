"""The several shapes in which people have imagery: what is read of each, and which shows on top."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.transform import Affine

from dmnil_maps.raster import open_imagery
from edge_runtime.contract.errors import ConfigError, MapError
from tests.maps.conftest import (
    LATITUDE_DEG,
    LONGITUDE_DEG,
    TILE_ZOOM,
    Ground,
    paint,
    raster_grid,
    tiles_of_ground,
    write_geotiff,
    write_ground,
    write_tile_folder,
)
from tests.maps.mbtiles import write_mbtiles

CRS = "EPSG:32632"
GROUND = Ground()


def ground_bands(crs=CRS):
    transform, width, height = raster_grid(crs)
    return np.moveaxis(paint(GROUND, crs, transform, width, height), -1, 0), transform


def look(sources, **more):
    """160 m of ground around a known place, from whatever source."""
    with open_imagery(sources, **more) as imagery:
        east, north = imagery.frame.to_local(LATITUDE_DEG, LONGITUDE_DEG)
        return imagery.read(east - 80.0, north + 80.0, (1.0, 1.0), 160, 160)


def assert_same_ground(picture, other, mean=2.0):
    assert picture.covered.all()
    assert np.abs(picture.rgb.astype(float) - other.rgb).mean() < mean


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return look(write_ground(tmp_path_factory.mktemp("whole") / "whole.tif", GROUND, CRS))


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return write_tile_folder(tmp_path_factory.mktemp("tiles") / "tiles", GROUND)


def write_quarters(folder, crs=CRS, dtype="uint8", scale=1):
    """The ground as four files that meet in the middle of the picture."""
    bands, transform = ground_bands(crs)
    bands = bands.astype(dtype) * scale
    middle_row, middle_column = bands.shape[1] // 2 + 7, bands.shape[2] // 2 - 11
    paths = []
    for name, rows, columns in (
        ("nw", slice(0, middle_row), slice(0, middle_column)),
        ("ne", slice(0, middle_row), slice(middle_column, None)),
        ("sw", slice(middle_row, None), slice(0, middle_column)),
        ("se", slice(middle_row, None), slice(middle_column, None)),
    ):
        x, y = transform @ (columns.start, rows.start)
        place = Affine(transform.a, 0, x, 0, transform.e, y)
        folder.mkdir(exist_ok=True)
        paths.append(write_geotiff(folder / f"{name}.tif", bands[:, rows, columns], crs, place))
    return paths


def test_several_files_are_one_imagery_without_a_seam(tmp_path, whole):
    assert_same_ground(look(write_quarters(tmp_path / "quarters")), whole, mean=0.5)


def test_a_folder_of_rasters_is_a_mosaic(tmp_path, whole):
    write_quarters(tmp_path / "quarters")
    assert_same_ground(look(tmp_path / "quarters"), whole, mean=0.5)


def test_a_text_file_lists_rasters_from_its_own_folder(tmp_path, whole):
    names = [path.name for path in write_quarters(tmp_path / "quarters")]
    listed = tmp_path / "quarters" / "all.txt"
    listed.write_text("\n".join([*names, ""]))
    assert_same_ground(look(listed), whole, mean=0.5)
    listed.write_text("none.tif\n")
    with pytest.raises(MapError, match=r"all\.txt lists .*none\.tif, which is not there"):
        look(listed)


@pytest.mark.parametrize("second", ["utm", "web_mercator", "degrees"])
def test_the_first_source_shows_where_it_has_data(tmp_path, second):
    crs = {"utm": CRS, "web_mercator": "EPSG:3857", "degrees": "EPSG:4326"}[second]
    bands, transform = ground_bands()
    bands = np.maximum(bands, 1)
    bands[:, :, bands.shape[2] // 2 :] = 0
    top = write_geotiff(tmp_path / "top.tif", bands, CRS, transform, nodata=0)
    flat, place = ground_bands(crs)
    flat = np.full_like(flat, 250)
    below = write_geotiff(tmp_path / "below.tif", flat, crs, place)
    picture = look([top, below])
    assert picture.covered.all()
    assert picture.rgb[:, :75].mean() < 200
    assert (picture.rgb[:, 85:] == 250).all()
    assert (look([below, top]).rgb == 250).all()


def test_sources_of_different_resolution_lie_on_each_other(tmp_path, whole):
    transform, width, height = raster_grid("EPSG:3857", pixel_m=4.0)
    coarse = np.moveaxis(paint(GROUND, "EPSG:3857", transform, width, height), -1, 0)
    below = write_geotiff(tmp_path / "coarse.tif", coarse, "EPSG:3857", transform)
    above = write_quarters(tmp_path / "quarters")[0]
    with open_imagery([above, below]) as imagery:
        assert imagery.ground_sample_distance_m == pytest.approx(1.0, rel=5e-3)
        assert imagery.coordinate_reference_system == "EPSG:32632, EPSG:3857"
    assert_same_ground(look([above, below]), whole, mean=6.0)


def test_no_source_at_all():
    with pytest.raises(ConfigError, match="no imagery is named"):
        look([])


def test_deep_files_of_a_mosaic_are_stretched_alike(tmp_path):
    bands, transform = ground_bands()
    deep = write_geotiff(tmp_path / "deep.tif", bands.astype(np.uint16) * 37, CRS, transform)
    quarters = write_quarters(tmp_path / "quarters", dtype="uint16", scale=37)
    picture = look(deep)
    assert_same_ground(look(quarters), picture, mean=1.0)
    np.testing.assert_array_equal(look(quarters[::-1]).rgb, look(quarters).rgb)


def test_the_stretch_does_not_depend_on_what_is_read_first(tmp_path):
    bands, transform = ground_bands()
    path = write_geotiff(tmp_path / "deep.tif", bands.astype(np.uint16) * 37, CRS, transform)
    with open_imagery(path) as imagery:
        first = imagery.read(-200.0, 200.0, (1.0, 1.0), 40, 40)
        imagery.read(100.0, -100.0, (1.0, 1.0), 40, 40)
    with open_imagery(path) as imagery:
        imagery.read(100.0, -100.0, (1.0, 1.0), 40, 40)
        np.testing.assert_array_equal(
            imagery.read(-200.0, 200.0, (1.0, 1.0), 40, 40).rgb, first.rgb
        )


def test_pixels_of_fewer_than_8_bits_are_stretched(tmp_path):
    bands, transform = ground_bands()
    path = write_geotiff(tmp_path / "4.tif", bands // 16, CRS, transform, nbits=4)
    assert look(path).rgb.max() > 240


def test_numbers_that_are_none_are_ground_without_imagery(tmp_path):
    bands, transform = ground_bands()
    floats = bands.astype(np.float32) / 255
    floats[1, :, : floats.shape[2] // 2] = np.nan
    picture = look(write_geotiff(tmp_path / "float.tif", floats, CRS, transform))
    assert not picture.covered[:, :75].any()
    assert picture.covered[:, 85:].all()
    assert picture.rgb[:, 85:].std() > 30


def index_of_colours(bands):
    """The ground in 64 colours: indices (1, h, w), and the colours as a table."""
    quantised = bands // 64
    index = (quantised[0] * 16 + quantised[1] * 4 + quantised[2]).astype(np.uint8)
    table = {
        number: (number // 16 * 64 + 32, number // 4 % 4 * 64 + 32, number % 4 * 64 + 32, 255)
        for number in range(64)
    }
    return index[None], table


@pytest.mark.parametrize("crs", [CRS, "EPSG:4326"])
def test_a_colour_table_is_expanded(tmp_path, crs, whole):
    bands, transform = ground_bands(crs)
    index, table = index_of_colours(bands)
    index[:, : index.shape[1] // 2] = 200
    path = write_geotiff(tmp_path / "map.tif", index, crs, transform)
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, table | {200: (9, 9, 9, 255)})
    picture = look(path)
    assert picture.covered.all()
    assert (picture.rgb[:70] == 9).all()
    assert np.abs(picture.rgb[90:].astype(float) - whole.rgb[90:]).max(axis=-1).mean() < 40
    assert np.corrcoef(picture.rgb[90:].ravel(), whole.rgb[90:].ravel())[0, 1] > 0.9


def test_a_colour_table_keeps_its_nodata(tmp_path):
    bands, transform = ground_bands()
    index, table = index_of_colours(bands)
    index[:, : index.shape[1] // 2] = 200
    path = write_geotiff(tmp_path / "map.tif", index, CRS, transform, nodata=200)
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, table)
    picture = look(path)
    assert not picture.covered[:70].any()
    assert picture.covered[90:].all()


@pytest.mark.parametrize("suffix", [(".jpg", ".jgw"), (".png", ".pgw"), (".tif", ".tfw")])
def test_a_picture_with_a_world_file_needs_a_reference_system(tmp_path, suffix, whole):
    bands, transform = ground_bands()
    path = tmp_path / f"ground{suffix[0]}"
    bgr = cv2.cvtColor(np.ascontiguousarray(np.moveaxis(bands, 0, -1)), cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(path), bgr)
    centre = transform @ (0.5, 0.5)
    numbers = (transform.a, 0, 0, transform.e, *centre)
    path.with_suffix(suffix[1]).write_text("\n".join(repr(float(number)) for number in numbers))
    with pytest.raises(MapError, match=r"names no coordinate reference system.*--crs EPSG"):
        look(path)
    assert_same_ground(look(path, crs=CRS), whole, mean=4.0)
    if suffix[0] != ".tif":
        assert_same_ground(look(tmp_path, crs=CRS), whole, mean=4.0)


def test_a_named_reference_system_yields_to_the_files_own(tmp_path, whole):
    path = write_ground(tmp_path / "utm.tif", GROUND, CRS)
    np.testing.assert_array_equal(look(path, crs="EPSG:3857").rgb, whole.rgb)
    with pytest.raises(ConfigError, match="not known to PROJ"):
        look(path, crs="EPSG:1")


def test_a_vrt_of_files_beside_it(tmp_path, whole):
    path = write_ground(tmp_path / "utm.tif", GROUND, CRS)
    with rasterio.open(path) as dataset:
        rasterio.shutil.copy(dataset, tmp_path / "utm.vrt", driver="VRT")
    assert 'relativeToVRT="1"' in (tmp_path / "utm.vrt").read_text()
    np.testing.assert_array_equal(look(tmp_path / "utm.vrt").rgb, whole.rgb)


def test_mbtiles_show_what_their_tiles_show(tmp_path, tiles):
    expected = look(tiles)
    path = write_mbtiles(tmp_path / "town.mbtiles", tiles, TILE_ZOOM, format="png", name="town")
    np.testing.assert_array_equal(look(path).rgb, expected.rgb)


@pytest.mark.parametrize("bounds", ["-180,-85,180,85", "8.54101,47.37603,8.54303,47.37807"])
def test_the_bounds_that_mbtiles_state_do_not_move_them(tmp_path, tiles, bounds):
    expected = look(tiles)
    path = write_mbtiles(tmp_path / "town.mbtiles", tiles, TILE_ZOOM, format="png", bounds=bounds)
    np.testing.assert_array_equal(look(path).rgb, expected.rgb)


def test_mbtiles_without_a_tile_have_no_imagery_there(tmp_path, tiles):
    folder = shutil.copytree(tiles, tmp_path / "tiles")
    x, y = tiles_of_ground()[0]
    (folder / str(TILE_ZOOM) / str(x) / f"{y}.png").unlink()
    path = write_mbtiles(tmp_path / "town.mbtiles", folder, TILE_ZOOM, format="png")
    with open_imagery(path) as imagery:
        bounds = imagery.bounds
        picture = imagery.read(bounds.west_m, bounds.north_m, (2.0, 2.0), 310, 310)
    assert 0.88 < picture.covered.mean() < 0.90


def test_a_zoom_of_mbtiles_is_chosen(tmp_path, tiles):
    path = write_mbtiles(tmp_path / "town.mbtiles", tiles, TILE_ZOOM, format="png")
    with pytest.raises(MapError, match="holds no zoom 12, only 17"):
        look(path, zoom=12)
    assert look(path, zoom=TILE_ZOOM).covered.all()


def write_tms(folder, tiles):
    """The same tiles with rows counted from the south."""
    for tile in tiles.glob("*/*/*.png"):
        row = 2**TILE_ZOOM - 1 - int(tile.stem)
        path = folder / tile.parent.relative_to(tiles) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tile, path)
    return folder


TILE_MAP = '<TileMap version="1.0.0"><TileSets profile="{}"></TileSets></TileMap>'


def test_a_tms_folder_is_known_by_its_description(tmp_path, tiles):
    folder = write_tms(tmp_path / "tms", tiles)
    (folder / "tilemapresource.xml").write_text(TILE_MAP.format("mercator"))
    np.testing.assert_array_equal(look(folder).rgb, look(tiles).rgb)


def test_a_tms_folder_is_named_by_an_option(tmp_path, tiles):
    folder = write_tms(tmp_path / "tms", tiles)
    np.testing.assert_array_equal(look(folder, tms=True).rgb, look(tiles).rgb)
    with open_imagery(folder) as imagery:
        assert imagery.frame.latitude_deg == pytest.approx(-LATITUDE_DEG, abs=0.01)


@pytest.mark.parametrize("from_south", [True, False])
@pytest.mark.parametrize("scheme", ["tms", "xyz"])
def test_bounds_outweigh_the_scheme_of_a_description(tmp_path, tiles, from_south, scheme):
    folder = tmp_path / "tiles"
    folder = write_tms(folder, tiles) if from_south else shutil.copytree(tiles, folder)
    description = {"scheme": scheme, "bounds": "8.541,47.376,8.543,47.378"}
    (folder / "metadata.json").write_text(json.dumps(description))
    np.testing.assert_array_equal(look(folder).rgb, look(tiles).rgb)


def test_the_scheme_of_a_description_counts_without_bounds(tmp_path, tiles):
    folder = write_tms(tmp_path / "tms", tiles)
    (folder / "metadata.json").write_text(json.dumps({"scheme": "tms"}))
    np.testing.assert_array_equal(look(folder).rgb, look(tiles).rgb)


def test_a_tms_folder_of_another_profile(tmp_path, tiles):
    folder = write_tms(tmp_path / "tms", tiles)
    (folder / "tilemapresource.xml").write_text(TILE_MAP.format("geodetic"))
    with pytest.raises(MapError, match="profile geodetic, only mercator"):
        look(folder)


def test_overviews_show_the_same_ground(tmp_path):
    path = write_ground(tmp_path / "utm.tif", GROUND, CRS)
    with rasterio.open(path, "r+") as raster:
        raster.build_overviews([2, 4], rasterio.enums.Resampling.average)
    with open_imagery(path) as imagery:
        fine = imagery.read(-160.0, 160.0, (5.0, 5.0), 64, 64)
        coarse = imagery.read(-160.0, 160.0, (5.0, 5.0), 64, 64, overviews=True)
    assert coarse.covered.all()
    assert 0 < np.abs(fine.rgb.astype(float) - coarse.rgb).mean() < 2.0


@pytest.mark.parametrize(
    ("driver", "suffix", "options"),
    [
        ("COG", ".tif", {"compress": "deflate"}),
        ("JP2OpenJPEG", ".jp2", {"quality": 100, "reversible": "YES"}),
        ("HFA", ".img", {}),
        ("ENVI", ".dat", {}),
        ("GPKG", ".gpkg", {"tile_format": "PNG"}),
    ],
)
def test_other_formats_of_one_file(tmp_path, whole, driver, suffix, options):
    with rasterio.open(write_ground(tmp_path / "utm.tif", GROUND, CRS)) as dataset:
        path = tmp_path / f"ground{suffix}"
        rasterio.shutil.copy(dataset, path, driver=driver, **options)
    assert_same_ground(look(path), whole, mean=1.0)
