"""Tracks for other programs, read by gpxpy and fastkml."""

from __future__ import annotations

import csv
import json
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree as Xml

import gpxpy
import lxml.etree
import pytest
from fastkml import KML, Placemark
from fastkml.containers import Document, Folder
from fastkml.validator import get_schema_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.cli import main
from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.contract.geodesy import ground_distance_m
from edge_runtime.exports.flight_track import FlightTrack, read_track, segments_of
from edge_runtime.exports.gpx import gpx_of
from edge_runtime.exports.kml import kml_of
from edge_runtime.flight_log.clock import ClockAnchor, FlightClock
from edge_runtime.outputs.fix_log import FixLog
from tests.edge_runtime.test_flight_log import FIX, recorder_in

RECORDED = FlightClock([])
LIVE = FlightClock([ClockAnchor(100.0, 1_700_000_000.0)])
GPX = {"gpx": "http://www.topografix.com/GPX/1/1", "own": "urn:dmnil-edge:fix:1"}


def fix_at(
    time_s: float,
    latitude_deg: float | None,
    longitude_deg: float = 8.0,
    state: IntegrityState = IntegrityState.TRACKING,
    resets: int = 0,
    frame: str = "a",
) -> Fix:
    position = None
    if latitude_deg is not None:
        position = Position(latitude_deg, longitude_deg, 4.0, 4.0, 0.0, 25.0)
    return Fix(frame, time_s, state, "because", position, reset_counter=resets)


FLIGHT = [
    fix_at(0.0, None, state=IntegrityState.ACQUIRING),
    fix_at(1.0, 47.0),
    fix_at(2.0, 47.001),
    fix_at(3.5, 47.002, state=IntegrityState.COASTING),
    fix_at(4.0, None, state=IntegrityState.LOST),
    fix_at(5.0, 47.01, resets=1),
    fix_at(6.0, 47.011, resets=1),
    fix_at(7.0, 47.2, resets=2),
]


def track_of(fixes: list[Fix], clock: FlightClock = RECORDED) -> FlightTrack:
    return FlightTrack("a & <b>", fixes, segments_of(fixes, clock), clock)


def placemarks_of(content: bytes) -> dict[str, list[Placemark]]:
    """Placemarks by their folder's name."""
    found: dict[str, list[Placemark]] = {}
    for document in KML.from_string(content.decode().split("?>", 1)[1]).features:
        assert isinstance(document, Document)
        for folder in document.features:
            assert isinstance(folder, Folder)
            found[str(folder.name)] = [p for p in folder.features if isinstance(p, Placemark)]
    return found


def test_a_track_is_cut_where_there_was_no_position_or_it_was_found_anew() -> None:
    segments = [[point.fix.time_s for point in run] for run in segments_of(FLIGHT, RECORDED)]
    assert segments == [[1.0, 2.0, 3.5], [5.0, 6.0], [7.0]]


def test_gpxpy_reads_the_track_with_its_times() -> None:
    gpx = gpxpy.parse(gpx_of(track_of(FLIGHT, LIVE)).decode(), version="1.1")
    (track,) = gpx.tracks
    assert track.name == "a & <b>"
    assert [len(segment.points) for segment in track.segments] == [3, 2, 1]
    second = track.segments[0].points[1]
    assert (second.latitude, second.longitude, second.elevation) == (47.001, 8.0, None)
    assert second.time is not None
    epoch = datetime.fromtimestamp(1_700_000_000.0, timezone.utc)
    assert second.time == epoch + timedelta(seconds=2.0 - 100.0)
    assert gpx.time == epoch + timedelta(seconds=1.0 - 100.0)


def test_a_gpx_point_tells_state_and_radius_after_what_the_schema_knows() -> None:
    root = Xml.fromstring(gpx_of(track_of(FLIGHT, LIVE)))
    assert root.tag == f"{{{GPX['gpx']}}}gpx"
    assert root.attrib["version"] == "1.1"
    assert [child.tag.split("}")[1] for child in root] == ["metadata", "trk"]
    point = root.find("gpx:trk/gpx:trkseg/gpx:trkpt", GPX)
    assert point is not None
    assert [child.tag.split("}")[1] for child in point] == ["time", "extensions"]
    assert point.findtext("gpx:extensions/own:state", "", GPX) == "TRACKING"
    assert point.findtext("gpx:extensions/own:radius95_m", "", GPX) == "25.0"


def test_a_recording_has_no_times_that_nobody_knows() -> None:
    assert b"<time>" not in gpx_of(track_of(FLIGHT))
    assert b"TimeStamp" not in kml_of(track_of(FLIGHT))


def test_gpx_has_no_longitude_of_180() -> None:
    text = gpx_of(track_of([fix_at(0.0, 0.0, 180.0), fix_at(1.0, 0.0, 179.999999999)]))
    assert text.count(b'lon="-180.00000000"') == 2


def test_kml_is_valid_by_its_schema() -> None:
    parser = get_schema_parser()
    parser.assertValid(lxml.etree.fromstring(kml_of(track_of(FLIGHT, LIVE))))
    parser.assertValid(lxml.etree.fromstring(kml_of(track_of([FLIGHT[0]]))))


