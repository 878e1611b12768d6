"""A map's own picture: what builds, cuts, merges and updates make of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import transform

from dmnil_maps.cli import main
from dmnil_maps.describe import verify_map
from dmnil_maps.raster import open_imagery
from edge_runtime.contract.map_imagery import TILE_PX
from edge_runtime.contract.region_map import RegionMap, load_region_map
from tests.maps.conftest import LATITUDE_DEG, LONGITUDE_DEG, Ground, write_geotiff, write_ground

SPOT = (47.3774, 8.5428)
# Pixels of 0.3 m, so that a tile of the picture is 77 m and the ground spans some tiles.
PIXEL_M = 0.3


def build(source: Path, encoder: Path, output: Path, *more: str) -> RegionMap:
    arguments = [
        "build", str(source), "--encoder", str(encoder), "-o", str(output), "--threads", "1",
        "--attribution", "Example Survey, CC BY 4.0", *more,
    ]  # fmt: skip
    assert main(arguments) == 0
    return load_region_map(output)


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ground = Ground(markers=(SPOT,))
    return write_ground(tmp_path_factory.mktemp("before") / "before.tif", ground, "EPSG:32632")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, before: Path, tiny_encoder: Path) -> RegionMap:
    output = tmp_path_factory.mktemp("map") / "town.map"
    return build(
        before, tiny_encoder, output, "--imagery", "true", "--imagery_resolution_m", str(PIXEL_M)
    )


@pytest.fixture(scope="module")
def parts(built: RegionMap, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The west and the east of the map, with tiles in common."""
    folder = tmp_path_factory.mktemp("parts")
    west = cut(built, folder / "west.map", -230.0, -170.0, -20.0, 170.0)
    return west, cut(built, folder / "east.map", 20.0, -170.0, 230.0, 170.0)


def cut(region_map: RegionMap, output: Path, *bounds_m: float) -> Path:
    west, south, east, north = bounds_m
    latitude, longitude = region_map.frame.to_geodetic([[west, south], [east, north]])
    bounds = ",".join(
        repr(float(value)) for value in (longitude[0], latitude[0], longitude[1], latitude[1])
    )
    assert main(["cut", str(region_map.folder), "-o", str(output), f"--bounds={bounds}"]) == 0
    return output


def tiles_of(region_map: RegionMap) -> dict[tuple[int, int], tuple[bytes, bytes]]:
    """Stored tiles by where their corners lie, in whole pixels."""
    picture = region_map.imagery
    assert picture is not None
    grid = picture.grid
    return {
        (
            round((grid.west_m + column * grid.tile_m) / PIXEL_M),
            round((grid.north_m - row * grid.tile_m) / PIXEL_M),
        ): encoded
        for row, column in np.ndindex(grid.rows, grid.columns)
        if (encoded := picture.encoded(row, column)) is not None
    }


def test_the_picture_shows_what_the_imagery_shows(built, before):
    with open_imagery(before, frame=built.frame) as imagery:
        for centre in np.random.default_rng(2).uniform(-120, 120, (5, 2)):
            view = built.imagery.view(centre, 96.0, 120)
            picture = imagery.read(centre[0] - 48, centre[1] + 48, (0.8, 0.8), 120, 120)
            assert np.abs(view.astype(int) - picture.rgb).mean() < 2.0


def test_gdal_finds_a_spot_where_proj_puts_it(built):
    with rasterio.open(built.folder / "imagery.tif") as raster:
        red = raster.read(1).astype(float)
        rows, columns = np.nonzero(red > 248)
        x, y = raster.xy(rows.mean(), columns.mean())
        ((longitude,), (latitude,)) = transform(raster.crs, "EPSG:4326", [x], [y])
        assert raster.tags()["TIFFTAG_COPYRIGHT"] == "Example Survey, CC BY 4.0"
    offset_m = built.frame.to_local(latitude, longitude) - built.frame.to_local(*SPOT)
    assert np.abs(offset_m).max() < 1.0


