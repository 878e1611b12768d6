"""A map's tiles as GeoParquet; skipped where pyarrow is absent."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.cli import main
from dmnil_maps.parquet import export_parquet
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.region_map import MapLevel, RegionMap, load_region_map
from tests.small_map import LEVEL, write_small_map

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def region_map(tmp_path_factory: pytest.TempPathFactory) -> RegionMap:
    small = MapLevel(60.0, 20.0, 2, 3, -20.0, 10.0)
    folder = tmp_path_factory.mktemp("map") / "small.map"
    return load_region_map(write_small_map(folder, levels=(LEVEL, small), storage="int8"))


def test_every_tile_is_a_row_with_its_place_and_its_descriptor(
    region_map: RegionMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmnil_maps.parquet._ROWS_PER_GROUP", 100)
    table = parquet.read_table(export_parquet(region_map, tmp_path / "new" / "tiles.parquet"))
    tiles = region_map.tiles
    assert table.num_rows == len(tiles) == 726
    for name in tiles.dtype.names or ():
        np.testing.assert_array_equal(table[name].to_numpy(), tiles[name])
    descriptors = np.array(table["descriptor"].to_pylist(), np.float32)
    np.testing.assert_array_equal(descriptors, region_map.descriptors_of(slice(None)))
    point = struct.unpack("<BIdd", table["geometry"][17].as_py())
    assert point == (1, 1, tiles["longitude_deg"][17], tiles["latitude_deg"][17])
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["columns"][geo["primary_column"]]["geometry_types"] == ["Point"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["tiles.parquet"]


def test_the_command_writes_places_alone_if_asked(
    region_map: RegionMap, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.parquet"
    arguments = ["export", str(region_map.folder), "-o", str(path), "--descriptors", "false"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith(f"{path}: 726 tiles, 0.0 MB")
    assert "descriptor" not in parquet.read_schema(path).names


def test_an_export_that_cannot_be_written_leaves_nothing(
    region_map: RegionMap, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    output = tmp_path / "file" / "t.parquet"
    assert main(["export", str(region_map.folder), "-o", str(output)]) == 2
    assert f"{output} cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_pyarrow_one_line_names_the_extra(
    region_map: RegionMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"dmnil-edge\[parquet\]"):
        export_parquet(region_map, tmp_path / "t.parquet")
