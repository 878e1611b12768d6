"""GPX 1.1: the track as satellite navigation receivers write it."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from edge_runtime.exports.flight_track import FlightTrack, TrackPoint, utc_text, xml_text

_GPX = "http://www.topografix.com/GPX/1/1"
_OWN = "urn:dmnil-edge:fix:1"
_SCHEMA = "http://www.w3.org/2001/XMLSchema-instance"


def gpx_of(track: FlightTrack) -> bytes:
    """A GPX file: one track, a segment for each run of positions.

    Height is left out, since the localiser has none above the sea. State, 95 % radius and frame
    are extensions of each point.
    """
    for prefix, namespace in (("", _GPX), ("dmnil", _OWN), ("xsi", _SCHEMA)):
        Xml.register_namespace(prefix, namespace)
    root = Xml.Element(
        f"{{{_GPX}}}gpx",
        {
            "version": "1.1",
            "creator": "dmnil-edge",
            f"{{{_SCHEMA}}}schemaLocation": f"{_GPX} {_GPX}/gpx.xsd",
        },
    )
    metadata = _child(root, "metadata")
    _child(metadata, "name", track.name)
    _child(metadata, "desc", "Positions by visual localisation, without satellite navigation")
    times = [point.utc for point in track.points if point.utc is not None]
    if times:
        _child(metadata, "time", utc_text(times[0]))
    element = _child(root, "trk")
    _child(element, "name", track.name)
    for segment in track.segments:
        run = _child(element, "trkseg")
        for point in segment:
            _add_point(run, point)
    Xml.indent(root, " ")
    written: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _add_point(run: Xml.Element, point: TrackPoint) -> None:
    place = {
        "lat": f"{point.position.latitude_deg:.8f}",
        "lon": f"{_longitude(point.position.longitude_deg):.8f}",
    }
    element = Xml.SubElement(run, f"{{{_GPX}}}trkpt", place)
    if point.utc is not None:
        _child(element, "time", utc_text(point.utc))
    extensions = _child(element, "extensions")
    for name, text in (
        ("state", point.fix.state.value),
        ("radius95_m", f"{point.position.radius95_m:.1f}"),
        ("frame", point.fix.frame),
        ("time_s", f"{point.fix.time_s:.3f}"),
    ):
        Xml.SubElement(extensions, f"{{{_OWN}}}{name}").text = xml_text(text)


def _longitude(longitude_deg: float) -> float:
    """GPX takes -180 up to, but not, 180."""
    return -180.0 if round(longitude_deg, 8) >= 180.0 else longitude_deg


def _child(parent: Xml.Element, name: str, text: str | None = None) -> Xml.Element:
    element = Xml.SubElement(parent, f"{{{_GPX}}}{name}")
    if text is not None:
        element.text = xml_text(text)
    return element
