"""Areas in degrees, in a map's frame, and the lattice positions that they touch."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from dmnil_maps.area import LocalArea, cropped, locate
from dmnil_maps.area_files import bounds_area, corridor_area, polygon_area
from dmnil_maps.raster import LocalBounds
from dmnil_maps.tiling import lattice_over
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.geodesy import LocalFrame

TOWN = LocalFrame(47.3769, 8.5417)
FIJI = LocalFrame(-17.0, 180.0)
SVALBARD = LocalFrame(78.2, 15.6)
AROUND = LocalBounds(-5000.0, -5000.0, 5000.0, 5000.0)


def degrees_at(frame: LocalFrame, east_north_m) -> np.ndarray:
    """Longitude and latitude (N, 2), longitudes within -180 to 180."""
    latitude, longitude = frame.to_geodetic(np.asarray(east_north_m, float))
    return np.stack([longitude, latitude], axis=-1)


def square(side_m: float, east_m: float = 0.0, north_m: float = 0.0) -> list[tuple[float, float]]:
    half = side_m / 2
    return [
        (east_m + x * half, north_m + y * half)
        for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
    ]


def geojson(path, geometry):
    path.write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": geometry}))
    return path


def polygon_file(path, frame, *rings):
    coordinates = [degrees_at(frame, ring).tolist() for ring in rings]
    return geojson(path, {"type": "Polygon", "coordinates": coordinates})


def gpx(path, body, namespace=' xmlns="http://www.topografix.com/GPX/1/1"'):
    path.write_text(f'<?xml version="1.0"?><gpx version="1.1"{namespace}>{body}</gpx>')
    return path


def points(tag, degrees):
    return "".join(f'<{tag} lat="{lat!r}" lon="{lon!r}"/>' for lon, lat in degrees.tolist())


@pytest.mark.parametrize("frame", [TOWN, FIJI, SVALBARD])
def test_a_polygon_keeps_its_ground_metres_and_its_hole(tmp_path, frame):
    path = polygon_file(tmp_path / "a.geojson", frame, square(1000.0), square(400.0, 100.0)[::-1])
    area = locate(polygon_area(path), frame, AROUND)
    assert shapely.area(area.shape) == pytest.approx(1000.0**2 - 400.0**2, rel=1e-4)
    assert area.touches(-450.0, 0.0, -440.0, 10.0)
    assert not area.touches(95.0, -5.0, 105.0, 5.0)
    assert area.bounds.west_m == pytest.approx(-500.0, abs=0.2)


@pytest.mark.parametrize("frame", [TOWN, FIJI, SVALBARD])
def test_bounds_are_meridians_and_parallels(frame):
    (west, south), (east, north) = degrees_at(frame, [(-1000.0, -500.0), (1000.0, 500.0)])
    area = locate(bounds_area(f"{west},{south},{east},{north}"), frame, AROUND)
    # Towards a pole the box gets narrower, by 1 km x tan(78 deg) / R of its width.
    assert shapely.area(area.shape) == pytest.approx(2e6, rel=2e-3)


def test_bounds_across_the_antimeridian_do_not_go_round_the_globe():
    area = locate(bounds_area("179.99,-17.005,-179.99,-16.995"), FIJI, AROUND)
    width_m = Geod(ellps="WGS84").inv(179.99, -17.0, -179.99, -17.0)[2]
    assert area.bounds.width_m == pytest.approx(width_m, rel=1e-4)
    the_others = locate(bounds_area("-179.99,-17.005,179.99,-16.995"), FIJI, AROUND)
    assert not the_others.touches(-1000.0, -1.0, 1000.0, 1.0)
    assert the_others.touches(-2000.0, -1.0, 1000.0, 1.0)


def test_a_polygon_split_at_the_antimeridian_is_one_area(tmp_path):
    halves = [
        [[[179.99, -17.005], [180, -17.005], [180, -16.995], [179.99, -16.995], [179.99, -17.005]]],
        [[[-180, -17.005], [-179.99, -17.005], [-179.99, -16.995], [-180, -16.995],
          [-180, -17.005]]],
    ]  # fmt: skip
    path = geojson(tmp_path / "a.geojson", {"type": "MultiPolygon", "coordinates": halves})
    area = locate(polygon_area(path), FIJI, AROUND)
    whole = locate(bounds_area("179.99,-17.005,-179.99,-16.995"), FIJI, AROUND)
    assert shapely.area(area.shape) == pytest.approx(shapely.area(whole.shape), rel=1e-6)
    assert area.touches(-1.0, -1.0, 1.0, 1.0)


def test_an_area_larger_than_the_imagery_is_cut_to_it():
    for text in ("-180,-90,180,90", "0,0,90,80"):
        area = locate(bounds_area(text), TOWN, AROUND)
        assert shapely.area(area.shape) == pytest.approx(1e8, rel=1e-6)


def test_the_other_side_of_the_globe_is_not_taken_for_the_imagery():
    # The frame's plane shows it mirrored, in the very same place.
    with pytest.raises(MapError, match="there is no imagery"):
        locate(bounds_area("-171.5,-47.4,-171.4,-47.3"), TOWN, AROUND)


def test_swapped_latitude_and_longitude_are_recognised(tmp_path):
    path = polygon_file(tmp_path / "a.geojson", TOWN, square(1000.0))
    content = json.loads(path.read_text())
    content["geometry"]["coordinates"][0] = [
        [lat, lon] for lon, lat in content["geometry"]["coordinates"][0]
    ]
    path.write_text(json.dumps(content))
    with pytest.raises(MapError, match="Are latitude and longitude swapped"):
        locate(polygon_area(path), TOWN, AROUND)


ROUTE_M = [(-2000.0, 0.0), (1000.0, 0.0), (1000.0, 1500.0)]


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://www.topografix.com/GPX/1/0"'])
@pytest.mark.parametrize("kind", ["route", "track", "waypoints"])
@pytest.mark.parametrize("frame", [TOWN, FIJI])
def test_a_corridor_lies_to_both_sides_of_the_legs(tmp_path, kind, namespace, frame):
    degrees = degrees_at(frame, ROUTE_M)
    body = {
        "route": f"<rte>{points('rtept', degrees)}</rte>{points('wpt', degrees[:1] + 0.01)}",
        "track": f"<trk><trkseg>{points('trkpt', degrees)}</trkseg></trk>",
        "waypoints": points("wpt", degrees),
    }[kind]
    area = locate(corridor_area(gpx(tmp_path / "r.gpx", body, namespace), 200.0), frame, AROUND)
    expected = shapely.buffer(shapely.LineString(ROUTE_M), 100.0)
    differing = shapely.area(shapely.symmetric_difference(area.shape, expected))
    assert differing < 0.005 * shapely.area(expected)


def test_geojson_lines_make_a_corridor_too(tmp_path):
    degrees = degrees_at(TOWN, ROUTE_M).tolist()
    path = geojson(tmp_path / "r.geojson", {"type": "LineString", "coordinates": degrees})
    area = locate(corridor_area(path, 200.0), TOWN, AROUND)
    assert area.touches(-1900.0, 90.0, -1890.0, 110.0)
    assert not area.touches(-1900.0, 101.0, -1890.0, 110.0)


def test_long_legs_follow_the_geodesic(tmp_path):
    frame, bounds = LocalFrame(60.0, 10.0), LocalBounds(-6e4, -6e4, 6e4, 6e4)
    ends = degrees_at(frame, [(-5e4, 0.0), (5e4, 0.0)])
    area = locate(corridor_area(gpx(tmp_path / "r.gpx", points("wpt", ends)), 20.0), frame, bounds)
    # Along the parallel the middle would lie 340 m off.
    assert area.touches(-5.0, -5.0, 5.0, 5.0)


def test_a_single_waypoint_is_a_circle(tmp_path):
    path = gpx(tmp_path / "r.gpx", points("wpt", degrees_at(TOWN, [(0.0, 0.0)])))
    area = locate(corridor_area(path, 200.0), TOWN, AROUND)
    assert shapely.area(area.shape) == pytest.approx(np.pi * 100.0**2, rel=0.01)


def test_a_cropped_lattice_keeps_its_positions():
    level = lattice_over(AROUND, 120.0, 30.0)
    part = cropped(level, LocalArea(shapely.box(500.0, -200.0, 900.0, 100.0)))
    east, north = np.moveaxis(part.centre(np.arange(part.rows)[:, None], range(part.columns)), 2, 0)
    assert east.min() - 60.0 <= 500.0 < east.min() - 60.0 + 120.0
    assert east.min() - 30.0 + 60.0 < 500.0
    assert east.max() - 60.0 <= 900.0 < east.max() + 30.0 - 60.0
    assert north.min() + 60.0 >= -200.0 > north.min() - 30.0 + 60.0
    assert north.max() - 60.0 <= 100.0 < north.max() + 30.0 - 60.0
    offsets = (np.array([part.first_east_m, part.first_north_m])
               - [level.first_east_m, level.first_north_m]) / 30.0  # fmt: skip
    np.testing.assert_allclose(offsets, np.round(offsets), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    west=st.floats(-6000, 5000), south=st.floats(-6000, 5000),
    width=st.floats(1, 9000), height=st.floats(1, 9000), footprint=st.floats(250, 900),
)  # fmt: skip
def test_no_tile_that_touches_the_area_is_cropped_away(west, south, width, height, footprint):
    level = lattice_over(AROUND, footprint, footprint / 4)
    area = LocalArea(shapely.box(west, south, west + width, south + height))
    centres = level.centre(np.arange(level.rows)[:, None], np.arange(level.columns))
    half = footprint / 2
    touching = area.touches(
        *np.moveaxis(centres - half, -1, 0), *np.moveaxis(centres + half, -1, 0)
    )
    if not touching.any():
        with pytest.raises(MapError, match="touches no tile"):
            cropped(level, area)
        return
    part = cropped(level, area)
    rows, columns = np.nonzero(touching)
    west_m, north_m = level.centre(rows.min(), columns.min())
    east_m, south_m = level.centre(rows.max(), columns.max())
    # One more where a footprint's edge meets the area's to within rounding.
    assert 0 <= part.rows - (np.ptp(rows) + 1) <= 2
    assert 0 <= part.columns - (np.ptp(columns) + 1) <= 2
    assert part.first_east_m <= west_m + 1e-6
    assert part.first_north_m >= north_m - 1e-6
    last_east_m, last_north_m = part.centre(part.rows - 1, part.columns - 1)
    assert last_east_m >= east_m - 1e-6
    assert last_north_m <= south_m + 1e-6


BOMB = '<!DOCTYPE gpx [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><gpx><wpt lat="1" lon="2"/></gpx>'


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.geojson", "not json", "neither GPX nor GeoJSON"),
        ("a.geojson", "[" * 100_000, "neither GPX nor GeoJSON"),
        ("a.geojson", "[1, 2]", "is not GeoJSON"),
        ("a.geojson", '{"type": "FeatureCollection"}', "has no list of features"),
        ("a.geojson", '{"type": "Point", "coordinates": [1, 2]}', "holds no Polygon"),
        ("a.geojson", '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}', "malformed"),
        ("a.geojson", '{"type": "Polygon", "coordinates": []}', "is empty"),
        ("a.geojson", '{"type": "Polygon", "coordinates": "x"}', "malformed"),
        ("a.geojson", '{"type": "Polygon", "coordinates": [[[0,0],[0,0],[0,0],[0,0]]]}', "nothing"),
        (
            "a.geojson",
            '{"type": "Polygon", "coordinates": [[[465000,5247000],[466000,5247000],'
            "[466000,5248000],[465000,5247000]]]}",
            "no longitude and latitude in degrees",
        ),
        ("r.gpx", "<gpx>", "is not GPX"),
        ("r.gpx", "<html></html>", "its root is <html>"),
        ("r.gpx", "<gpx></gpx>", "holds no route"),
        ("r.gpx", '<gpx><wpt lat="x" lon="2"/></gpx>', "lacks a readable lat or lon"),
        ("r.gpx", '<gpx><wpt lat="nan" lon="2"/></gpx>', "no longitude and latitude"),
        ("r.gpx", '<gpx><wpt lat="95" lon="2"/></gpx>', "no longitude and latitude"),
        ("r.gpx", '<gpx><wpt lon="2"/></gpx>', "lacks a readable lat or lon"),
        ("r.gpx", BOMB, "declares a document type"),
        ("none.gpx", None, "cannot be read"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_line(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=words) as refused:
        polygon_area(path) if name.endswith("json") else corridor_area(path, 100.0)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "8,47,8,48", "8,48,9,47", "8,nan,9,48", "8,0,9,91"],
)
def test_bad_bounds_are_refused(text):
    with pytest.raises(ConfigError, match=r"bounds|degrees"):
        bounds_area(text)


@pytest.mark.parametrize("width_m", [0.0, -5.0, float("nan"), float("inf")])
def test_a_corridor_without_width_is_refused(tmp_path, width_m):
    path = gpx(tmp_path / "r.gpx", points("wpt", degrees_at(TOWN, ROUTE_M)))
    with pytest.raises(ConfigError, match="needs a width"):
        corridor_area(path, width_m)


def test_threads_may_ask_the_same_area_at_once():
    west, south = np.random.default_rng(3).uniform(-600.0, 600.0, (2, 500))
    angle = np.linspace(0.0, 2 * np.pi, 2000)
    circle = 500.0 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    for _ in range(10):
        area = LocalArea(shapely.Polygon(circle))

        def touched(number: int, area: LocalArea = area) -> bytes:
            return area.touches(west, south, west + 5.0, south + 5.0).tobytes()

        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(touched, range(8)))) == 1
