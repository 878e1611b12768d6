"""Areas as their users have them: bounds in degrees, GeoJSON polygons, GPX routes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod
from shapely.errors import ShapelyError
from shapely.geometry import shape as shape_of
from shapely.geometry.base import BaseGeometry

from dmnil_maps.area import GeodeticArea
from edge_runtime.contract.errors import ConfigError

_LONGEST_LEG_M = 1000.0
_LARGEST_FILE_BYTES = 64 << 20
_POLYGONS = ("Polygon", "MultiPolygon")
_LINES = ("LineString", "MultiLineString")
_FEATURES_NESTED = 20
_WGS84 = Geod(ellps="WGS84")


def bounds_area(text: str) -> GeodeticArea:
    """The area between meridians and parallels: west,south,east,north in degrees.

    A west above east crosses the antimeridian.

    Raises:
        ConfigError: If the text is not that.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f"bounds are west,south,east,north in degrees, such as 8.5,47.3,8.6,47.4, not {text!r}"
        ) from None
    name = f"the area {text}"
    corners = np.array([[west, south], [east, north]])
    _require_degrees(corners, name)
    if south >= north or west == east:
        raise ConfigError(f"{name} is empty: bounds are west,south,east,north in degrees")
    return GeodeticArea(shapely.box(west, south, east + 360.0 * (east < west), north), 0.0, name)


def polygon_area(path: Path) -> GeodeticArea:
    """The polygons of a GeoJSON file, with their holes.

    Raises:
        ConfigError: If the file cannot be read or holds no polygon.
    """
    shapes = [
        _whole_shape(geometry, path) for geometry in _geometries(_read_json(path), path, _POLYGONS)
    ]
    if not shapes:
        raise ConfigError(f"{path} holds no Polygon or MultiPolygon")
    union = shapely.union_all([shapely.make_valid(shape) for shape in shapes])
    if shapely.area(union) <= 0.0:
        raise ConfigError(f"{path}: its polygons enclose nothing")
    return GeodeticArea(union, 0.0, str(path))


