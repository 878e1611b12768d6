from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.descriptor_store import DESCRIPTORS_FILE
from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.map_lattice import BLOCKS_FILE, ROWS_FILE
from edge_runtime.contract.region_map import (
    MEAN_FILE,
    PROJECTION_FILE,
    TILE_DTYPE,
    TILES_FILE,
    MapLevel,
    RegionMap,
    load_region_map,
)
from tests.small_map import (
    DESCRIPTOR_SIZE,
    FRAME,
    LEVEL,
    rewrite_manifest,
    seal_again,
    write_small_map,
)
from tests.tiny_encoder import write_tiny_encoder

TILES = LEVEL.rows * LEVEL.columns


def test_a_map_opens_as_it_was_written(region_map: RegionMap) -> None:
    assert region_map.frame == FRAME
    assert region_map.levels == (LEVEL,)
    assert region_map.tiles.shape == (TILES,)
    assert region_map.tiles_per_level == (TILES,)
    assert (region_map.tiles["distinctiveness"] == 1.0).all()
    assert region_map.descriptors_of(slice(None)).shape == (TILES, DESCRIPTOR_SIZE)
    assert region_map.projection.shape == (49, DESCRIPTOR_SIZE)
    assert region_map.preview.metres_per_pixel == 2.0
    region_map.verify()


def test_descriptors_stay_on_disk_until_they_are_read(region_map: RegionMap) -> None:
    assert isinstance(region_map.store.stored, np.memmap)
    assert isinstance(region_map.lattice.block_rows, np.memmap)
    assert isinstance(region_map.tiles, np.memmap)
    assert not region_map.store.stored.flags.writeable


def test_a_tiles_degrees_are_its_place_on_the_lattice(region_map: RegionMap) -> None:
    tile = region_map.tiles[region_map.rows_at(0)[5, 7]]
    local = region_map.frame.to_local(tile["latitude_deg"], tile["longitude_deg"])
    np.testing.assert_allclose(local, [-435.0 + 7 * 30.0, 345.0 - 5 * 30.0], atol=1e-6)
    np.testing.assert_allclose(LEVEL.centre(5, 7), local, atol=1e-6)


def test_the_lattice_knows_the_tile_at_every_place(region_map: RegionMap) -> None:
    lattice = region_map.rows_at(0)
    assert lattice.shape == (LEVEL.rows, LEVEL.columns)
    for row, column in [(0, 0), (3, 17), (LEVEL.rows - 1, LEVEL.columns - 1)]:
        tile = region_map.tiles[lattice[row, column]]
        assert (tile["lattice_row"], tile["lattice_column"]) == (row, column)


def test_a_place_without_tile_is_minus_one(tmp_path: Path) -> None:
    missing = frozenset({(0, 0), (4, 9)})
    region_map = load_region_map(write_small_map(tmp_path / "m.map", missing=missing))
    lattice = region_map.rows_at(0)
    assert {(int(row), int(column)) for row, column in np.argwhere(lattice < 0)} == missing
    assert lattice.max() == TILES - 3


def test_each_level_has_a_lattice_of_its_own(tmp_path: Path) -> None:
    small = MapLevel(60.0, 20.0, 2, 3, -20.0, 10.0)
    region_map = load_region_map(write_small_map(tmp_path / "m.map", levels=(LEVEL, small)))
    first, second = region_map.rows_at(0), region_map.rows_at(1)
    np.testing.assert_array_equal(np.sort(first, axis=None), np.arange(TILES))
    np.testing.assert_array_equal(np.sort(second, axis=None), TILES + np.arange(6))
    assert second.shape == (2, 3)
    assert (region_map.rows_of_level(0), region_map.rows_of_level(1)) == (
        slice(0, TILES), slice(TILES, TILES + 6)
    )  # fmt: skip
    at = region_map.tiles[second]
    assert (at["level"] == 1).all()
    np.testing.assert_array_equal(at["lattice_row"], [[0] * 3, [1] * 3])
    np.testing.assert_array_equal(at["lattice_column"], [[0, 1, 2]] * 2)
    assert set(region_map.tiles["footprint_m"][second.ravel()]) == {60.0}


def test_a_window_of_the_lattice_is_a_part_of_the_whole(region_map: RegionMap) -> None:
    whole = region_map.rows_at(0)
    window = region_map.rows_at(0, slice(3, 9), slice(11, 29))
    assert window.dtype == np.int32
    np.testing.assert_array_equal(window, whole[3:9, 11:29])
    assert region_map.rows_at(0, slice(3, 3), slice(0, 4)).shape == (0, 4)
    assert region_map.rows_at(0, slice(20, 99), slice(28, 99)).shape == (4, 2)


