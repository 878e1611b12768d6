"""Newer imagery into a map: what changed is described again, all else stays to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from dmnil_maps.cli import main
from dmnil_maps.describe import verify_map
from dmnil_maps.operations.tile_changes import grown_levels, rows_on
from dmnil_maps.picture_digest import DIGESTS_FILE, picture_digests, read_digests
from dmnil_maps.raster import LocalBounds
from dmnil_maps.tiling import LatticeBlock
from edge_runtime.contract.artefact import MANIFEST_NAME, sha256_of_file
from edge_runtime.contract.region_map import RegionMap, load_region_map
from tests.maps.conftest import Ground, write_geotiff, write_ground
from tests.small_map import LEVEL, write_small_map
from tests.tiny_encoder import write_tiny_encoder

ARRAYS = (
    "tiles.npy", "descriptors.npy", "lattice_blocks.npy", "lattice_rows.npy",
    "descriptor_mean.npy", "projection.npy", DIGESTS_FILE,
)  # fmt: skip


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ground(tmp_path_factory.mktemp("imagery") / "before.tif", Ground(), "EPSG:32632")


@pytest.fixture(scope="module")
def after(before: Path) -> Path:
    """The same raster with a new building of 40 x 30 m."""
    return repainted(before, before.with_name("after.tif"), rows=(150, 180), columns=(300, 340))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, before: Path, tiny_encoder: Path) -> Path:
    output = tmp_path_factory.mktemp("map") / "town.map"
    arguments = [
        "build", str(before), "--encoder", str(tiny_encoder), "-o", str(output),
        "--footprints", "60,120", "--threads", "1", "--attribution", "Example Survey",
    ]  # fmt: skip
    assert main(arguments) == 0
    return output


def repainted(source: Path, target: Path, rows: tuple[int, int], columns: tuple[int, int]) -> Path:
    with rasterio.open(source) as raster:
        bands, transform, crs = raster.read(), raster.transform, raster.crs
    bands[:, slice(*rows), slice(*columns)] = np.array([250, 40, 40], np.uint8)[:, None, None]
    return write_geotiff(target, bands, str(crs), transform)


def moved_by(transform: rasterio.Affine, rows: int, columns: int) -> rasterio.Affine:
    """A north-up transform whose origin is so many pixels further south and east."""
    a, b, c, d, e, f = tuple(transform)[:6]
    return rasterio.Affine(a, b, c + columns * a, d, e, f + rows * e)


def cropped(source: Path, target: Path, rows: tuple[int, int], columns: tuple[int, int]) -> Path:
    with rasterio.open(source) as raster:
        window = rasterio.windows.Window.from_slices(rows, columns)
        bands, crs = raster.read(window=window), raster.crs
        transform = moved_by(raster.transform, rows[0], columns[0])
    return write_geotiff(target, bands, str(crs), transform)


def updated(source: Path, imagery: Path, encoder: Path, output: Path, *more: str) -> RegionMap:
    arguments = [
        "update", str(source), "--imagery", str(imagery), "--encoder", str(encoder),
        "-o", str(output), "--threads", "1", *more,
    ]  # fmt: skip
    assert main(arguments) == 0
    return verify_map(output)


def descriptors_by_place(region_map: RegionMap) -> dict[tuple[float, float, float], bytes]:
    tiles, descriptors = region_map.tiles, region_map.descriptors_of(slice(None))
    places = zip(
        tiles["footprint_m"].tolist(),
        np.round(tiles["latitude_deg"], 8).tolist(),
        np.round(tiles["longitude_deg"], 8).tolist(),
        strict=True,
    )
    return {place: row.tobytes() for place, row in zip(places, descriptors, strict=True)}


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if "error:" in line]
    assert len(errors) == 1, lines
    assert not any("Traceback" in line for line in lines)
    return errors[0]


def test_an_update_is_what_describing_everything_again_gives(
    built, after, tiny_encoder, tmp_path, capsys
):
    quick = updated(built, after, tiny_encoder, tmp_path / "quick.map", "--json")
    report = json.loads(capsys.readouterr().out)
    updated(built, after, tiny_encoder, tmp_path / "whole.map", "--everything", "true")
    for name in ARRAYS:
        one, other = (tmp_path / folder / name for folder in ("quick.map", "whole.map"))
        assert one.read_bytes() == other.read_bytes(), name
    assert report["compared"] == report["tiles"] == len(quick.tiles)
    assert 0 < report["changed"] < len(quick.tiles) / 2
    assert report["added"] == 0


def test_exactly_the_tiles_that_show_the_change_differ(built, after, tiny_encoder, tmp_path):
    new = updated(built, after, tiny_encoder, tmp_path / "new.map")
    old = load_region_map(built)
    differs = (new.descriptors_of(slice(None)) != old.descriptors_of(slice(None))).any(axis=1)
    assert np.array_equal(differs, read_digests(new) != read_digests(old))
    # The building's middle in the map's frame, by the raster's own transform.
    with rasterio.open(after) as raster:
        corner = moved_by(raster.transform, 165, 320)
        x, y = corner.c, corner.f
        (longitude,), (latitude,) = rasterio.warp.transform(raster.crs, "EPSG:4326", [x], [y])
    middle = new.frame.to_local(latitude, longitude)
    centres = new.frame.to_local(new.tiles["latitude_deg"], new.tiles["longitude_deg"])
    apart = np.abs(centres - middle).max(axis=1) - new.tiles["footprint_m"] / 2
    assert differs[apart < -1].all()
    assert not differs[apart > 25].any()


def test_the_same_imagery_changes_nothing(built, before, tiny_encoder, tmp_path, capsys):
    updated(built, before, tiny_encoder, tmp_path / "same.map", "--json")
    assert json.loads(capsys.readouterr().out)["changed"] == 0
    for name in ARRAYS:
        assert (tmp_path / "same.map" / name).read_bytes() == (built / name).read_bytes(), name


def test_previous_imagery_tells_what_changed_as_well(
    built, before, after, tiny_encoder, tmp_path, capsys
):
    updated(built, after, tiny_encoder, tmp_path / "digest.map")
    capsys.readouterr()
    updated(built, after, tiny_encoder, tmp_path / "by.map", "--previous", str(before), "--json")
    changed = json.loads(capsys.readouterr().out)["changed"]
    for name in ARRAYS:
        one, other = (tmp_path / folder / name for folder in ("by.map", "digest.map"))
        assert one.read_bytes() == other.read_bytes(), name
    more = ("--previous", str(before), "--limit", "8", "--json")
    updated(built, after, tiny_encoder, tmp_path / "limit.map", *more)
    assert 0 < json.loads(capsys.readouterr().out)["changed"] < changed


def test_imagery_of_a_part_leaves_the_rest(built, after, tiny_encoder, tmp_path, capsys):
    part = cropped(after, tmp_path / "part.tif", rows=(80, 260), columns=(220, 420))
    previous = cropped(
        after.with_name("before.tif"), tmp_path / "old.tif", rows=(80, 260), columns=(220, 420)
    )
    new = updated(
        built, part, tiny_encoder, tmp_path / "new.map", "--previous", str(previous), "--json"
    )
    report = json.loads(capsys.readouterr().out)
    assert 0 < report["changed"] < report["compared"] < len(new.tiles)
    whole = updated(built, after, tiny_encoder, tmp_path / "whole.map")
    similarity = (new.descriptors_of(slice(None)) * whole.descriptors_of(slice(None))).sum(axis=1)
    with_edge = load_region_map(built)
    assert new.levels == with_edge.levels
    assert np.mean(similarity > 0.99) > 0.9  # tiles at the part's edge still show the old ground


def test_an_extended_map_is_the_old_one_and_the_new_ground(before, tiny_encoder, tmp_path, capsys):
    half = cropped(before, tmp_path / "half.tif", rows=(60, 420), columns=(200, 520))
    small = tmp_path / "small.map"
    arguments = ["build", str(half), "--encoder", str(tiny_encoder), "-o", str(small)]
    assert main([*arguments, "--footprints", "60", "--threads", "1"]) == 0
    capsys.readouterr()
    new = updated(
        small, before, tiny_encoder, tmp_path / "large.map", "--previous", str(half),
        "--extend", "true", "--json",
    )  # fmt: skip
    report = json.loads(capsys.readouterr().out)
    old = load_region_map(small)
    assert report["added"] == len(new.tiles) - len(old.tiles) > 50
    assert new.levels[0].columns > old.levels[0].columns
    by_place, old_by_place = descriptors_by_place(new), descriptors_by_place(old)
    assert set(old_by_place) < set(by_place)
    same = [by_place[place] == descriptor for place, descriptor in old_by_place.items()]
    assert np.mean(same) == 1.0 - report["changed"] / report["compared"]
    # The part of the map that is old can be told from the lattice: merging finds it aligned.
    assert main(["merge", str(new.folder), str(small), "-o", str(tmp_path / "m.map")]) == 0
    assert len(load_region_map(tmp_path / "m.map").tiles) == len(new.tiles)


def test_an_update_says_where_it_came_from(built, after, tiny_encoder, tmp_path):
    more = ("--imagery-date", "2026", "--attribution", "New Survey")
    new = updated(built, after, tiny_encoder, tmp_path / "new.map", *more)
    assert new.manifest["imagery"]["date"] == "2026"
    assert new.manifest["imagery"]["attribution"] == "New Survey"
    (step,) = new.manifest["history"]
    assert step["operation"] == "update"
    assert step["imagery"] == ["after.tif"]
    assert step["from"][0]["manifest_sha256"] == sha256_of_file(built / MANIFEST_NAME)
    shown = cv2.imread(str(new.folder / "preview.jpg"))
    red = (shown[..., 2] > 200) & (shown[..., 1] < 90)
    assert red.sum() * new.preview.metres_per_pixel**2 == pytest.approx(1200.0, rel=0.15)


def test_grown_lattices_keep_their_positions():
    bounds = LocalBounds(west_m=-600.0, south_m=-500.0, east_m=560.0, north_m=420.0)
    grown = grown_levels([LEVEL], bounds)
    (level,), ((row, column),) = grown.levels, grown.first
    # Westwards from -435 at 30 m down to -540 for a footprint of 120: 3 more columns.
    assert (row, column) == (0, 3)
    assert (level.first_east_m, level.first_north_m) == (-525.0, 345.0)
    # The last column stood at 435, now at most at 500; the last row at -345, now at -440.
    assert level.columns == LEVEL.columns + 3 + 2
    assert level.rows == LEVEL.rows + 3
    np.testing.assert_array_equal(level.centre(row, column), LEVEL.centre(0, 0))
    assert grown_levels([LEVEL], None).levels == (LEVEL,)


def test_rows_on_grown_lattices(tmp_path):
    region_map = load_region_map(write_small_map(tmp_path / "small.map"))
    bounds = LocalBounds(west_m=-600.0, south_m=-500.0, east_m=560.0, north_m=420.0)
    grown = grown_levels(region_map.levels, bounds)
    level = grown.levels[0]
    whole = rows_on(region_map, grown, LatticeBlock(0, 0, 0, level.rows, level.columns))
    assert np.count_nonzero(whole >= 0) == len(region_map.tiles)
    np.testing.assert_array_equal(whole[:24, 3:33], region_map.rows_at(0))
    part = rows_on(region_map, grown, LatticeBlock(0, 20, 1, 7, 6))
    np.testing.assert_array_equal(part, whole[20:27, 1:7])


def test_digests_tell_pictures_apart():
    pictures = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)
    pictures[2] = pictures[0]
    one, two, three = picture_digests(pictures)
    assert one == three != two
    assert picture_digests([]).shape == (0,)
    shifted = picture_digests([np.pad(pictures[0], ((1, 1), (1, 1), (0, 0)))[1:-1, 1:-1]])
    assert shifted[0] == one  # a part of a larger picture


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"map": "none.map"}, "no such directory"),
        ({"--imagery": "none.tif"}, "none.tif"),
        ({"--encoder": "other.encoder"}, "was built with encoder"),
        ({"--encoder": "none.encoder"}, "no such directory"),
        ({"--imagery": "elsewhere.tif"}, "shows no tile of"),
        ({"--limit": "3"}, "a limit needs the previous imagery"),
        ({"--limit": "-1"}, "limit must be 0 or more"),
        ({"--precision": "fp16"}, "no fp16 graph"),
        ({"-o": "foreign"}, "is not a region map"),
    ],
)
def test_an_update_from_nothing_is_one_line(
    built, after, tiny_encoder, tmp_path, monkeypatch, capsys, changed, words
):
    monkeypatch.chdir(tmp_path)
    write_tiny_encoder(tmp_path / "other.encoder", cells=8)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("keep me")
    with rasterio.open(after) as raster:
        moved = moved_by(raster.transform, 0, 3000)
        write_geotiff(tmp_path / "elsewhere.tif", raster.read(), str(raster.crs), moved)
    given = {
        "map": str(built), "--imagery": str(after), "--encoder": str(tiny_encoder),
        "-o": "new.map", "--threads": "1", **changed,
    }  # fmt: skip
    options = [part for name, value in given.items() if name != "map" for part in (name, value)]
    assert main(["update", given["map"], *options]) == 2
    assert words in error_of(capsys)
    assert not (tmp_path / "new.map").exists()
    assert (tmp_path / "foreign" / "notes.txt").read_text() == "keep me"


def test_damaged_imagery_leaves_no_map(built, after, tiny_encoder, tmp_path, capsys):
    with rasterio.open(after) as raster:
        path = write_geotiff(
            tmp_path / "damaged.tif",
            raster.read(),
            str(raster.crs),
            raster.transform,
            compress="deflate",
            interleave="pixel",
        )
    with rasterio.open(path) as raster:
        place, size = (
            int(raster.get_tag_item(f"BLOCK_{what}_1_1", "TIFF", bidx=1))
            for what in ("OFFSET", "SIZE")
        )
    content = bytearray(path.read_bytes())
    content[place : place + size] = b"\x07" * size
    path.write_bytes(content)
    arguments = ["update", str(built), "--imagery", str(path), "--encoder", str(tiny_encoder)]
    assert main([*arguments, "-o", str(tmp_path / "new.map")]) == 2
    assert "damaged" in error_of(capsys)
    assert not (tmp_path / "new.map").exists()


def test_without_digests_something_has_to_tell_what_changed(after, tiny_encoder, tmp_path, capsys):
    from edge_runtime.contract.encoder_bundle import load_encoder_bundle

    bundle = load_encoder_bundle(tiny_encoder)
    folder = write_small_map(tmp_path / "old.map", bundle.encoder_sha256, bundle.descriptor_size)
    arguments = ["update", str(folder), "--imagery", str(after), "--encoder", str(tiny_encoder)]
    assert main([*arguments, "-o", str(tmp_path / "new.map")]) == 2
    assert "--previous" in error_of(capsys)
