"""The picture in a map: written tile by tile, read window by window."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest

from edge_runtime.contract.errors import MapError, OutputError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_imagery import TILE_PX, ImageryGrid, open_map_imagery
from edge_runtime.contract.map_imagery_writer import encode_tile, write_map_imagery
from edge_runtime.contract.region_map import load_region_map
from tests.small_map import FRAME, seal_again, write_small_map

GRID = ImageryGrid(west_m=-400.0, north_m=300.0, metres_per_pixel=0.5, rows=3, columns=4)


def smooth_ground(rows, columns, seed=3):
    """Colours of smooth random ground (rows * 256, columns * 256, 3)."""
    cells = np.random.default_rng(seed).integers(20, 235, (rows * 6, columns * 6, 3), np.uint8)
    size = (columns * TILE_PX, rows * TILE_PX)
    return cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC)


GROUND = smooth_ground(3, 4)


def encoded_tiles(ground=GROUND, grid=GRID, covered=None, without=frozenset()):
    for row, column in np.ndindex(grid.rows, grid.columns):
        if (row, column) in without:
            continue
        window = np.s_[
            row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX
        ]
        part = np.ones((TILE_PX, TILE_PX), bool) if covered is None else covered[window]
        encoded = encode_tile(ground[window], part)
        if encoded is not None:
            yield row, column, *encoded


@pytest.fixture
def written(tmp_path):
    def write(**kwargs):
        path = tmp_path / "imagery.tif"
        write_map_imagery(path, FRAME, kwargs.get("grid", GRID), encoded_tiles(**kwargs))
        return path

    return write


def difference(a, b):
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_a_view_on_the_pixel_grid_is_the_stored_pixels(written):
    imagery = open_map_imagery(written())
    # 100 px right of and 150 px below the corner, across two tiles in both directions.
    view = imagery.view((-400 + (100 + 128) * 0.5, 300 - (150 + 128) * 0.5), 128.0, 256)
    assert difference(view, GROUND[150:406, 100:356]) < 1.5


def test_red_stays_red(written):
    red = np.zeros_like(GROUND)
    red[..., 0] = 200
    view = open_map_imagery(written(ground=red)).view((-200.0, 150.0), 60.0, 64)
    assert np.abs(view.reshape(-1, 3).mean(axis=0) - (200, 0, 0)).max() < 4


@pytest.mark.parametrize(("footprint_m", "size"), [(100.0, 64), (100.0, 150), (280.0, 64)])
def test_a_coarser_view_averages_the_ground_under_each_pixel(written, footprint_m, size):
    imagery = open_map_imagery(written())
    centre = np.array([-211.3, 118.7])
    view = imagery.view(centre, footprint_m, size)
    # Each pixel's middle by hand, from a picture blurred to the pixel's size.
    step = footprint_m / size
    blurred = cv2.GaussianBlur(GROUND, (0, 0), max(0.3, step / 0.5 / np.sqrt(12)))
    offsets = (np.arange(size) + 0.5) * step - footprint_m / 2
    x = ((centre[0] + offsets + 400.0) / 0.5 - 0.5).astype(np.float32)
    y = ((300.0 - centre[1] + offsets) / 0.5 - 0.5).astype(np.float32)
    expected = cv2.remap(blurred, *np.meshgrid(x, y), cv2.INTER_LINEAR)
    assert difference(view, expected) < 2.0


def test_stripes_too_fine_for_a_view_are_grey_and_make_no_pattern(written):
    striped = np.zeros_like(GROUND)
    striped[:, ::2] = 200  # a metre from stripe to stripe
    view = open_map_imagery(written(ground=striped)).view((-200.0, 150.0), 90.0, 100)
    assert view.std() < 32  # 90 of stripes taken one by one


def test_north_is_up_and_east_is_right(written):
    ground = np.full_like(GROUND, 40)
    ground[100:110, 700:710] = 250  # north-east of the middle
    view = open_map_imagery(written(ground=ground)).view((-144.0, 108.0), 384.0, 192)
    row, column = np.unravel_index(view[..., 0].argmax(), view.shape[:2])
    east, north = -400 + 705 * 0.5, 300 - 105 * 0.5
    assert abs(column - (east + 144 + 192) / 2) <= 1.5
    assert abs(row - (108 + 192 - north) / 2) <= 1.5


def test_ground_without_a_picture_has_no_view(written):
    imagery = open_map_imagery(written(without={(1, 1)}))
    assert imagery.view((5000.0, 0.0), 100.0, 32) is None
    assert imagery.view((-400 + 1.5 * 128, 300 - 1.5 * 128), 100.0, 32) is None
    assert imagery.view((-400 + 0.5 * 128, 300 - 0.5 * 128), 100.0, 32) is not None


def test_a_view_takes_a_little_missing_ground_and_fills_it_with_the_mean_colour(written):
    covered = np.ones(GROUND.shape[:2], bool)
    covered[:, :4] = False  # 2 m in the west
    imagery = open_map_imagery(written(covered=covered))
    centre = (-400 + 50.0, 300 - 60.0)
    view = imagery.view(centre, 100.0, 100)
    assert np.ptp(view[:, 0].reshape(-1, 3), axis=0).max() <= 1
    assert difference(view[0, 0], view[:, 3:].mean(axis=(0, 1))) < 3
    assert imagery.view(centre, 100.0, 100, least_covered=0.99) is None


def test_gdal_reads_the_picture_its_place_and_its_mask(written):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.warp import transform

    covered = np.ones(GROUND.shape[:2], bool)
    covered[200:300, 300:500] = False
    path = written(covered=covered, without={(2, 3)})
    covered[512:, 768:] = False
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.dataset_mask() > 0, covered)
        rgb = np.moveaxis(raster.read(), 0, -1)
        assert difference(rgb[covered], GROUND[covered]) < 1.5
        assert not rgb[512:, 768:].any()
        corners = np.array([raster.xy(0, 0, offset="ul"), raster.xy(768, 1024, offset="ul")])
        longitude, latitude = transform(raster.crs, "EPSG:4326", *corners.T)
    local = FRAME.to_local(latitude, longitude)
    np.testing.assert_allclose(local, [[-400.0, 300.0], [112.0, -84.0]], atol=1e-3)


def test_the_same_tiles_give_the_same_bytes(written):
    first = written().read_bytes()
    assert written().read_bytes() == first


def test_masks_that_are_alike_stand_in_the_file_once(written):
    path = written()
    assert (
        path.read_bytes().count(encode_tile(GROUND[:256, :256], np.ones((256, 256), bool))[1]) == 1
    )


def test_a_large_picture_is_read_in_little_memory(tmp_path):
    grid = ImageryGrid(0.0, 0.0, 0.5, 300, 300)
    tile = encode_tile(GROUND[:256, :256], np.ones((256, 256), bool))
    places = ((row, column, *tile) for row in range(300) for column in range(300))
    write_map_imagery(tmp_path / "large.tif", LocalFrame(0.0, 0.0), grid, places)
    imagery = open_map_imagery(tmp_path / "large.tif")
    tracemalloc.start()
    for number in range(100):
        assert imagery.view((1000.0 + 150 * number, -1000.0 - 100 * number), 120.0, 192) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6  # of 17.7 GB decoded
    assert imagery.view((19_000.0, -19_000.0), 2_000.0, 192) is not None
    with pytest.raises(ValueError, match="smaller footprint"):
        imagery.view((19_000.0, -19_000.0), 30_000.0, 192)


@pytest.mark.parametrize(
    "bad", [(0.0, 32), (-5.0, 32), (float("nan"), 32), (50.0, 0), (50.0, 10**6)]
)
def test_a_view_of_no_sense_is_refused(written, bad):
    with pytest.raises(ValueError, match=r"no square of ground|pixels a side"):
        open_map_imagery(written()).view((-200.0, 150.0), *bad)


def test_a_damaged_tile_is_ground_without_a_picture(written):
    path = written()
    whole = open_map_imagery(path)
    jpeg, _ = whole.encoded(1, 1)
    content = path.read_bytes()
    path.write_bytes(content.replace(jpeg, bytes(len(jpeg))))
    imagery = open_map_imagery(path)
    assert imagery.view((-400 + 1.5 * 128, 300 - 1.5 * 128), 100.0, 32) is None
    assert imagery.view((-400 + 0.5 * 128, 300 - 0.5 * 128), 100.0, 32) is not None
    with pytest.raises(MapError, match="damaged"):
        imagery.decoded(1, 1)


def test_a_header_cut_or_changed_anywhere_never_crashes(written):
    path = written()
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(4)
    for _ in range(400):
        changed = bytearray(content)
        for place in rng.integers(0, 1200, 3):
            changed[place] = rng.integers(256)
        path.write_bytes(
            changed[: rng.integers(1, len(changed))] if rng.random() < 0.3 else changed
        )
        try:
            imagery = open_map_imagery(path)
            imagery.view((-200.0, 150.0), 100.0, 32)
        except (MapError, ValueError):
            continue


def test_other_files_are_refused_in_one_line(tmp_path):
    for content in (b"", b"II*\0" + bytes(40), b"no picture at all, but long enough to be read"):
        (tmp_path / "imagery.tif").write_bytes(content)
        with pytest.raises(MapError, match="build the map again"):
            open_map_imagery(tmp_path / "imagery.tif")


def test_a_full_disk_is_told_in_one_line(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        write_map_imagery(tmp_path / "none" / "imagery.tif", FRAME, GRID, encoded_tiles())


def test_a_map_opens_with_its_picture_and_without(tmp_path):
    folder = write_small_map(tmp_path / "small.map")
    assert load_region_map(folder).imagery is None
    write_map_imagery(folder / "imagery.tif", FRAME, GRID, encoded_tiles())
    assert load_region_map(folder).imagery is None  # the manifest does not name it
    seal_again(folder)
    region_map = load_region_map(folder)
    assert region_map.imagery.view((-200.0, 150.0), 100.0, 32).shape == (32, 32, 3)
    region_map.verify()
