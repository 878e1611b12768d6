"""Parts of maps and maps of parts: the same tiles and descriptors, in other places on the disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmnil_maps.cli import main
from dmnil_maps.describe import verify_map
from dmnil_maps.picture_digest import DIGESTS_FILE, write_digests
from edge_runtime.contract.artefact import MANIFEST_NAME, SIGNATURE_NAME, sha256_of_file
from edge_runtime.contract.region_map import RegionMap, load_region_map
from tests.small_map import FRAME, LEVEL, seal_again, write_small_map

COARSE = replace(LEVEL, footprint_m=240.0, stride_m=60.0, rows=11, columns=14)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two levels, a hole in each, a preview whose every pixel tells its place."""
    holes = frozenset((row, column) for row in (5, 6) for column in (7, 8))
    folder = write_small_map(
        tmp_path_factory.mktemp("whole") / "whole.map", levels=(LEVEL, COARSE), missing=holes
    )
    column, row = np.meshgrid(np.arange(500), np.arange(400))
    picture = np.stack([column // 2, row // 2, np.full_like(row, 120)], axis=-1)
    assert cv2.imwrite(str(folder / "preview.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    count = len(np.load(folder / "tiles.npy"))
    write_digests(folder, np.arange(count, dtype=np.uint64) * np.uint64(7))
    seal_again(folder)
    return folder


def degrees(east_m: float, north_m: float) -> tuple[float, float]:
    latitude, longitude = FRAME.to_geodetic([east_m, north_m])
    return float(latitude), float(longitude)


def bounds_option(west_m: float, south_m: float, east_m: float, north_m: float) -> str:
    (south, west), (north, east) = degrees(west_m, south_m), degrees(east_m, north_m)
    return f"--bounds={west!r},{south!r},{east!r},{north!r}"


def contents_by_place(region_map: RegionMap) -> dict[tuple[float, float, float], list[object]]:
    """Every tile's descriptor, digest and distinctiveness by its footprint and exact place."""
    digests = np.load(region_map.folder / DIGESTS_FILE)
    descriptors = region_map.descriptors_of(slice(None))
    return {
        (float(tile["footprint_m"]), float(tile["latitude_deg"]), float(tile["longitude_deg"])): [
            descriptor.tobytes(),
            int(digest),
            float(tile["distinctiveness"]),
        ]
        for tile, descriptor, digest in zip(region_map.tiles, descriptors, digests, strict=True)
    }


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_a_cut_keeps_exactly_the_tiles_that_touch_the_area(whole, tmp_path, capsys):
    output = tmp_path / "part.map"
    west_m, south_m, east_m, north_m = -100.0, -50.0, 130.0, 80.0
    area = bounds_option(west_m, south_m, east_m, north_m)
    assert main(["cut", str(whole), "-o", str(output), area]) == 0
    before, after = load_region_map(whole), verify_map(output)
    tiles = before.tiles
    east, north = FRAME.to_local(tiles["latitude_deg"], tiles["longitude_deg"]).T
    half = tiles["footprint_m"] / 2
    inside = (east + half > west_m) & (east - half < east_m)
    inside &= (north + half > south_m) & (north - half < north_m)
    expected = {
        place for place, wanted in zip(contents_by_place(before), inside, strict=True) if wanted
    }
    kept = contents_by_place(after)
    assert set(kept) == expected
    assert kept == {place: contents_by_place(before)[place] for place in expected}
    assert f"{len(expected)} of {len(tiles)} tiles" in capsys.readouterr().out


def test_a_cut_crops_the_lattices_and_keeps_all_else(whole, tmp_path):
    output = tmp_path / "part.map"
    area = bounds_option(-100.0, -50.0, 130.0, 80.0)
    assert main(["cut", str(whole), "-o", str(output), area]) == 0
    before, after = load_region_map(whole), load_region_map(output)
    assert after.frame == before.frame
    assert after.manifest["storage"] == before.manifest["storage"]
    np.testing.assert_array_equal(after.projection, before.projection)
    np.testing.assert_array_equal(after.descriptor_mean, before.descriptor_mean)
    # Centres from -160 to 190 m east: -435 + 30 n gives -135 to 165; from 140 down to -110 m north.
    fine = after.levels[0]
    assert (fine.columns, fine.first_east_m) == (11, -135.0)
    assert (fine.rows, fine.first_north_m) == (9, 135.0)
    assert (fine.footprint_m, fine.stride_m) == (120.0, 30.0)
    assert after.manifest["imagery"] == before.manifest["imagery"]
    assert after.manifest["bounds"]["north_deg"] < degrees(0.0, 345.0 + 60.0)[0]
    (step,) = after.manifest["history"]
    assert step["operation"] == "cut"
    assert step["from"][0]["manifest_sha256"] == sha256_of_file(whole / MANIFEST_NAME)


def test_a_cut_drops_the_signature(whole, tmp_path):
    signed = Path(shutil.copytree(whole, tmp_path / "signed.map"))
    (signed / SIGNATURE_NAME).write_bytes(b"a signature")
    area = bounds_option(-100.0, -50.0, 130.0, 80.0)
    assert main(["cut", str(signed), "-o", str(tmp_path / "part.map"), area]) == 0
    assert not (tmp_path / "part.map" / SIGNATURE_NAME).exists()


def test_the_preview_of_a_cut_shows_its_own_ground(whole, tmp_path):
    output = tmp_path / "part.map"
    area = bounds_option(-100.0, -50.0, 130.0, 80.0)
    assert main(["cut", str(whole), "-o", str(output), area]) == 0
    preview = load_region_map(output).preview
    picture = cv2.imread(str(output / "preview.jpg"))
    assert preview.metres_per_pixel == 2.0
    left = (preview.west_m + 500.0) / 2.0
    top = (400.0 - preview.north_m) / 2.0
    assert left == round(left)
    assert top == round(top)
    # The painted preview tells column and row of the pixel that it was, halved.
    np.testing.assert_allclose(picture[20, 30, :2], [(left + 30) // 2, (top + 20) // 2], atol=3)


def test_a_corridor_is_cut_along_a_route(whole, tmp_path):
    route = tmp_path / "route.gpx"
    points = [degrees(-300.0, 0.0), degrees(300.0, 0.0)]
    route.write_text(
        "<gpx><rte>"
        + "".join(f'<rtept lat="{lat!r}" lon="{lon!r}"/>' for lat, lon in points)
        + "</rte></gpx>"
    )
    output = tmp_path / "corridor.map"
    arguments = ["cut", str(whole), "-o", str(output), "--corridor", str(route), "--width", "40"]
    assert main(arguments) == 0
    region_map = verify_map(output)
    fine = region_map.tiles[region_map.rows_of_level(0)]
    north = FRAME.to_local(fine["latitude_deg"], fine["longitude_deg"])[:, 1]
    # Lattice rows stand at 345 - 30 n; those whose 60 m to either side reach within 20 m of 0.
    assert sorted(set(np.round(north))) == [-75.0, -45.0, -15.0, 15.0, 45.0, 75.0]


def test_parts_that_are_merged_again_are_the_whole(whole, tmp_path):
    west, east = tmp_path / "west.map", tmp_path / "east.map"
    assert main(["cut", str(whole), "-o", str(west), bounds_option(-700, -600, 0, 600)]) == 0
    assert main(["cut", str(whole), "-o", str(east), bounds_option(-50, -600, 700, 600)]) == 0
    output = tmp_path / "again.map"
    assert main(["merge", str(east), str(west), "-o", str(output)]) == 0
    merged = verify_map(output)
    assert merged.levels == load_region_map(whole).levels
    for name in ("tiles", "descriptors", "lattice_blocks", "lattice_rows", "picture_digests"):
        assert (output / f"{name}.npy").read_bytes() == (whole / f"{name}.npy").read_bytes()
    assert [step["operation"] for step in merged.manifest["history"]] == ["cut", "merge"]


def test_where_maps_overlap_the_first_named_wins(whole, tmp_path, capsys):
    other = Path(shutil.copytree(whole, tmp_path / "other.map"))
    descriptors = np.load(other / "descriptors.npy")
    np.save(other / "descriptors.npy", descriptors[::-1].copy())
    seal_again(other)
    part = tmp_path / "part.map"
    assert main(["cut", str(other), "-o", str(part), bounds_option(-100, -50, 130, 80)]) == 0
    for order in ((whole, part), (part, whole)):
        output = tmp_path / "merged.map"
        assert main(["merge", *map(str, order), "-o", str(output)]) == 0
        expected = contents_by_place(load_region_map(order[1]))
        expected.update(contents_by_place(load_region_map(order[0])))
        assert contents_by_place(verify_map(output)) == expected
    assert f"{len(load_region_map(part).tiles)} more were" in capsys.readouterr().out


def test_levels_that_one_map_lacks_are_added(whole, tmp_path):
    fine_only = write_small_map(tmp_path / "fine.map")
    with_coarse = Path(shutil.copytree(whole, tmp_path / "both.map"))
    both = load_region_map(with_coarse)
    np.save(fine_only / "descriptor_mean.npy", np.asarray(both.descriptor_mean[:1]))
    np.save(fine_only / "projection.npy", np.asarray(both.projection))
    seal_again(fine_only)
    output = tmp_path / "merged.map"
    assert main(["merge", str(fine_only), str(with_coarse), "-o", str(output)]) == 0
    merged = verify_map(output)
    assert [level.footprint_m for level in merged.levels] == [120.0, 240.0]
    assert len(merged.tiles) == LEVEL.rows * LEVEL.columns + both.tiles_per_level[1]
    assert not (output / DIGESTS_FILE).exists()  # one of the two has none


def another_encoder(folder: Path) -> None:
    seal_again(folder, encoder_sha256="1" * 64)


def another_frame(folder: Path) -> None:
    seal_again(folder, frame={"origin_latitude_deg": 47.0, "origin_longitude_deg": 8.5})


def other_axes(folder: Path) -> None:
    projection = np.load(folder / "projection.npy")
    np.save(folder / "projection.npy", projection[::-1].copy())
    seal_again(folder)


def another_mean(folder: Path) -> None:
    np.save(folder / "descriptor_mean.npy", np.load(folder / "descriptor_mean.npy") + 1)
    seal_again(folder)


def another_lattice(folder: Path) -> None:
    levels = json.loads((folder / MANIFEST_NAME).read_text())["levels"]
    levels[0]["first_east_m"] += 7.5
    seal_again(folder, levels=levels)


def far_away(folder: Path) -> None:
    levels = json.loads((folder / MANIFEST_NAME).read_text())["levels"]
    levels[0]["first_east_m"] += 30.0 * 2**40
    seal_again(folder, levels=levels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (another_encoder, "was built with encoder 111111111111"),
        (another_frame, "another frame"),
        (other_axes, "another axes"),
        (another_mean, "another mean descriptor"),
        (another_lattice, "7.50 m beside the lattice"),
        (far_away, "too far apart"),
    ],
)
def test_maps_that_do_not_belong_together_are_refused(whole, tmp_path, capsys, change, words):
    other = Path(shutil.copytree(whole, tmp_path / "other.map"))
    change(other)
    assert main(["merge", str(whole), str(other), "-o", str(tmp_path / "merged.map")]) == 2
    assert words in error_of(capsys)
    assert not (tmp_path / "merged.map").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of --bounds, --polygon and --corridor"),
        (["--bounds=1,2,3,4"], "where there is no imagery"),
        (["--bounds=8.5,47.3,8.6,47.4", "--polygon", "a.json"], "give one of"),
        (["--bounds=8.5,47.3,8.6,47.4", "--width", "5"], "go together"),
        (["--corridor", "route.gpx"], "go together"),
        (["--corridor", "route.gpx", "--width", "100"], "cannot be read"),
        (["--polygon", "none.json"], "cannot be read"),
        (["--bounds=wide"], "bounds are west,south,east,north"),
    ],
)
def test_a_cut_of_nothing_is_one_line(whole, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["cut", str(whole), "-o", "part.map", *arguments]) == 2
    assert words in error_of(capsys)
    assert list(tmp_path.iterdir()) == []


def test_an_area_in_a_hole_of_the_map_has_no_tile(tmp_path, capsys):
    hole = frozenset((row, column) for row in range(4, 20) for column in range(4, 26))
    folder = write_small_map(tmp_path / "ring.map", missing=hole)
    output = tmp_path / "part.map"
    assert main(["cut", str(folder), "-o", str(output), bounds_option(-5, -5, 5, 5)]) == 2
    assert "no tile of" in error_of(capsys)
    assert not output.exists()


@pytest.mark.parametrize("command", ["cut", "merge"])
def test_missing_maps_and_foreign_outputs_are_refused(whole, tmp_path, capsys, command):
    more = [bounds_option(-100, -50, 130, 80)] if command == "cut" else [str(whole)]
    none = tmp_path / "none.map"
    assert main([command, str(none), *more, "-o", str(tmp_path / "new.map")]) == 2
    assert "no such directory" in error_of(capsys)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "notes.txt").write_text("keep me")
    assert main([command, str(whole), *more, "-o", str(tmp_path / "precious")]) == 2
    assert "is not a region map" in error_of(capsys)
    assert (tmp_path / "precious" / "notes.txt").read_text() == "keep me"


def test_merging_one_map_is_refused(whole, tmp_path, capsys):
    assert main(["merge", str(whole), "-o", str(tmp_path / "m.map")]) == 2
    assert "two maps or more" in error_of(capsys)


def test_a_map_may_be_cut_onto_itself(tmp_path):
    folder = write_small_map(tmp_path / "own.map")
    assert main(["cut", str(folder), "-o", str(folder), bounds_option(-100, -50, 130, 80)]) == 0
    assert len(verify_map(folder).tiles) < LEVEL.rows * LEVEL.columns


def test_parts_of_an_int8_map_keep_their_bytes(tmp_path):
    folder = write_small_map(tmp_path / "small.map", storage="int8")
    output = tmp_path / "part.map"
    assert main(["cut", str(folder), "-o", str(output), bounds_option(-100, -50, 130, 80)]) == 0
    before, after = load_region_map(folder), verify_map(output)
    assert after.manifest["storage"] == "int8"
    rows = before.rows_at(0, slice(7, 16), slice(10, 21))
    assert after.rows_at(0).shape == rows.shape
    found = after.descriptors_of(after.rows_at(0).ravel())
    np.testing.assert_allclose(found, before.descriptors_of(rows.ravel()), rtol=1e-6, atol=1e-9)


def test_parts_of_a_pq_map_are_int8(tmp_path):
    """Codes mean something in their own map only, and training new ones would lose again."""
    pytest.importorskip("faiss")
    folder = write_small_map(tmp_path / "small.map", storage="pq")
    output = tmp_path / "part.map"
    assert main(["cut", str(folder), "-o", str(output), bounds_option(-100, -50, 130, 80)]) == 0
    before, after = load_region_map(folder), verify_map(output)
    assert after.manifest["storage"] == "int8"
    rows = before.rows_at(0, slice(7, 16), slice(10, 21)).ravel()
    found, expected = after.descriptors_of(after.rows_at(0).ravel()), before.descriptors_of(rows)
    np.testing.assert_allclose(found, expected, atol=np.abs(expected).max() / 127)