def corridor_area(path: Path, width_m: float) -> GeodeticArea:
    """The ground along a route: a GPX file's routes, tracks or waypoints, or GeoJSON lines.

    Legs follow geodesics. Of a GPX file its routes are taken, without any its tracks, and without
    those its waypoints in their order.

    Args:
        width_m: From edge to edge of the corridor.
    Raises:
        ConfigError: If the file cannot be read or holds no route, or the width is impossible.
    """
    if not 0.0 < width_m < math.inf:
        raise ConfigError(f"a corridor needs a width of more than 0 m, not {width_m:g}")
    content = _read_bytes(path)
    legs = (
        _gpx_lines(content, path)
        if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
        else [
            line
            for geometry in _geometries(_parse_json(content, path), path, _LINES)
            for line in shapely.get_parts(_whole_shape(geometry, path))
        ]
    )
    if not legs:
        raise ConfigError(f"{path} holds no route, track, waypoints or LineString")
    lines = [
        _along_geodesics(shapely.get_coordinates(leg), str(path))
        for leg in legs
        if not leg.is_empty
    ]
    return GeodeticArea(shapely.union_all(lines), width_m / 2, str(path))


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            raise ConfigError(f"{path} is larger than any area needs: {_LARGEST_FILE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_json(path: Path) -> Any:
    return _parse_json(_read_bytes(path), path)


def _parse_json(content: bytes, path: Path) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is neither GPX nor GeoJSON: {error}") from error


def _geometries(
    content: Any, path: Path, wanted: Sequence[str], depth: int = 0
) -> Iterator[dict[str, Any]]:
    """Geometries of the wanted types, from whatever GeoJSON wraps around them."""
    if not isinstance(content, dict) or depth > _FEATURES_NESTED:
        raise ConfigError(f"{path} is not GeoJSON")
    kind = content.get("type")
    inner = {"FeatureCollection": "features", "GeometryCollection": "geometries"}.get(str(kind))
    if inner is not None:
        parts = content.get(inner)
        if not isinstance(parts, list):
            raise ConfigError(f"{path}: its {kind} has no list of {inner}")
        for part in parts:
            yield from _geometries(part, path, wanted, depth + 1)
    elif kind == "Feature":
        if content.get("geometry") is not None:
            yield from _geometries(content["geometry"], path, wanted, depth + 1)
    elif kind in wanted:
        yield content
    elif not isinstance(kind, str) or "coordinates" not in content:
        raise ConfigError(f"{path} is not GeoJSON: it lacks a type or coordinates")


def _whole_shape(geometry: dict[str, Any], path: Path) -> BaseGeometry:
    """A shape whose rings and lines run on across the antimeridian."""
    try:
        shape = shapely.force_2d(shape_of(geometry))
        degrees = shapely.get_coordinates(shape)
    except (ShapelyError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"{path}: a {geometry['type']} is malformed: {' '.join(str(error).split())}"
        ) from error
    if not len(degrees):
        raise ConfigError(f"{path}: a {geometry['type']} is empty")
    _require_degrees(degrees, str(path))
    if geometry["type"] in _LINES:
        return shape
    polygons = []
    for polygon in shapely.get_parts(shape):
        outer = _run_on(shapely.get_coordinates(polygon.exterior))
        holes = []
        for ring in polygon.interiors:
            hole = _run_on(shapely.get_coordinates(ring))
            # A hole lies on the same turn around the globe as the middle of what it is in.
            turns = np.round((outer[:, 0].mean() - hole[:, 0].mean()) / 360.0)
            holes.append(hole + np.array([360.0 * turns, 0.0]))
        polygons.append(shapely.Polygon(outer, holes))
    return shapely.union_all([shapely.make_valid(polygon) for polygon in polygons])


def _require_degrees(degrees: npt.NDArray[np.float64], name: str) -> None:
    if not np.isfinite(degrees).all() or (np.abs(degrees) > [360.0, 90.0]).any():
        worst = degrees[np.nanargmax(np.abs(np.nan_to_num(degrees, nan=np.inf)).max(axis=1))]
        raise ConfigError(
            f"{name}: {worst[0]:g}, {worst[1]:g} is no longitude and latitude in degrees of WGS84"
        )


def _run_on(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Positions (N, 2) whose longitudes do not jump from 180 to -180."""
    return np.stack([np.unwrap(degrees[:, 0], period=360.0), degrees[:, 1]], axis=-1)


def _along_geodesics(degrees: npt.NDArray[np.float64], name: str) -> BaseGeometry:
    """A line, or a point where the route is one, through positions (N, 2)."""
    _require_degrees(degrees, name)
    if len(degrees) == 1:
        return shapely.Point(degrees[0])
    points = [degrees[:1]]
    for start, end in pairwise(degrees):
        _, _, length_m = _WGS84.inv(*start, *end)
        pieces = math.ceil(length_m / _LONGEST_LEG_M)
        # PROJ refuses to place none.
        between = _WGS84.npts(start[0], start[1], end[0], end[1], pieces - 1) if pieces > 1 else []
        points += [np.reshape(between, (-1, 2)), end[None]]
    return shapely.LineString(_run_on(np.concatenate(points)))


def _gpx_lines(content: bytes, path: Path) -> list[BaseGeometry]:
    """Routes, else tracks, else waypoints, as lines in degrees."""
    root = _parse_xml(content, path)
    if _local_name(root) != "gpx":
        raise ConfigError(f"{path} is not GPX: its root is <{_local_name(root)}>")
    routes = [_named(route, "rtept") for route in _named(root, "rte")]
    segments = [
        _named(segment, "trkpt")
        for track in _named(root, "trk")
        for segment in _named(track, "trkseg")
    ]
    for kind in (routes, segments, [_named(root, "wpt")]):
        lines = [_positions(points, path) for points in kind if points]
        if lines:
            return [
                shapely.LineString(line) if len(line) > 1 else shapely.Point(line[0])
                for line in lines
            ]
    return []


def _positions(points: Iterable[ElementTree.Element], path: Path) -> npt.NDArray[np.float64]:
    try:
        return np.array([[float(point.attrib[key]) for key in ("lon", "lat")] for point in points])
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{path}: a point lacks a readable lat or lon: {error}") from error


def _parse_xml(content: bytes, path: Path) -> ElementTree.Element:
    """The root of an XML document without a document type, so without entities to expand."""
    parser = ElementTree.XMLParser()
    refusing = expat.ParserCreate()

    def refuse(*declared: object) -> None:
        raise ConfigError(f"{path} declares a document type, which no GPX needs: remove it")

    refusing.StartDoctypeDeclHandler = refuse
    try:
        refusing.Parse(content, True)
        parser.feed(content)
        return parser.close()
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        raise ConfigError(f"{path} is not GPX: {error}") from error


def _named(parent: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in parent if _local_name(child) == name]


def _local_name(element: ElementTree.Element) -> str:
    """GPX 1.0, 1.1 and files without a namespace alike."""
    return element.tag.rpartition("}")[2]
