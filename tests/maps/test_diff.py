"""What is different between two maps: counted, as footprints, as a picture."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmnil_maps.cli import main
from dmnil_maps.operations.difference import difference_of
from edge_runtime.contract.region_map import load_region_map
from tests.small_map import FRAME, LEVEL, seal_again, write_small_map

COARSE = replace(LEVEL, footprint_m=240.0, stride_m=60.0, rows=11, columns=14)
TURNED = 5


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_map(tmp_path_factory.mktemp("old") / "older.map", levels=(LEVEL, COARSE))


@pytest.fixture(scope="module")
def newer(older: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The older map with five descriptors turned, and cropped: the two easternmost columns gone."""
    folder = Path(shutil.copytree(older, tmp_path_factory.mktemp("new") / "newer.map"))
    region_map = load_region_map(folder)
    descriptors = np.load(folder / "descriptors.npy")
    in_middle = region_map.rows_at(0, slice(10, 11), slice(10, 10 + TURNED))[0]
    descriptors[in_middle] = np.roll(descriptors[in_middle], 1, axis=1)
    np.save(folder / "descriptors.npy", descriptors)
    seal_again(folder)
    # Footprints that reach further west than 340 m east: the last column stands at 435 m.
    (south, west), (north, east) = (
        FRAME.to_geodetic(place) for place in ([-900.0, -900.0], [340.0, 900.0])
    )
    cut = folder.with_name("cut.map")
    bounds = f"--bounds={west:.9f},{south:.9f},{east:.9f},{north:.9f}"
    assert main(["cut", str(folder), "-o", str(cut), bounds]) == 0
    return cut


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_added_removed_and_changed_tiles_are_counted(older, newer, capsys):
    assert main(["diff", str(older), str(newer), "--json"]) == 0
    fine, coarse = json.loads(capsys.readouterr().out)["levels"]
    removed = 24 * 2  # centres at 405 and 435 m
    assert fine["tiles"] == [720, 720 - removed]
    assert (fine["added"], fine["removed"], fine["changed"]) == (0, removed, TURNED)
    assert fine["smallest_cosine"] < 0.9
    assert (coarse["added"], coarse["changed"]) == (0, 0)
    assert main(["diff", str(newer), str(older), "--json"]) == 0
    fine, _ = json.loads(capsys.readouterr().out)["levels"]
    assert (fine["added"], fine["removed"], fine["changed"]) == (removed, 0, TURNED)


def test_the_limit_decides_what_counts_as_changed(older, newer):
    first, second = load_region_map(older), load_region_map(newer)
    cosines = difference_of(first, second, 0.98).levels[0].cosines
    lowest = float(cosines.min())
    assert np.count_nonzero(difference_of(first, second, lowest).levels[0].changed) == 0
    difference = difference_of(first, second, lowest + 1e-4)
    assert np.count_nonzero(difference.levels[0].changed) == 1


def test_a_map_does_not_differ_from_itself(older, capsys):
    difference = difference_of(load_region_map(older), load_region_map(older), 0.9999)
    assert difference.is_empty
    assert main(["diff", str(older), str(older)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "level"
    assert lines[1].split() == ["120", "m", "720", "720", "0", "0", "0", "1.000"]
    assert len({len(line) for line in lines}) == 1


def test_footprints_go_into_geojson(older, newer, tmp_path):
    path = tmp_path / "deep" / "changes.geojson"
    assert main(["diff", str(older), str(newer), "--geojson", str(path)]) == 0
    features = json.loads(path.read_text())["features"]
    changed = [f for f in features if f["properties"]["change"] == "changed"]
    assert len(changed) == TURNED
    assert all(f["properties"]["cosine"] < 0.98 for f in changed)
    wests, norths = [], []
    for feature in changed:
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert len(ring) == 5
        longitude, latitude = np.array(ring).T
        east_north = FRAME.to_local(latitude, longitude)
        np.testing.assert_allclose(np.ptp(east_north, axis=0), 120.0, atol=0.05)
        wests.append(east_north[:, 0].min())
        norths.append(east_north[:, 1].max())
        area = np.sum(longitude[:-1] * latitude[1:] - longitude[1:] * latitude[:-1])
        assert area > 0  # counter-clockwise, as RFC 7946 wants outer rings
    # Row 10 stands at 345 - 300 m north, columns 10 to 14 at -135 to -15 m east.
    np.testing.assert_allclose(sorted(wests), np.arange(-195.0, -60.0, 30.0), atol=0.05)
    np.testing.assert_allclose(norths, 105.0, atol=0.05)


def test_the_picture_marks_the_cells(older, newer, tmp_path):
    path = tmp_path / "changes.png"
    assert main(["diff", str(older), str(newer), "-o", str(path)]) == 0
    picture = cv2.imread(str(path))
    preview = load_region_map(newer).preview
    scale = 1600 / max(cv2.imread(str(newer / "preview.jpg")).shape[:2])

    def colour_at(east_m: float, north_m: float) -> np.ndarray:
        x = (east_m - preview.west_m) / preview.metres_per_pixel * scale
        y = (preview.north_m - north_m) / preview.metres_per_pixel * scale
        return picture[int(y), int(x)].astype(int)

    changed, same = colour_at(-75.0, 45.0), colour_at(-75.0, -105.0)
    assert changed[2] > changed[0] + 80
    assert np.ptp(same) < 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoder_sha256": "1" * 64}, "another encoder"),
        ({"frame": {"origin_latitude_deg": 47.0, "origin_longitude_deg": 8.5}}, "another frame"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(older, tmp_path, capsys, change, words):
    other = Path(shutil.copytree(older, tmp_path / "other.map"))
    seal_again(other, **change)
    assert main(["diff", str(older), str(other)]) == 2
    assert words in error_of(capsys)


def test_other_axes_or_means_are_refused(older, tmp_path, capsys):
    for name, words in (("projection", "another axes"), ("descriptor_mean", "another mean")):
        other = Path(shutil.copytree(older, tmp_path / f"{name}.map"))
        np.save(other / f"{name}.npy", np.load(other / f"{name}.npy") + 1)
        seal_again(other)
        assert main(["diff", str(older), str(other)]) == 2
        assert words in error_of(capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.map"], "no such directory"),
        (["{older}", "--limit", "2"], "limit is a cosine"),
        (["{older}", "-o", "changes.jpg"], "is not named .png"),
        (["{older}", "-o", "file/changes.png"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line(older, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    given = [argument.format(older=older) for argument in arguments]
    assert main(["diff", str(older), *given]) == 2
    assert words in error_of(capsys)
