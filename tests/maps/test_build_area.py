"""Maps of a part of the imagery, for a camera; and blocks described on their own."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from dmnil_maps.area_files import bounds_area
from dmnil_maps.build import build_map, spec_of
from dmnil_maps.build_config import BuildConfig
from dmnil_maps.cli import main
from dmnil_maps.describing import encode_block, read_block
from dmnil_maps.raster import open_imagery
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import EngineError, MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.engines import open_engine
from tests.maps.conftest import (
    LATITUDE_DEG,
    LONGITUDE_DEG,
    Ground,
    paint,
    raster_grid,
    write_geotiff,
)

FRAME = LocalFrame(LATITUDE_DEG, LONGITUDE_DEG)


def degrees_of(west_m, south_m, east_m, north_m):
    """west,south,east,north in degrees, as --bounds takes them."""
    latitude, longitude = FRAME.to_geodetic([(west_m, south_m), (east_m, north_m)])
    return f"{longitude[0]},{latitude[0]},{longitude[1]},{latitude[1]}"


@pytest.fixture(scope="module")
def whole(tmp_path_factory, imagery_of, tiny_encoder):
    config = BuildConfig(
        imagery_of("utm"), tiny_encoder, tmp_path_factory.mktemp("whole") / "m.map", (60.0, 90.0)
    )
    return load_region_map(build_map(config))


def test_a_map_of_an_area_has_the_whole_maps_tiles_that_touch_it(
    tmp_path, imagery_of, tiny_encoder, whole
):
    box = (-120.0, -40.0, 20.0, 130.0)
    config = BuildConfig(
        imagery_of("utm"), tiny_encoder, tmp_path / "part.map", (60.0, 90.0),
        area=bounds_area(degrees_of(*box)),
    )  # fmt: skip
    part = load_region_map(build_map(config))
    assert part.frame == whole.frame
    to_ground = FRAME.to_local(part.frame.latitude_deg, part.frame.longitude_deg)
    for number in (0, 1):
        half = whole.levels[number].footprint_m / 2
        own, others = (
            {tuple(place) for place in np.round(level_centres(m, number), 3).tolist()}
            for m in (part, whole)
        )
        inside = {
            (east, north)
            for east, north in others
            if east + to_ground[0] + half > box[0]
            and east + to_ground[0] - half < box[2]
            and north + to_ground[1] + half > box[1]
            and north + to_ground[1] - half < box[3]
        }
        assert own == inside
        assert 4 < len(own) < len(others)
    # The preview shows just that.
    preview = cv2.imread(str(part.folder / "preview.jpg"))
    assert preview.shape[1] * part.preview.metres_per_pixel < 140.0 + 2 * 90.0 + 2.0


def level_centres(region_map, number):
    tiles = region_map.tiles[region_map.rows_of_level(number)]
    return region_map.levels[number].centre(tiles["lattice_row"], tiles["lattice_column"])


def test_an_area_without_imagery_is_refused(tmp_path, imagery_of, tiny_encoder):
    config = BuildConfig(
        imagery_of("utm"), tiny_encoder, tmp_path / "m.map", area=bounds_area("9.5,47,9.6,47.1")
    )
    with pytest.raises(MapError, match="there is no imagery"):
        build_map(config)
    assert list(tmp_path.iterdir()) == []


def test_an_area_far_from_the_middle_of_the_imagery_has_a_frame_of_its_own(
    tmp_path, imagery_of, tiny_encoder, monkeypatch
):
    monkeypatch.setattr("dmnil_maps.build.FRAME_REACH_M", 50.0)
    build = {"imagery": imagery_of("utm"), "encoder": tiny_encoder, "footprints_m": (60.0,)}
    near, far = (
        load_region_map(
            build_map(
                BuildConfig(
                    **build,
                    output=tmp_path / f"{east}.map",
                    area=bounds_area(degrees_of(east - 60.0, -60.0, east + 60.0, 60.0)),
                )
            )
        )
        for east in (20.0, 150.0)
    )
    np.testing.assert_allclose(
        FRAME.to_local(far.frame.latitude_deg, far.frame.longitude_deg), [150.0, 0.0], atol=0.3
    )
    assert np.abs(FRAME.to_local(near.frame.latitude_deg, near.frame.longitude_deg)).max() < 2.0
    # Around the same place either way.
    for region_map, east in ((near, 20.0), (far, 150.0)):
        found = FRAME.to_local(region_map.tiles["latitude_deg"], region_map.tiles["longitude_deg"])
        np.testing.assert_allclose(found.mean(axis=0), [east, 0.0], atol=15.0)


def test_sea_is_told_from_town(tmp_path, tiny_encoder, capsys):
    transform, width, height = raster_grid("EPSG:32632")
    picture = paint(Ground(), "EPSG:32632", transform, width, height)
    picture[:, : width // 2] = (30, 60, 90)
    path = write_geotiff(
        tmp_path / "coast.tif", np.moveaxis(picture, -1, 0), "EPSG:32632", transform
    )
    output = build_map(BuildConfig(path, tiny_encoder, tmp_path / "m.map"))
    tiles = load_region_map(output).tiles
    column, share = tiles["lattice_column"], tiles["distinctiveness"].astype(float)
    # 520 m of imagery: tiles of 120 m every 30 m, so columns 0 to 4 show the western half alone.
    assert (share[column <= 4] == 0.0).all()
    assert share[column >= 9].min() > 0.2
    assert main(["info", str(output)]) == 0
    low = float(np.mean(share < 0.2))
    assert f"{low:.1%} look like many others" in capsys.readouterr().out


def spec_and_blocks(imagery_of, tiny_encoder, monkeypatch):
    monkeypatch.setattr("dmnil_maps.tiling.BLOCK_PX", 160)
    config = BuildConfig(
        imagery_of("utm"), tiny_encoder, imagery_of("utm").parent / "never.map", (120.0, 75.0),
        area=bounds_area(degrees_of(-200.0, -200.0, 100.0, 100.0)), threads=1,
    )  # fmt: skip
    with open_imagery(config.sources) as imagery:
        spec = spec_of(config, load_encoder_bundle(tiny_encoder), imagery)
    return spec, spec.blocks()


def described(spec, blocks):
    engine = open_engine(spec.encoder, spec.precision, spec.backend, spec.threads)
    with open_imagery(spec.imagery, spec.zoom, spec.crs, spec.tms, spec.frame) as imagery:
        return [
            encode_block(engine, read_block(imagery, spec, block), spec.batch_size)
            for block in blocks
        ]


def test_a_block_is_the_same_whoever_describes_it_and_when(imagery_of, tiny_encoder, monkeypatch):
    spec, blocks = spec_and_blocks(imagery_of, tiny_encoder, monkeypatch)
    assert len(blocks) > 6
    there = pickle.loads(pickle.dumps(spec))  # as Ray sends it
    assert there == spec
    assert there.blocks() == blocks
    first = described(spec, blocks)
    backwards = described(there, blocks[::-1])[::-1]
    for one, other in zip(first, backwards, strict=True):
        np.testing.assert_array_equal(one.lattice, other.lattice)
        np.testing.assert_array_equal(one.descriptors, other.descriptors)
        np.testing.assert_array_equal(one.digests, other.digests)
        np.testing.assert_array_equal(one.contrast, other.contrast)
    places = [(b.level, *place) for b, d in zip(blocks, first, strict=True) for place in d.lattice]
    assert len({tuple(map(int, place)) for place in places}) == len(places) > 50


class CountingEngine:
    """Notes the sizes of batches."""

    def __init__(self, engine):
        self.engine, self.sizes = engine, []

    def encode(self, images):
        self.sizes.append(len(images))
        return self.engine.encode(images)


def test_tiles_go_through_the_encoder_in_even_batches_and_never_alone(
    imagery_of, tiny_encoder, monkeypatch
):
    spec, blocks = spec_and_blocks(imagery_of, tiny_encoder, monkeypatch)
    engine = CountingEngine(open_engine(tiny_encoder, threads=1))
    with open_imagery(spec.imagery) as imagery:
        tiles = read_block(imagery, spec, max(blocks, key=lambda b: b.rows * b.columns))
    count = len(tiles.pictures)
    whole = encode_block(engine, tiles, 1000).descriptors
    assert engine.sizes == [count]
    engine.sizes.clear()
    told = []
    parts = encode_block(engine, tiles, count - 1, told.append).descriptors
    assert sorted(engine.sizes) == [count // 2, count - count // 2]
    assert sum(told) == count
    np.testing.assert_allclose(parts, whole, atol=1e-6)
    engine.sizes.clear()
    encode_block(engine, tiles, 2)
    assert set(engine.sizes) == {2}


def arguments(imagery_of, tiny_encoder, output, *more):
    return [
        "build", str(imagery_of("utm")), "--encoder", str(tiny_encoder), "-o", str(output), *more,
    ]  # fmt: skip


def test_levels_are_chosen_for_a_camera_and_told(tmp_path, imagery_of, tiny_encoder, capsys):
    more = ["--camera", "24mm@4000x3000", "--heights", "60-150"]
    assert main(arguments(imagery_of, tiny_encoder, tmp_path / "m.map", *more)) == 0
    told = re.search(r"footprints of ([\d.]+), ([\d.]+) m for flights", capsys.readouterr().err)
    levels = load_region_map(tmp_path / "m.map").levels
    assert [level.footprint_m for level in levels] == [float(told[1]), float(told[2])]


def test_a_corridor_is_named_on_the_command_line(tmp_path, imagery_of, tiny_encoder, whole):
    latitude, longitude = FRAME.to_geodetic([(-200.0, 0.0), (200.0, 0.0)])
    points = "".join(
        f'<rtept lat="{lat}" lon="{lon}"/>' for lat, lon in zip(latitude, longitude, strict=True)
    )
    route = tmp_path / "route.gpx"
    route.write_text(f"<gpx><rte>{points}</rte></gpx>")
    more = ["--corridor", str(route), "--width", "50", "--footprints", "60"]
    assert main(arguments(imagery_of, tiny_encoder, tmp_path / "m.map", *more)) == 0
    part = load_region_map(tmp_path / "m.map")
    north = level_centres(part, 0)[:, 1]
    assert np.abs(north).max() < 25.0 + 30.0 + 2.0
    assert len(part.tiles) < len(level_centres(whole, 0)) / 2


def test_compressing_tells_what_it_costs(tmp_path, imagery_of, tiny_encoder, capsys):
    more = ["--footprints", "60", "--compress", "int8"]
    assert main(arguments(imagery_of, tiny_encoder, tmp_path / "m.map", *more)) == 0
    line = capsys.readouterr().out.splitlines()[1]
    size = load_region_map(tmp_path / "m.map").descriptor_size
    assert line.startswith(f"int8: {size + 4} bytes a tile in place of {2 * size}; ")
    assert float(re.search(r"([\d.]+)% of the ten best", line)[1]) > 90.0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--camera", "24mm@4000x3000"], "name both"),
        (["--heights", "60-150"], "name both"),
        (["--camera", "24mm@4000x3000", "--heights", "9", "--footprints", "60"], "not both"),
        (["--camera", "none.yaml", "--heights", "60"], "none.yaml"),
        (["--bounds", "1,2,3"], "west,south,east,north"),
        (["--bounds", "1,2,3,4", "--polygon", "a.geojson"], "name one area"),
        (["--polygon", "none.geojson"], "none.geojson cannot be read"),
        (["--corridor", "a.gpx"], "belong together"),
        (["--width", "100"], "belong together"),
        (["--compress", "zip"], "zip"),
    ],
)
def test_contradictions_end_in_one_line(tmp_path, imagery_of, tiny_encoder, capsys, more, words):
    assert main(arguments(imagery_of, tiny_encoder, tmp_path / "m.map", *more)) == 2
    error = capsys.readouterr().err
    error = error[error.rindex("dmnil-map: error") :]
    assert words in error
    assert error.count("\n") == 1


def test_what_is_described_is_kept_when_the_engine_fails(
    tmp_path, imagery_of, tiny_encoder, monkeypatch, capsys, caplog
):
    monkeypatch.setattr("dmnil_maps.tiling.BLOCK_PX", 160)
    opened = open_engine(tiny_encoder, threads=1)
    left = [4]

    class Failing:
        def encode(self, images):
            left[0] -= 1
            if left[0] < 0:
                raise EngineError("the engine broke")
            return opened.encode(images)

    with monkeypatch.context() as patched:
        patched.setattr("dmnil_maps.build.open_engine", lambda *more: Failing())
        assert main(arguments(imagery_of, tiny_encoder, tmp_path / "m.map")) == 2
    assert [path.name for path in tmp_path.iterdir()] == [".m.map.build"]
    assert "the same command goes on from there" in caplog.text
    capsys.readouterr()
    assert main([*arguments(imagery_of, tiny_encoder, tmp_path / "m.map"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0 < report["tiles_taken_over"] < report["tiles"]


def test_the_progress_bar_tells_rate_and_time_left(tmp_path, imagery_of, tiny_encoder):
    slow = (
        "import sys, time, dmnil_maps.build as b\n"
        "import edge_runtime.progress as p\n"
        "p.sys.stderr.isatty = lambda: True\n"
        "original = b.encode_block\n"
        "def slow(*more):\n"
        "    time.sleep(0.3)\n"
        "    return original(*more)\n"
        "b.encode_block = slow\n"
        "import dmnil_maps.tiling as t\n"
        "t.BLOCK_PX = 200\n"
        "from dmnil_maps.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", slow, *arguments(imagery_of, tiny_encoder, tmp_path / "m.map")],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # 54%|... | 74/137 [00:00<00:00, 88.1tile/s]
    assert re.search(r"\d+/\d+ \[\d\d:\d\d<\d\d:\d\d, +[\d.]+tile/s\]", done.stderr)