@pytest.mark.parametrize(("file", "number"), [(BLOCKS_FILE, 1), (ROWS_FILE, TILES)])
def test_a_lattice_of_tiles_that_do_not_exist_is_refused(
    own_map: Path, file: str, number: int
) -> None:
    lattice = np.load(own_map / file)
    lattice.flat[0] = number
    np.save(own_map / file, lattice)
    seal_again(own_map)
    with pytest.raises(MapError, match="that do not exist"):
        load_region_map(own_map).rows_at(0)


def test_the_encoder_that_made_the_map_may_fly_it(
    region_map: RegionMap, bundle: EncoderBundle
) -> None:
    region_map.require_encoder(bundle)


def test_another_encoder_is_refused_with_both_identities(
    region_map: RegionMap, tmp_path: Path
) -> None:
    other = load_encoder_bundle(write_tiny_encoder(tmp_path / "o.encoder", input_size=32))
    with pytest.raises(MapError, match="rebuild the map with this encoder") as caught:
        region_map.require_encoder(other)
    assert region_map.encoder_sha256[:12] in str(caught.value)
    assert other.encoder_sha256[:12] in str(caught.value)


def test_an_encoder_of_another_descriptor_size_is_refused(
    bundle: EncoderBundle, tmp_path: Path
) -> None:
    folder = write_small_map(tmp_path / "m.map", bundle.encoder_sha256, encoder_size=64)
    with pytest.raises(MapError, match="projects descriptors of 64 values"):
        load_region_map(folder).require_encoder(bundle)


ARRAYS = [TILES_FILE, DESCRIPTORS_FILE, BLOCKS_FILE, ROWS_FILE, MEAN_FILE, PROJECTION_FILE]
FILES_AND_WRONG_ARRAYS = [
    (DESCRIPTORS_FILE, np.zeros((TILES, DESCRIPTOR_SIZE), np.float32), "expected float16"),
    (DESCRIPTORS_FILE, np.zeros((TILES - 1, DESCRIPTOR_SIZE), np.float16), "expected float16"),
    (DESCRIPTORS_FILE, np.zeros((TILES, DESCRIPTOR_SIZE + 1), np.float16), "expected float16"),
    (DESCRIPTORS_FILE, np.zeros(TILES * DESCRIPTOR_SIZE, np.float16), "expected float16"),
    (TILES_FILE, np.zeros((TILES, 6), np.float64), "not a non-empty list of tiles"),
    (TILES_FILE, np.zeros(0, TILE_DTYPE), "not a non-empty list of tiles"),
    (TILES_FILE, np.zeros((TILES, 1), TILE_DTYPE), "not a non-empty list of tiles"),
    (BLOCKS_FILE, np.zeros(2, np.int32), "is not int32"),
    (BLOCKS_FILE, np.zeros(1, np.int64), "is not int32"),
    (ROWS_FILE, np.zeros((1, 32, 16), np.int32), "is not int32"),
    (ROWS_FILE, np.zeros((1, 32, 32), np.int64), "is not int32"),
    (ROWS_FILE, np.zeros((0, 32, 32), np.int32), "holds no tile"),
    (MEAN_FILE, np.zeros((2, 49), np.float32), "is not float32"),
    (MEAN_FILE, np.zeros((1, 49), np.float64), "is not float32"),
    (PROJECTION_FILE, np.zeros((48, DESCRIPTOR_SIZE), np.float32), "is not float32"),
    (PROJECTION_FILE, np.zeros((49, DESCRIPTOR_SIZE), np.float16), "is not float32"),
    (PROJECTION_FILE, np.zeros((49, 1), np.float32), "is not float32"),
]


@pytest.mark.parametrize(("file", "array", "complaint"), FILES_AND_WRONG_ARRAYS)
def test_an_array_of_another_shape_or_type_is_refused(
    own_map: Path, file: str, array: np.ndarray, complaint: str
) -> None:
    np.save(own_map / file, array)
    seal_again(own_map)
    with pytest.raises(MapError, match=complaint) as caught:
        load_region_map(own_map)
    assert str(own_map / file) in str(caught.value)


def test_a_level_that_the_manifest_does_not_describe_is_refused(own_map: Path) -> None:
    tiles = np.load(own_map / TILES_FILE)
    tiles["level"][0] = 1
    np.save(own_map / TILES_FILE, tiles)
    seal_again(own_map)
    with pytest.raises(MapError, match="names a level that the manifest does not describe"):
        load_region_map(own_map)


@pytest.mark.parametrize("file", ARRAYS)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_missing_array_is_named(own_map: Path, file: str, sealed: bool) -> None:
    (own_map / file).unlink()
    if sealed:
        seal_again(own_map)
    with pytest.raises(MapError, match=file):
        load_region_map(own_map)