def test_kml_draws_each_state_in_its_style_without_gaps() -> None:
    lines = placemarks_of(kml_of(track_of(FLIGHT)))["track"]
    drawn = [(line.style_url.url, len(line.geometry.coords)) for line in lines]
    assert drawn == [("#tracking", 2), ("#coasting", 2), ("#tracking", 2)]
    assert lines[1].geometry.coords == ((8.0, 47.001), (8.0, 47.002))


def test_kml_circles_have_the_stated_radius() -> None:
    circles = placemarks_of(kml_of(track_of(FLIGHT)))["95 % radius"]
    assert len(circles) == 6
    corners = circles[0].geometry.exterior.coords
    assert corners[0] == corners[-1]
    for longitude_deg, latitude_deg in corners:
        assert ground_distance_m(47.0, 8.0, latitude_deg, longitude_deg) == pytest.approx(
            25.0, abs=0.1
        )


def test_kml_of_a_long_flight_has_few_circles_and_all_points() -> None:
    flight = [fix_at(float(n), 47.0 + 1e-5 * n) for n in range(1001)]
    folders = placemarks_of(kml_of(track_of(flight, LIVE)))
    assert 100 < len(folders["95 % radius"]) <= 200
    assert len(folders["fixes"]) == 1001
    assert str(folders["fixes"][0].times.timestamp).startswith("2023-11-14T22:11:40")


@settings(max_examples=40, deadline=None)
@given(
    frame=st.text(max_size=10),
    latitude_deg=st.floats(-90.0, 90.0),
    longitude_deg=st.floats(-180.0, 180.0),
)
def test_any_name_and_place_make_files_that_peers_read(
    frame: str, latitude_deg: float, longitude_deg: float
) -> None:
    track = track_of([fix_at(1.0, latitude_deg, longitude_deg, frame=frame)] * 2, LIVE)
    gpx = gpxpy.parse(gpx_of(track).decode())
    point = gpx.tracks[0].segments[0].points[0]
    assert point.latitude == pytest.approx(latitude_deg, abs=1e-8)
    assert -180.0 <= point.longitude < 180.0
    assert len(placemarks_of(kml_of(track))["fixes"]) == 2


@pytest.mark.parametrize("latitude_deg", [90.1, float("nan"), float("inf")])
def test_a_place_that_is_nowhere_is_an_error(latitude_deg: float) -> None:
    with pytest.raises(SourceError, match="lies nowhere"):
        track_of([fix_at(0.0, latitude_deg)])


# The command


@pytest.fixture
def live_flight(tmp_path: Path) -> Path:
    folder = tmp_path / "a.flight"
    log = recorder_in(folder, is_live=True)
    fixes = FixLog(folder)
    now_s = time.monotonic()
    for number in range(4):
        fix = replace(FIX, frame=f"{number}", time_s=now_s + number)
        log.fix(fix)
        fixes.write(fix)
    log.close()
    fixes.close()
    return folder


def test_all_formats_land_beside_the_flight_in_utc(live_flight: Path) -> None:
    assert main(["export", str(live_flight), "--gpx", "--kml", "--geojson", "--csv"]) == 0
    here = live_flight.parent

    def is_of_now(utc: str) -> bool:
        apart = datetime.fromisoformat(utc.replace("Z", "+00:00")) - datetime.now(timezone.utc)
        return abs(apart.total_seconds()) < 600.0

    assert gpxpy.parse((here / "a.gpx").read_text()).get_track_points_no() == 4
    assert len(placemarks_of((here / "a.kml").read_bytes())["fixes"]) == 4
    collection = json.loads((here / "a.geojson").read_text())
    assert is_of_now(collection["features"][1]["properties"]["utc"])
    with (here / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4
    assert is_of_now(rows[0]["utc"])
    assert rows[0]["latency_ms"] == "25.1"


def test_one_format_may_have_a_name_of_its_own(live_flight: Path, tmp_path: Path) -> None:
    assert main(["export", str(live_flight), "--gpx", "-o", str(tmp_path / "b.gpx")]) == 0
    assert (tmp_path / "b.gpx").is_file()


def test_a_flight_with_either_record_is_exported(live_flight: Path) -> None:
    by_log = live_flight / "log-0001.mcap"
    from_file, whole = read_track(by_log), read_track(live_flight)
    (live_flight / "fixes.jsonl").unlink()
    assert from_file.fixes == whole.fixes == read_track(live_flight).fixes
    assert whole.points[0].utc is not None


def test_a_flight_without_a_log_is_exported_without_times(live_flight: Path) -> None:
    (live_flight / "log-0001.mcap").unlink()
    track = read_track(live_flight)
    assert len(track.points) == 4
    assert track.points[0].utc is None


def test_wrong_requests_are_one_line(
    live_flight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(live_flight)]) == 2
    assert "--gpx, --kml, --geojson, --csv" in capsys.readouterr().err
    assert main(["export", str(live_flight), "--gpx", "--kml", "-o", str(tmp_path / "x")]) == 2
    assert "several formats need one" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "no.flight"), "--gpx"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
