"""From imagery to a map that the runtime opens."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pyproj import Transformer

from dmnil_maps.build import build_map, build_with_report
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.raster import open_imagery
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import (
    BundleError,
    ConfigError,
    EngineError,
    MapError,
    OutputError,
)
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.engines import open_engine
from tests.maps.conftest import KINDS, Ground, paint, raster_grid, write_geotiff
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture(scope="module")
def map_of(tmp_path_factory, imagery_of, tiny_encoder):
    """Maps of the textured ground, built once a kind."""
    folder = tmp_path_factory.mktemp("maps")

    def built(kind):
        output = folder / f"{kind}.map"
        if not output.exists():
            build_map(BuildConfig(imagery_of(kind), tiny_encoder, output, threads=1))
        return load_region_map(output)

    return built


def on_map_axes(region_map, encoded, level=0):
    """Descriptors (N, K) as the map keeps them, of the encoder's (N, D)."""
    projected = (encoded - region_map.descriptor_mean[level]) @ region_map.projection
    return projected / np.linalg.norm(projected, axis=1, keepdims=True)


def encoded_tiles(region_map, source, encoder, chosen):
    """The encoder's descriptors (N, D) of a map's chosen tiles, each warped and encoded alone."""
    engine = open_engine(encoder, threads=1)
    encoded = []
    with open_imagery(source) as imagery:
        for tile in region_map.tiles[chosen]:
            side = float(tile["footprint_m"])
            level = region_map.levels[tile["level"]]
            east, north = level.centre(tile["lattice_row"], tile["lattice_column"])
            picture = imagery.read(east - side / 2, north + side / 2, (side / 64,) * 2, 64, 64)
            encoded.append(engine.encode(picture.rgb[None])[0])
    return np.stack(encoded)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_lie_where_proj_puts_them(map_of, kind):
    region_map = map_of(kind)
    frame, tiles = region_map.frame, region_map.tiles
    to_frame = Transformer.from_crs(
        "EPSG:4326",
        f"+proj=ortho +lat_0={frame.latitude_deg} +lon_0={frame.longitude_deg} +datum=WGS84",
        always_xy=True,
    )
    found = np.stack(to_frame.transform(tiles["longitude_deg"], tiles["latitude_deg"]), axis=-1)
    (level,) = region_map.levels
    east = level.first_east_m + 30.0 * tiles["lattice_column"]
    north = level.first_north_m - 30.0 * tiles["lattice_row"]
    np.testing.assert_allclose(found, np.stack([east, north], axis=-1), atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_neighbouring_tiles_are_a_stride_apart_on_the_ground(map_of, kind):
    # Web Mercator's own metres would be 47 % too many here.
    from pyproj import Geod

    tiles = map_of(kind).tiles
    row = np.sort(tiles[tiles["lattice_row"] == 2], order="lattice_column")
    _, _, metres = Geod(ellps="WGS84").inv(
        row["longitude_deg"][:-1], row["latitude_deg"][:-1],
        row["longitude_deg"][1:], row["latitude_deg"][1:],
    )  # fmt: skip
    np.testing.assert_allclose(metres, 30.0, atol=0.01)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "utm"])
def test_descriptors_of_a_place_agree_between_projections(map_of, imagery_of, tiny_encoder, kind):
    region_map = map_of("utm")
    engine = open_engine(tiny_encoder, threads=1)
    with open_imagery(imagery_of(kind)) as imagery:
        agreeing = 0
        for tile, descriptor in zip(
            region_map.tiles, region_map.descriptors_of(slice(None)), strict=True
        ):
            centre = imagery.frame.to_local(tile["latitude_deg"], tile["longitude_deg"])
            picture = imagery.read(centre[0] - 60, centre[1] + 60, (1.875, 1.875), 64, 64)
            if picture.covered.all():
                other = on_map_axes(region_map, engine.encode(picture.rgb[None]))[0]
                assert float(descriptor.astype(np.float32) @ other) >= 0.99
                agreeing += 1
    assert agreeing > 50


def test_a_map_has_all_that_its_contract_asks_for(map_of, tiny_encoder):
    region_map = map_of("utm")
    bundle = load_encoder_bundle(tiny_encoder)
    region_map.require_encoder(bundle)
    region_map.verify()
    (level,) = region_map.levels
    tiles, descriptors = region_map.tiles, region_map.descriptors_of(slice(None))
    assert len(tiles) == level.rows * level.columns == len(descriptors)
    order = map_order(tiles["level"], tiles["lattice_row"], tiles["lattice_column"])
    np.testing.assert_array_equal(order, np.arange(len(tiles)))
    as_float = descriptors.astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(as_float, axis=1), 1.0, atol=2e-3)
    assert region_map.projection.shape == (bundle.descriptor_size, descriptors.shape[1])
    manifest = region_map.manifest
    assert manifest["levels"][0]["tiles"] == len(tiles)
    assert manifest["coordinate_reference_system"] == "EPSG:32632"
    assert manifest["encoder"]["backbone"] == "average-pool"
    bounds = manifest["bounds"]
    assert bounds["south_deg"] < tiles["latitude_deg"].min() - 0.0005
    assert bounds["east_deg"] > tiles["longitude_deg"].max() + 0.0007


