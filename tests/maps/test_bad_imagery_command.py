"""`dmnil-map build` of imagery that makes no map: one line, exit 2, and nothing written."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

from dmnil_maps.cli import main
from edge_runtime.contract.region_map import load_region_map
from tests.maps.conftest import write_geotiff
from tests.maps.test_raster_damage import damage_block, write_town

GREY = np.full((3, 400, 400), 90, np.uint8)
UTM = Affine(1, 0, 465_000, 0, -1, 5_247_000)


def no_georeference(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return write_geotiff(path, GREY, None, None)


def swapped_axes(path):
    return write_geotiff(path, GREY, "EPSG:4326", Affine(1e-5, 0, -33.8, 0, -1e-5, 151.2))


def degrees_as_metres(path):
    return write_geotiff(path, GREY, "EPSG:32632", Affine(1e-5, 0, 8.5, 0, -1e-5, 47.4))


def smaller_than_a_footprint(path):
    return write_geotiff(path, GREY[:, :100], "EPSG:32632", UTM)


def all_nodata(path):
    return write_geotiff(path, GREY, "EPSG:32632", UTM, nodata=90)


def damaged(path):
    write_town(path)
    for column in range(9):
        damage_block(path, 5 + column, 12)
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (no_georeference, "has no georeference"),
        (swapped_axes, "latitude and longitude look swapped"),
        (degrees_as_metres, "look like degrees"),
        (smaller_than_a_footprint, "smaller than one footprint"),
        (all_nodata, "is covered to 95%"),
        (damaged, "at least 8 of 729 blocks are damaged"),
    ],
)
def test_a_build_of_bad_imagery_ends_with_one_line(tmp_path, tiny_encoder, capsys, make, said):
    path = make(tmp_path / "bad.tif")
    output = tmp_path / "bad.map"
    assert main(["build", str(path), "--encoder", str(tiny_encoder), "-o", str(output)]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if said in line]
    assert len(lines) == 1
    assert lines[0].startswith("dmnil-map: ")
    assert not output.exists()


def test_a_build_of_imagery_with_little_damage_leaves_a_hole(tmp_path, tiny_encoder, capsys):
    path = write_town(tmp_path / "town.tif")
    maps = []
    for name in ("sound", "damaged"):
        output = tmp_path / f"{name}.map"
        assert main(["build", str(path), "--encoder", str(tiny_encoder), "-o", str(output)]) == 0
        maps.append(load_region_map(output))
        damage_block(path, 14, 12)
    assert "1 damaged block" in capsys.readouterr().out
    sound, holed = maps
    # A block of 32 m is 7 % of a tile of 120 m: those that hold all of it are left out.
    assert 1 <= len(sound.tiles) - len(holed.tiles) <= 25
    east, north = (
        sound.frame.to_local(sound.tiles["latitude_deg"], sound.tiles["longitude_deg"])
    ).T
    kept = holed.frame.to_local(holed.tiles["latitude_deg"], holed.tiles["longitude_deg"])
    gone = [
        place for place in zip(east, north, strict=True) if np.abs(kept - place).max(1).min() > 1
    ]
    assert np.ptp(np.array(gone), axis=0).max() <= 120.0
