"""Which flights go when space is short, and what is never touched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge_runtime.contract.artefact import write_manifest
from edge_runtime.contract.flight_directory import FLIGHT_KIND, FLIGHT_SCHEMA_VERSION
from edge_runtime.flight_log import rotation
from edge_runtime.flight_log.folder import flight_folder
from edge_runtime.flight_log.log_file import LogFile
from edge_runtime.flight_log.reader import LoggedEvent, LoggedFrame, open_flight_log
from edge_runtime.flight_log.retention import delete_oldest_flights, stored_flight, stored_flights
from tests.edge_runtime.test_flight_log import ANY_SPACE, entries_of, recorder_in, write_flight

EVERYTHING_GOES = 0


def finished_flight(folder: Path, age_s: float, size_bytes: int = 1000) -> Path:
    folder.mkdir()
    (folder / "fixes.jsonl").write_bytes(b" " * size_bytes)
    write_manifest(folder, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, {})
    for file in folder.iterdir():
        os.utime(file, (1e9 - age_s, 1e9 - age_s))
    return folder


def cut_off_flight(folder: Path, age_s: float = 100.0) -> Path:
    folder.mkdir()
    LogFile(folder / "log-0001.mcap", {}).abandon()
    (folder / "fixes.jsonl").write_bytes(b" " * 1000)
    for file in folder.iterdir():
        os.utime(file, (1e9 - age_s, 1e9 - age_s))
    return folder


def test_the_oldest_flights_go_until_the_rest_fits(tmp_path: Path) -> None:
    for number, age_s in enumerate([5.0, 50.0, 20.0, 1.0]):
        finished_flight(tmp_path / f"{number}.flight", age_s)
    one = stored_flights(tmp_path)[0].size_bytes
    assert delete_oldest_flights(tmp_path, 2 * one, tmp_path / "x") == ["1.flight", "2.flight"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.flight", "3.flight"]


def test_the_current_flight_stays_whatever_its_age(tmp_path: Path) -> None:
    current = finished_flight(tmp_path / "current.flight", 1000.0)
    finished_flight(tmp_path / "other.flight", 1.0)
    assert delete_oldest_flights(tmp_path, EVERYTHING_GOES, current) == ["other.flight"]
    assert current.is_dir()


def test_a_flight_that_another_process_writes_stays(tmp_path: Path) -> None:
    folder = tmp_path / ".live.flight.1.part"
    folder.mkdir()
    file = LogFile(folder / "log-0001.mcap", {})
    assert delete_oldest_flights(tmp_path, EVERYTHING_GOES, tmp_path / "x") == []
    file.finish()
    assert delete_oldest_flights(tmp_path, EVERYTHING_GOES, tmp_path / "x") == [folder.name]


def test_a_flight_that_was_cut_off_counts_as_a_flight(tmp_path: Path) -> None:
    folder = cut_off_flight(tmp_path / ".a.flight.1.part")
    (stored,) = stored_flights(tmp_path)
    assert not stored.is_finished
    assert delete_oldest_flights(tmp_path, EVERYTHING_GOES, tmp_path / "x") == [folder.name]
    assert not folder.exists()


def test_what_is_not_ours_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "photos.flight").mkdir()
    (tmp_path / "photos.flight" / "fixes.jsonl").write_text("mine")
    (tmp_path / "a.map").mkdir()
    write_manifest(tmp_path / "a.map", "region map", 1, {})
    (tmp_path / "somebody.mcap").mkdir()
    (tmp_path / "somebody.mcap" / "log-0001.mcap").write_bytes(b"\x89MCAP0\r\n" + b"\x01" * 40)
    (tmp_path / "broken.flight").mkdir()
    (tmp_path / "broken.flight" / "manifest.json").write_text("{")
    (tmp_path / "notes.txt").write_text("mine")
    elsewhere = tmp_path.parent / f"{tmp_path.name} elsewhere"
    elsewhere.mkdir()
    target = finished_flight(elsewhere / "b.flight", 10.0)
    (tmp_path / "link.flight").symlink_to(target)
    before = sorted(tmp_path.rglob("*"))
    assert delete_oldest_flights(tmp_path, EVERYTHING_GOES, tmp_path / "x") == []
    assert sorted(tmp_path.rglob("*")) == before
    assert (target / "fixes.jsonl").exists()


def test_a_persons_own_file_in_a_flight_survives_it(tmp_path: Path) -> None:
    folder = finished_flight(tmp_path / "a.flight", 10.0)
    (folder / "notes.txt").write_text("crashed here")
    delete_oldest_flights(tmp_path, EVERYTHING_GOES, tmp_path / "x")
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


def test_a_manifest_cannot_name_files_outside_its_flight(tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    folder = finished_flight(tmp_path / "a.flight", 10.0)
    manifest = folder / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"fixes.jsonl"', '"../precious.txt"'), encoding="utf-8"
    )
    delete_oldest_flights(tmp_path, EVERYTHING_GOES, tmp_path / "x")
    assert precious.exists()


def test_a_flight_makes_room_for_itself_and_says_so(tmp_path: Path) -> None:
    finished_flight(tmp_path / "old.flight", 10.0, size_bytes=3_000_000)
    log = recorder_in(tmp_path / "new.flight", replace(ANY_SPACE, max_total_mb=1.0), is_live=True)
    log.event("up")
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["new.flight"]
    events = entries_of(open_flight_log(tmp_path / "new.flight"), LoggedEvent)
    assert [event.text for event in events] == ["deleted the flight old.flight to make room", "up"]


def test_a_flight_that_alone_takes_too_much_goes_on_without_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "_COMMIT_BYTES", 10_000)
    config = replace(ANY_SPACE, max_total_mb=0.05, max_file_mb=0.03)
    write_flight(tmp_path / "a.flight", 40, config)
    log = open_flight_log(tmp_path / "a.flight")
    frames = entries_of(log, LoggedFrame)
    assert len(frames) == len(log.fixes) == 40
    assert frames[0].picture is not None
    assert frames[-1].picture is None
    told = [event.text for event in entries_of(log, LoggedEvent) if "max_total_mb" in event.text]
    assert len(told) == 1


def test_a_cut_off_flight_is_found_by_the_name_it_was_to_have(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cut_off_flight(tmp_path / ".a.flight.1.part", age_s=50.0)
    newest = cut_off_flight(tmp_path / ".a.flight.22.part", age_s=5.0)
    cut_off_flight(tmp_path / ".b.flight.3.part", age_s=1.0)
    assert flight_folder(tmp_path / "a.flight") == newest
    assert "never finished" in caplog.text


def test_a_folder_of_something_else_is_no_flight(tmp_path: Path) -> None:
    assert stored_flight(tmp_path) is None
    assert stored_flight(tmp_path / "absent") is None