def test_each_descriptor_belongs_to_its_tile(map_of, imagery_of, tiny_encoder):
    region_map = map_of("tiles")
    engine = open_engine(tiny_encoder, threads=1)
    with open_imagery(imagery_of("tiles")) as imagery:
        for index in (0, 17, len(region_map.tiles) - 1):
            tile = region_map.tiles[index]
            east, north = region_map.levels[0].centre(tile["lattice_row"], tile["lattice_column"])
            picture = imagery.read(east - 60, north + 60, (1.875, 1.875), 64, 64)
            alone = on_map_axes(region_map, engine.encode(picture.rgb[None]))[0]
            similarity = region_map.descriptors_of(slice(None)) @ alone
            assert int(similarity.argmax()) == index
            assert similarity[index] > 0.9999


def test_a_map_keeps_at_most_the_values_asked_for(tmp_path, imagery_of, tiny_encoder):
    config = BuildConfig(imagery_of("utm"), tiny_encoder, tmp_path / "m.map", descriptor_size=8)
    region_map = load_region_map(build_map(config))
    assert region_map.descriptor_size == 8
    encoded = encoded_tiles(region_map, config.imagery, tiny_encoder, slice(None))
    similarity = on_map_axes(region_map, encoded) @ region_map.descriptors_of(slice(None)).T
    np.testing.assert_array_equal(similarity.argmax(axis=1), np.arange(len(encoded)))


def test_the_preview_shows_the_map_in_its_place(map_of):
    import cv2

    region_map = map_of("utm")
    picture = cv2.cvtColor(
        cv2.imread(str(region_map.folder / "preview.jpg")), cv2.COLOR_BGR2RGB
    ).astype(float)
    preview = region_map.preview
    assert max(picture.shape) <= 1600
    # A column of tile centres, painted straight from the ground they stand on.
    tiles = region_map.tiles[::7]
    expected = Ground().colours(tiles["latitude_deg"], tiles["longitude_deg"])
    places = region_map.frame.to_local(tiles["latitude_deg"], tiles["longitude_deg"])
    column = ((places[:, 0] - preview.west_m) / preview.metres_per_pixel).astype(int)
    row = ((preview.north_m - places[:, 1]) / preview.metres_per_pixel).astype(int)
    assert np.abs(picture[row, column] - expected).mean() < 8.0


def test_several_footprints_make_levels_in_the_order_given(tmp_path, imagery_of, tiny_encoder):
    config = BuildConfig(
        imagery_of("utm"), tiny_encoder, tmp_path / "m.map", footprints_m=(120.0, 60.0), threads=1
    )
    report = build_with_report(config)
    region_map = load_region_map(report.output)
    assert [level.footprint_m for level in region_map.levels] == [120.0, 60.0]
    assert [level.stride_m for level in region_map.levels] == [30.0, 15.0]
    for number, count in enumerate(report.tiles_per_level):
        chosen = region_map.tiles["level"] == number
        assert count == np.count_nonzero(chosen)
        assert (region_map.rows_at(number) >= 0).sum() == count
        own = encoded_tiles(region_map, config.imagery, tiny_encoder, chosen).mean(axis=0)
        np.testing.assert_allclose(region_map.descriptor_mean[number], own, atol=1e-3)
    assert report.tiles == sum(report.tiles_per_level)
    assert 0 < report.encoder_s < report.wall_s


def test_ground_without_imagery_has_no_tiles(tmp_path, tiny_encoder):
    transform, width, height = raster_grid("EPSG:32632")
    bands = np.moveaxis(paint(Ground(), "EPSG:32632", transform, width, height), -1, 0).copy()
    bands[:, :150, :] = 0
    path = write_geotiff(tmp_path / "n.tif", bands, "EPSG:32632", transform, nodata=0)
    region_map = load_region_map(build_map(BuildConfig(path, tiny_encoder, tmp_path / "n.map")))
    lattice = region_map.rows_at(0)
    (level,) = region_map.levels
    assert (lattice[0] == -1).all()
    assert (lattice[-1] >= 0).all()
    northern_edges = level.first_north_m - 30.0 * region_map.tiles["lattice_row"] + 60.0
    assert northern_edges.max() < 210.0 - 150.0 + 0.06 * 120.0