def test_every_tile_of_the_map_has_its_ground_in_the_picture(built):
    for tile in built.tiles[:: len(built.tiles) // 20]:
        centre = built.frame.to_local(tile["latitude_deg"], tile["longitude_deg"])
        assert built.imagery.view(centre, float(tile["footprint_m"]), 64) is not None


def test_a_map_with_its_picture_has_the_same_tiles_and_descriptors_as_without(
    built, before, tiny_encoder, tmp_path
):
    plain = build(before, tiny_encoder, tmp_path / "plain.map")
    assert plain.imagery is None
    files = {name: entry["sha256"] for name, entry in built.manifest["files"].items()}
    del files["imagery.tif"]
    assert files == {name: entry["sha256"] for name, entry in plain.manifest["files"].items()}


def test_the_picture_is_as_fine_as_the_finest_level_is_seen(before, tiny_encoder, tmp_path):
    region_map = build(
        before, tiny_encoder, tmp_path / "m.map", "--imagery", "true", "--footprints", "60,120"
    )
    assert region_map.imagery.grid.metres_per_pixel == 60.0 / 64  # the encoder's input


def test_verify_and_info_know_the_picture(built, capsys):
    verify_map(built.folder)
    assert main(["info", str(built.folder)]) == 0
    assert "in the map at 0.30 m a pixel (imagery.tif" in capsys.readouterr().out
    assert main(["info", str(built.folder), "--json"]) == 0
    picture = json.loads(capsys.readouterr().out)["picture"]
    size = (built.folder / "imagery.tif").stat().st_size
    assert picture == {"metres_per_pixel": 0.3, "bytes": size}


def test_a_cut_copies_the_tiles_under_it_and_no_others(built, parts):
    west = load_region_map(parts[0])
    whole, kept = tiles_of(built), tiles_of(west)
    assert all(whole[place] == encoded for place, encoded in kept.items())
    assert 0 < len(kept) < len(whole)
    reach = max(place[0] + TILE_PX for place in kept) * PIXEL_M
    tile_edges = west.frame.to_local(west.tiles["latitude_deg"], west.tiles["longitude_deg"])[:, 0]
    assert tile_edges.max() + 60.0 <= reach < tile_edges.max() + 60.0 + 256 * PIXEL_M


def test_merged_parts_have_the_whole_picture_again(built, parts, tmp_path):
    output = tmp_path / "both.map"
    assert main(["merge", *map(str, parts), "-o", str(output)]) == 0
    merged, whole = tiles_of(load_region_map(output)), tiles_of(built)
    assert merged == {place: whole[place] for place in merged}
    assert merged.keys() == whole.keys()


def test_a_merge_with_a_map_that_has_no_picture_has_none_and_says_so(
    built, parts, tmp_path, caplog
):
    bare = cut(built, tmp_path / "bare.map", 20.0, -170.0, 230.0, 170.0)
    (bare / "imagery.tif").unlink()
    manifest = json.loads((bare / "manifest.json").read_text())
    del manifest["files"]["imagery.tif"]
    (bare / "manifest.json").write_text(json.dumps(manifest))
    output = tmp_path / "both.map"
    with caplog.at_level(logging.WARNING):
        assert main(["merge", str(parts[0]), str(bare), "-o", str(output)]) == 0
    assert load_region_map(output).imagery is None
    assert "has no imagery.tif" in caplog.text


def test_an_update_shows_the_newer_ground_and_copies_the_rest(
    built, before, tiny_encoder, tmp_path
):
    with rasterio.open(before) as raster:
        bands, crs = raster.read(), str(raster.crs)
        corner = raster.xy(120, 300, offset="ul")
        middle = raster.xy(210, 400, offset="ul")
    newer = write_geotiff(
        tmp_path / "newer.tif",
        np.full_like(bands[:, 120:300, 300:500], 222),
        crs,
        rasterio.Affine(1.0, 0.0, corner[0], 0.0, -1.0, corner[1]),
    )
    output = tmp_path / "updated.map"
    arguments = ["--imagery", str(newer), "--encoder", str(tiny_encoder), "-o", str(output)]
    assert main(["update", str(built.folder), *arguments, "--threads", "1"]) == 0
    updated = load_region_map(output)
    ((longitude,), (latitude,)) = transform(crs, "EPSG:4326", *([value] for value in middle))
    centre = updated.frame.to_local(latitude, longitude)
    view = updated.imagery.view(centre, 60.0, 64)
    assert np.abs(view.astype(int) - 222).max() < 4
    old, new = tiles_of(built), tiles_of(updated)
    assert old.keys() == new.keys()
    same = sum(old[place] == new[place] for place in old)
    assert 0 < same < len(old)
    corner = np.array([-150.0, -100.0])
    np.testing.assert_array_equal(
        updated.imagery.view(corner, 60.0, 64), built.imagery.view(corner, 60.0, 64)
    )
    # Beside the newer raster's edge stands the older picture, not black.
    beside = centre - (140.0, 0.0)
    expected = built.imagery.view(beside, 60.0, 64)
    assert np.abs(updated.imagery.view(beside, 60.0, 64).astype(int) - expected).mean() < 2


def test_a_corridor_carries_only_its_own_ground(before, tiny_encoder, tmp_path):
    south, north = LATITUDE_DEG - 0.0002, LATITUDE_DEG + 0.0002
    region_map = build(
        before, tiny_encoder, tmp_path / "c.map", "--imagery", "true",
        "--imagery_resolution_m", "0.1",
        f"--bounds={LONGITUDE_DEG - 0.003},{south},{LONGITUDE_DEG + 0.003},{north}",
    )  # fmt: skip
    north_edge = max(place[1] for place in tiles_of_pixels(region_map, 0.1)) * 0.1
    # A tile of 120 m may lie all but touching the strip, and a picture's tile is 25.6 m.
    assert north_edge < 0.0002 * 111_200 + 120 + 25.6 + 1


def tiles_of_pixels(region_map: RegionMap, pixel_m: float) -> list[tuple[int, int]]:
    grid = region_map.imagery.grid
    return [
        (
            round(grid.west_m / pixel_m) + column * TILE_PX,
            round(grid.north_m / pixel_m) - row * TILE_PX,
        )
        for row, column in np.ndindex(grid.rows, grid.columns)
        if region_map.imagery.has_tile(row, column)
    ]


@pytest.mark.parametrize(
    "options",
    [("--imagery", "true", "--imagery_resolution_m", "-1"), ("--imagery_resolution_m", "1")],
)
def test_a_resolution_of_no_sense_is_refused_in_one_line(
    before, tiny_encoder, tmp_path, capsys, options
):
    arguments = [
        "build",
        str(before),
        "--encoder",
        str(tiny_encoder),
        "-o",
        str(tmp_path / "x.map"),
    ]
    assert main([*arguments, *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
