"""KML 2.2: the track by state with its 95 % circles, for Google Earth and its like."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as Xml

import numpy as np

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.exports.flight_track import FlightTrack, TrackPoint, utc_text, xml_text

_KML = "http://www.opengis.net/kml/2.2"
_LINE_COLOURS = {  # alpha, blue, green, red
    IntegrityState.TRACKING: "ff3ce65a",
    IntegrityState.COASTING: "ff28aaff",
}
_CIRCLE_COLOUR = "40ebc85a"
_CIRCLE_CORNERS = 36
_MOST_CIRCLES = 200
_LINE_WIDTH_PX = 3


def kml_of(track: FlightTrack) -> bytes:
    """A KML file: lines coloured by state, circles of the stated 95 % radius, points with times.

    Circles are an even sample of at most 200.
    """
    Xml.register_namespace("", _KML)
    root = Xml.Element(f"{{{_KML}}}kml")
    document = _child(root, "Document")
    _child(document, "name", track.name)
    for state, colour in _LINE_COLOURS.items():
        style = _child(document, "Style", identity=state.value.lower())
        line = _child(style, "LineStyle")
        _child(line, "color", colour)
        _child(line, "width", str(_LINE_WIDTH_PX))
    style = _child(document, "Style", identity="radius")
    _child(_child(style, "LineStyle"), "color", _CIRCLE_COLOUR)
    polygon = _child(style, "PolyStyle")
    _child(polygon, "color", _CIRCLE_COLOUR)
    _add_lines(_folder(document, "track"), track)
    points = track.points
    circles = _folder(document, "95 % radius")
    for point in points[:: max(1, -(-len(points) // _MOST_CIRCLES))]:
        _add_circle(circles, point)
    places = _folder(document, "fixes", is_visible=False)
    for point in points:
        _add_point(places, point)
    Xml.indent(root, " ")
    written: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _add_lines(folder: Xml.Element, track: FlightTrack) -> None:
    for segment in track.segments:
        for run in _runs_by_state(segment):
            state = run[-1].fix.state
            placemark = _placemark(
                folder, f"{state.value} from {run[0].fix.time_s:.1f} s", state.value
            )
            line = _child(placemark, "LineString")
            _child(line, "tessellate", "1")
            _child(line, "coordinates", " ".join(_coordinates(point) for point in run))


def _runs_by_state(segment: list[TrackPoint]) -> Iterator[list[TrackPoint]]:
    """Stretches of one state, each from the last point of the one before."""
    start = 0
    for number in range(1, len(segment) + 1):
        is_end = number == len(segment)
        if is_end or segment[number].fix.state is not segment[start].fix.state:
            run = segment[max(0, start - 1) : number]
            if len(run) > 1:
                yield run
            start = number


def _add_circle(folder: Xml.Element, point: TrackPoint) -> None:
    position = point.position
    placemark = _placemark(folder, f"{position.radius95_m:.0f} m", "radius")
    _add_time(placemark, point)
    angles = np.linspace(0.0, 2.0 * np.pi, _CIRCLE_CORNERS + 1)
    around = position.radius95_m * np.column_stack([np.sin(angles), np.cos(angles)])
    frame = LocalFrame(position.latitude_deg, position.longitude_deg)
    latitude, longitude = frame.to_geodetic(around)
    ring = _child(
        _child(_child(placemark, "Polygon"), "outerBoundaryIs"),
        "LinearRing",
    )
    corners = " ".join(f"{lon:.8f},{lat:.8f}" for lat, lon in zip(latitude, longitude, strict=True))
    _child(ring, "coordinates", corners)


def _add_point(folder: Xml.Element, point: TrackPoint) -> None:
    fix = point.fix
    placemark = _child(folder, "Placemark")
    _child(placemark, "name", fix.frame)
    _child(placemark, "visibility", "0")
    text = f"{fix.state.value}, 95 % radius {point.position.radius95_m:.0f} m, {fix.reason}"
    _child(placemark, "description", text)
    _add_time(placemark, point)
    _child(_child(placemark, "Point"), "coordinates", _coordinates(point))


def _add_time(placemark: Xml.Element, point: TrackPoint) -> None:
    if point.utc is not None:
        stamp = Xml.Element(f"{{{_KML}}}TimeStamp")
        _child(stamp, "when", utc_text(point.utc))
        style = placemark.find(f"{{{_KML}}}styleUrl")
        children = list(placemark)
        placemark.insert(len(children) if style is None else children.index(style), stamp)


def _folder(document: Xml.Element, name: str, *, is_visible: bool = True) -> Xml.Element:
    folder = _child(document, "Folder")
    _child(folder, "name", name)
    if not is_visible:
        _child(folder, "visibility", "0")
    return folder


def _placemark(folder: Xml.Element, name: str, style: str) -> Xml.Element:
    placemark = _child(folder, "Placemark")
    _child(placemark, "name", name)
    _child(placemark, "styleUrl", f"#{style.lower()}")
    return placemark


def _coordinates(point: TrackPoint) -> str:
    return f"{point.position.longitude_deg:.8f},{point.position.latitude_deg:.8f}"


def _child(
    parent: Xml.Element, name: str, text: str | None = None, identity: str | None = None
) -> Xml.Element:
    attributes = {} if identity is None else {"id": identity}
    element = Xml.SubElement(parent, f"{{{_KML}}}{name}", attributes)
    if text is not None:
        element.text = xml_text(text)
    return element