@pytest.mark.parametrize("file", ARRAYS)
@pytest.mark.parametrize("content", ["half", "empty", "text", "zip"])
def test_an_array_that_is_no_array_is_named_even_if_the_manifest_agrees(
    own_map: Path, file: str, content: str
) -> None:
    path = own_map / file
    whole = path.read_bytes()
    by_name = {"half": whole[: len(whole) // 2], "empty": b"", "text": b"hello", "zip": b"PK\3\4zz"}
    path.write_bytes(by_name[content])
    seal_again(own_map)
    with pytest.raises(MapError, match=f"{file} cannot be read"):
        load_region_map(own_map)


def test_an_array_of_pickles_is_never_opened(own_map: Path) -> None:
    np.save(own_map / MEAN_FILE, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    seal_again(own_map)
    with pytest.raises(MapError, match=MEAN_FILE):
        load_region_map(own_map)


GOOD_LEVEL = {
    "footprint_m": 120.0,
    "stride_m": 30.0,
    "rows": 24,
    "columns": 30,
    "first_east_m": -435.0,
    "first_north_m": 345.0,
    "tiles": TILES,
}
BAD_LEVELS = [
    [{key: value for key, value in GOOD_LEVEL.items() if key != "stride_m"}],
    [{key: value for key, value in GOOD_LEVEL.items() if key != "tiles"}],
    [GOOD_LEVEL | {"tiles": TILES - 1}],
    [GOOD_LEVEL | {"tiles": 0}],
    [GOOD_LEVEL | {"tiles": "all"}],
    [GOOD_LEVEL, GOOD_LEVEL | {"tiles": 0}],
    [GOOD_LEVEL | {"tiles": TILES + 1}, GOOD_LEVEL | {"tiles": -1}],
    [GOOD_LEVEL | {"rows": "many"}],
    [GOOD_LEVEL | {"rows": 0}],
    [GOOD_LEVEL | {"columns": -3}],
    [GOOD_LEVEL | {"rows": float("inf")}],
    [GOOD_LEVEL | {"footprint_m": 0.0}],
    [GOOD_LEVEL | {"stride_m": -30.0}],
    [GOOD_LEVEL | {"stride_m": None}],
    [GOOD_LEVEL | {"first_east_m": float("nan")}],
    ["level"],
    [None],
    [],
    {},
    None,
]


@pytest.mark.parametrize("levels", BAD_LEVELS)
def test_a_malformed_level_is_refused(own_map: Path, levels: Any) -> None:
    rewrite_manifest(own_map, levels=levels)
    with pytest.raises(MapError):
        load_region_map(own_map)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("encoder_sha256", None),
        ("descriptor_size", "24"),
        ("storage", None),
        ("storage", "float8"),
        ("encoder_descriptor_size", 49.0),
        ("frame", None),
        ("frame", {}),
        ("frame", {"origin_latitude_deg": 47.0}),
        ("frame", {"origin_latitude_deg": "north", "origin_longitude_deg": 8.0}),
        ("frame", {"origin_latitude_deg": float("nan"), "origin_longitude_deg": 8.0}),
        ("frame", {"origin_latitude_deg": 10**400, "origin_longitude_deg": 8.0}),
        ("preview", []),
        ("preview", {"west_m": 0.0, "north_m": 0.0}),
        ("preview", {"west_m": 0.0, "north_m": 0.0, "metres_per_pixel": [1]}),
        ("preview", {"west_m": 0.0, "north_m": 0.0, "metres_per_pixel": 1.0, "south_m": 0.0}),
    ],
)
def test_a_malformed_field_is_refused(own_map: Path, field: str, value: Any) -> None:
    rewrite_manifest(own_map, **{field: value})
    with pytest.raises(MapError):
        load_region_map(own_map)


def test_an_encoder_bundle_is_no_region_map(encoder_folder: Path) -> None:
    with pytest.raises(MapError, match="describes an 'encoder bundle', not a region map"):
        load_region_map(encoder_folder)


def test_a_map_copied_in_part_is_refused_at_once(own_map: Path) -> None:
    path = own_map / DESCRIPTORS_FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MapError, match="copy it again"):
        load_region_map(own_map)


def test_verify_finds_one_flipped_bit_of_a_descriptor(own_map: Path) -> None:
    path = own_map / DESCRIPTORS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MapError, match=r"descriptors\.npy was altered"):
        load_region_map(own_map).verify()


def test_a_map_that_moved_opens_at_its_new_place(own_map: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(own_map, tmp_path / "moved.map"))
    assert load_region_map(moved).folder == moved
