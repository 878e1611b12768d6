from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix, IntegrityState, MatchedPlace, Position
from edge_runtime.outputs import fix_log
from edge_runtime.outputs.fix_log import (
    CSV_NAME,
    JSON_LINES_NAME,
    FixLog,
    read_fixes,
    write_geojson,
)

# Names of files hold none, and before Python 3.11 csv writes none.
NO_ZERO_BYTES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
SILENT = Fix("a.jpg", 0.0, IntegrityState.ACQUIRING, "no place on the map stands out yet")
PUBLISHED = Fix(
    frame="b.jpg",
    time_s=1.25,
    state=IntegrityState.TRACKING,
    reason="position acquired",
    position=Position(47.1234567891, 8.7654321, 100.0, 225.5, -12.5, 33.3),
    in_map_probability=0.9987,
    viewed_matches=(MatchedPlace(47.1, 8.7, 6.5), MatchedPlace(47.2, 8.8, 5.25)),
    reset_counter=1,
    stage_ms={"encode": 30.25, "search": 4.5},
)


def write_fixes(folder: Path, fixes: list[Fix]) -> Path:
    log = FixLog(folder)
    for fix in fixes:
        log.write(fix)
    log.close()
    return folder


def test_fixes_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    write_fixes(tmp_path, [SILENT, PUBLISHED])
    assert read_fixes(tmp_path) == [SILENT, PUBLISHED]
    assert read_fixes(tmp_path / JSON_LINES_NAME) == [SILENT, PUBLISHED]