def test_the_same_inputs_give_the_same_bytes(tmp_path, imagery_of, tiny_encoder):
    first, second = (
        bytes_of(build_map(BuildConfig(imagery_of("tiles"), tiny_encoder, tmp_path / name)))
        for name in ("a.map", "elsewhere.map")
    )
    assert set(first) == {
        "manifest.json", "tiles.npy", "descriptors.npy", "descriptor_mean.npy", "preview.jpg",
        "projection.npy", "lattice_blocks.npy", "lattice_rows.npy", "picture_digests.npy",
    }  # fmt: skip
    assert first == second
    assert str(tmp_path) not in first["manifest.json"].decode()


def test_batches_do_not_change_the_map(tmp_path, imagery_of, tiny_encoder):
    maps = [
        load_region_map(
            build_map(
                BuildConfig(imagery_of("utm"), tiny_encoder, tmp_path / f"{n}.map", batch_size=n)
            )
        )
        for n in (1, 50)
    ]
    np.testing.assert_array_equal(maps[0].tiles["latitude_deg"], maps[1].tiles["latitude_deg"])
    np.testing.assert_allclose(
        maps[0].descriptors_of(slice(None)), maps[1].descriptors_of(slice(None)), atol=1e-3
    )


def test_imagery_date_and_attribution_are_kept(tmp_path, imagery_of, tiny_encoder):
    config = BuildConfig(
        imagery_of("utm"), tiny_encoder, tmp_path / "m.map",
        imagery_date="2024-06", attribution="Example Survey, CC BY 4.0",
    )  # fmt: skip
    manifest = json.loads((build_map(config) / "manifest.json").read_text())
    assert manifest["imagery"]["date"] == "2024-06"
    assert manifest["imagery"]["attribution"] == "Example Survey, CC BY 4.0"


class FailingEngine:
    """Encodes a few batches, then breaks."""

    def __init__(self, engine):
        self.engine, self.left = engine, 3

    def encode(self, images):
        self.left -= 1
        if self.left < 0:
            raise EngineError("the engine broke")
        return self.engine.encode(images)


@pytest.mark.parametrize("with_old_map", [False, True])
def test_a_failed_build_leaves_what_was_there(
    tmp_path, imagery_of, tiny_encoder, monkeypatch, with_old_map
):
    output = tmp_path / "m.map"
    if with_old_map:
        build_map(BuildConfig(imagery_of("utm"), tiny_encoder, output))
    before = bytes_of(output) if with_old_map else None
    monkeypatch.setattr(
        "dmnil_maps.build.open_engine",
        lambda bundle, precision, *more: FailingEngine(open_engine(bundle, precision)),
    )
    with pytest.raises(EngineError, match="the engine broke"):
        build_map(BuildConfig(imagery_of("web_mercator"), tiny_encoder, output))
    assert sorted(path.name for path in tmp_path.iterdir()) == (["m.map"] if with_old_map else [])
    assert (bytes_of(output) if with_old_map else None) == before


def test_a_raster_of_nothing_but_nodata_is_refused(tmp_path, tiny_encoder):
    transform, width, height = raster_grid("EPSG:32632")
    empty = np.zeros((3, height, width), np.uint8)
    path = write_geotiff(tmp_path / "empty.tif", empty, "EPSG:32632", transform, nodata=0)
    with pytest.raises(MapError, match=r"no 120 m tile of .*empty\.tif is covered to 95%"):
        build_map(BuildConfig(path, tiny_encoder, tmp_path / "m.map"))
    assert not (tmp_path / "m.map").exists()


def test_a_raster_smaller_than_a_footprint_is_refused(tmp_path, imagery_of, tiny_encoder):
    config = BuildConfig(
        imagery_of("utm"), tiny_encoder, tmp_path / "m.map", footprints_m=(120.0, 500.0)
    )
    with pytest.raises(MapError, match="smaller than one footprint of 500 m"):
        build_map(config)
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_the_bundle_lacks_is_refused(tmp_path, imagery_of, tiny_encoder):
    with pytest.raises(BundleError, match="holds no fp16 graph"):
        build_map(
            BuildConfig(imagery_of("utm"), tiny_encoder, tmp_path / "m.map", precision="fp16")
        )


def test_another_artefact_is_never_replaced(tmp_path, imagery_of, tiny_encoder):
    bundle = write_tiny_encoder(tmp_path / "other.encoder")
    with pytest.raises(OutputError, match="is not a region map"):
        build_map(BuildConfig(imagery_of("utm"), tiny_encoder, bundle))
    load_encoder_bundle(bundle).verify()


@pytest.mark.parametrize(
    "wrong",
    [
        {"footprints_m": ()},
        {"footprints_m": (120.0, 120.0)},
        {"footprints_m": (-1.0,)},
        {"footprints_m": (float("nan"),)},
        {"stride_ratio": 0.0},
        {"stride_ratio": 1.5},
        {"descriptor_size": 0},
        {"storage": "zip"},
        {"batch_size": 0},
        {"threads": -1},
        {"readers": 0},
    ],
)
def test_impossible_settings_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError):
        BuildConfig(tmp_path / "a.tif", tmp_path / "b.encoder", tmp_path / "c.map", **wrong)
