"""`edge_runtime export`: a flight's track in the formats of other programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import ConfigError
from edge_runtime.exports.flight_track import FlightTrack, read_track
from edge_runtime.exports.gpx import gpx_of
from edge_runtime.exports.kml import kml_of
from edge_runtime.outputs.fix_log import csv_of, geojson_of

_FORMATS: dict[str, Callable[[FlightTrack], bytes | str]] = {
    "gpx": gpx_of,
    "kml": kml_of,
    "geojson": lambda track: geojson_of(track.fixes, track.utc),
    "csv": lambda track: csv_of(track.fixes, track.utc),
}
_HELP = {
    "gpx": "GPX 1.1: positions and times, for any map program",
    "kml": "KML: the track by state with its 95 % circles, for Google Earth",
    "geojson": "GeoJSON: points and line, for QGIS and web maps",
    "csv": "CSV: every fix with all its figures, those without a position too",
}


def export(parser: ArgumentParser) -> Action:
    """Write a flight's track as GPX, KML, GeoJSON or CSV.

    Times are UTC where the flight was live; a recording has none.
    """
    parser.add_argument("flight", type=Path, help="flight directory, finished or cut off")
    for name, text in _HELP.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument(
        "-o",
        "--output",
        type=Path | None,
        help="file, for one format, or folder, for several; beside the flight if left out",
    )

    def act(options: Any) -> None:
        formats = [name for name in _FORMATS if options[name]]
        if not formats:
            raise ConfigError("choose what to write: --gpx, --kml, --geojson, --csv")
        track = read_track(options.flight)
        for name in formats:
            path = _path_for(name, options.flight, options.output, alone=len(formats) == 1)
            print_lines(f"{len(track.points)} positions: {write_whole(path, _of(track, name))}")

    return act


def _of(track: FlightTrack, name: str) -> bytes | str:
    return _FORMATS[name](track)


def _path_for(name: str, flight: Path, output: Path | None, *, alone: bool) -> Path:
    stem = flight.absolute().name.removesuffix(".mcap").removesuffix(".flight")
    if output is None:
        return flight.absolute().parent / f"{stem}.{name}"
    if output.is_dir():
        return output / f"{stem}.{name}"
    if not alone:
        raise ConfigError(f"{output} is no folder that is there: several formats need one")
    return output