FINITE = st.floats(allow_nan=False, allow_infinity=False)
FIXES = st.builds(
    Fix,
    frame=NO_ZERO_BYTES,
    time_s=FINITE,
    state=st.sampled_from(IntegrityState),
    reason=NO_ZERO_BYTES,
    position=st.none() | st.builds(Position, *[FINITE] * 6),
    in_map_probability=FINITE,
    viewed_matches=st.lists(st.builds(MatchedPlace, *[FINITE] * 3), max_size=3).map(tuple),
    reset_counter=st.integers(0, 100),
    stage_ms=st.dictionaries(st.text(max_size=5), FINITE, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(fixes=st.lists(FIXES, min_size=1, max_size=4))
def test_any_fix_survives_the_round_trip(
    fixes: list[Fix], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "round trip"
    folder.mkdir(exist_ok=True)
    assert read_fixes(write_fixes(folder, fixes)) == fixes


def test_each_fix_is_on_disk_before_the_next_is_flown(tmp_path: Path) -> None:
    log = FixLog(tmp_path)
    try:
        log.write(SILENT)
        assert read_fixes(tmp_path) == [SILENT]
        assert len((tmp_path / CSV_NAME).read_text(encoding="utf-8").splitlines()) == 2
    finally:
        log.close()


def test_a_full_disk_costs_lines_and_never_half_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write, room_bytes = os.write, 3000

    def almost_full(descriptor: int, data: Any) -> int:
        nonlocal room_bytes
        if room_bytes <= 0:
            raise OSError(28, "No space left on device")
        taken = write(descriptor, bytes(data)[:room_bytes])
        room_bytes -= taken
        return taken

    monkeypatch.setattr(fix_log.os, "write", almost_full)
    log = FixLog(tmp_path, outlives_disk=True)
    for _ in range(20):
        log.write(PUBLISHED)
    full = read_fixes(tmp_path)
    assert full == [PUBLISHED] * len(full)
    assert len(full) + log.lost == 20
    assert len(caplog.messages) == 1
    room_bytes = 10_000
    log.write(SILENT)
    log.close()
    assert read_fixes(tmp_path) == [*full, SILENT]
    rows = (tmp_path / CSV_NAME).read_text(encoding="utf-8").splitlines()
    assert {row.count(",") for row in rows} == {rows[0].count(",")}


def test_a_recording_is_not_flown_onto_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FixLog(tmp_path)

    def full(descriptor: int, data: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fix_log.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        log.write(SILENT)
    log.close()


def test_the_half_line_of_a_flight_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    write_fixes(tmp_path, [SILENT, PUBLISHED])
    path = tmp_path / JSON_LINES_NAME
    path.write_bytes(path.read_bytes()[:-5])
    assert read_fixes(tmp_path) == [SILENT]
    with pytest.raises(SourceError, match="line 2"):
        read_fixes(path)  # a file by its name is taken at its word


def test_the_table_has_a_row_a_fix_and_blanks_where_nothing_was_published(tmp_path: Path) -> None:
    write_fixes(tmp_path, [SILENT, PUBLISHED])
    with (tmp_path / CSV_NAME).open(newline="", encoding="utf-8") as stream:
        silent, published = csv.DictReader(stream)
    assert silent["state"] == "ACQUIRING"
    assert silent["latitude_deg"] == silent["radius95_m"] == ""
    assert silent["reason"] == SILENT.reason
    assert published == {
        "frame": "b.jpg",
        "time_s": "1.250",
        "state": "TRACKING",
        "latitude_deg": "47.12345679",
        "longitude_deg": "8.76543210",
        "radius95_m": "33.3",
        "variance_east_m2": "100.0",
        "variance_north_m2": "225.5",
        "covariance_east_north_m2": "-12.5",
        "in_map_probability": "0.9987",
        "reset_counter": "1",
        "heading_deg": "",
        "heading_standard_deviation_deg": "",
        "velocity_east_m_s": "",
        "velocity_north_m_s": "",
        "processing_ms": "34.8",
        "latency_ms": "",
        "reason": "position acquired",
        "engine_fault": "",
    }


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        "3",
        "{}",
        '{"frame": "a"}',
        json.dumps({**SILENT.as_dict(), "state": "FLYING"}),
        json.dumps({**SILENT.as_dict(), "reset_counter": float("inf")}),
        json.dumps({**SILENT.as_dict(), "colour": "blue"}),
        json.dumps({**SILENT.as_dict(), "position": {"latitude_deg": 1.0}}),
        json.dumps({**SILENT.as_dict(), "viewed_matches": [1]}),
        json.dumps({k: v for k, v in SILENT.as_dict().items() if k != "position"}),
        "",
    ],
)
def test_a_line_that_is_no_fix_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "fixes.jsonl"
    path.write_text(f"{json.dumps(SILENT.as_dict())}\n{line}\n", encoding="utf-8")
    with pytest.raises(SourceError, match="line 2 is not a fix"):
        read_fixes(path)


def test_a_file_that_is_no_fix_log_at_all_is_told_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("frame,drone_latitude_deg\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"a flight directory or its fixes\.jsonl is wanted"):
        read_fixes(path)


def test_no_log_or_an_empty_one_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file, so .* is no flight"):
        read_fixes(tmp_path)
    write_fixes(tmp_path, [])
    with pytest.raises(SourceError, match="holds no fixes"):
        read_fixes(tmp_path)
    (tmp_path / JSON_LINES_NAME).write_bytes(b"\xff\xfe\x81")
    with pytest.raises(SourceError, match="cannot be read"):
        read_fixes(tmp_path)


# GeoJSON


def geojson_of(folder: Path, fixes: list[Fix]) -> dict[str, Any]:
    write_geojson(folder / "fixes.geojson", fixes)
    text = (folder / "fixes.geojson").read_text(encoding="utf-8")
    return dict(json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON")))


def published(frame: str, latitude_deg: float, longitude_deg: float) -> Fix:
    position = Position(latitude_deg, longitude_deg, 1.0, 1.0, 0.0, 25.04)
    return Fix(frame, 2.0, IntegrityState.COASTING, "", position)


def test_geojson_holds_points_and_their_line_longitude_first(tmp_path: Path) -> None:
    fixes = [SILENT, published("b", 47.25, 8.5), SILENT, published("c", -33.5, -70.25)]
    collection = geojson_of(tmp_path, fixes)
    assert collection["type"] == "FeatureCollection"
    line, *points = collection["features"]
    assert all(feature["type"] == "Feature" for feature in collection["features"])
    assert line["geometry"] == {
        "type": "LineString",
        "coordinates": [[8.5, 47.25], [-70.25, -33.5]],
    }
    assert [point["geometry"]["coordinates"] for point in points] == [[8.5, 47.25], [-70.25, -33.5]]
    assert points[0]["geometry"]["type"] == "Point"
    assert points[0]["properties"] == {
        "frame": "b",
        "time_s": 2.0,
        "state": "COASTING",
        "radius95_m": 25.0,
    }


def test_one_position_is_a_point_without_a_line(tmp_path: Path) -> None:
    (feature,) = geojson_of(tmp_path, [published("b", 47.25, 8.5)])["features"]
    assert feature["geometry"]["type"] == "Point"


def test_a_flight_without_positions_is_an_empty_collection(tmp_path: Path) -> None:
    assert geojson_of(tmp_path, [SILENT])["features"] == []
