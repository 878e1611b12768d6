"""Flights that were cut off, made whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from mcap.reader import make_reader

from edge_runtime.cli import main
from edge_runtime.contract.artefact import read_manifest, verify_hashes, write_manifest
from edge_runtime.contract.errors import ArtefactError, OutputError
from edge_runtime.contract.flight_directory import FLIGHT_KIND, FLIGHT_SCHEMA_VERSION
from edge_runtime.flight_log import rotation
from edge_runtime.flight_log.reader import open_flight_log
from edge_runtime.flight_log.retention import delete_oldest_flights
from edge_runtime.flight_log.staged_flight import staged_flight
from edge_runtime.outputs.fix_log import JSON_LINES_NAME, FixLog, read_fixes
from edge_runtime.recover import cut_off_flights
from tests.edge_runtime.test_flight_log import recorder_in, write_flight
from tests.waiting import wait_until


@pytest.fixture
def cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A flight as kill -9 leaves it: half a log, half a line, no manifest."""
    monkeypatch.setattr(rotation, "_COMMIT_BYTES", 50_000)

    def make(name: str = ".a.flight.7.part") -> Path:
        folder = write_flight(tmp_path / name, 40)
        lines = FixLog(folder)
        for fix in open_flight_log(folder).fixes:
            lines.write(fix)
        lines.close()
        for file, share in (("log-0001.mcap", 0.7), ("fixes.jsonl", 0.5)):
            content = (folder / file).read_bytes()
            (folder / file).write_bytes(content[: int(share * len(content))])
        return folder

    return make


def test_a_cut_off_flight_becomes_a_whole_one_of_its_name(
    cut_off: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = cut_off()
    fixes = open_flight_log(hidden).fixes
    assert main(["recover", str(tmp_path / "a.flight")]) == 0
    folder = tmp_path / "a.flight"
    assert capsys.readouterr().out == f"recovered {folder}\n"
    assert not hidden.exists()
    manifest = read_manifest(folder, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, ArtefactError)
    verify_hashes(folder, manifest, ArtefactError)
    assert set(manifest["files"]) == {
        "fixes.csv",
        "fixes.geojson",
        "fixes.jsonl",
        "log-0001.mcap",
        "summary.json",
    }
    assert manifest["recovered"]
    assert read_fixes(folder) == fixes
    assert 20 <= len(fixes) < 40
    log = open_flight_log(folder)
    assert log.fixes == fixes
    assert log.damage == []
    with (folder / "log-0001.mcap").open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count > 60


def test_all_flights_of_a_folder_are_recovered(
    cut_off: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(".a.flight.7.part")
    cut_off(".b.flight.8.part")
    assert main(["recover", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flight", "b.flight"]
    capsys.readouterr()
    assert main(["recover", str(tmp_path)]) == 0
    assert "nothing to recover" in capsys.readouterr().out
    assert main(["recover", str(tmp_path / "elsewhere")]) == 2
    assert "no such flight, and no folder" in capsys.readouterr().err


def test_a_name_that_is_taken_is_left_alone(cut_off: Callable[..., Path], tmp_path: Path) -> None:
    cut_off()
    assert main(["recover", str(tmp_path)]) == 0
    before = (tmp_path / "a.flight" / "manifest.json").read_bytes()
    cut_off()
    assert main(["recover", str(tmp_path)]) == 0
    assert (tmp_path / "a.flight" / "manifest.json").read_bytes() == before
    assert json.loads((tmp_path / "a-2.flight" / "summary.json").read_text())["recovered"]


def test_a_directory_that_bears_its_name_already_stays_there(
    cut_off: Callable[..., Path], tmp_path: Path
) -> None:
    folder = cut_off("plain.flight")
    assert main(["recover", str(folder)]) == 0
    assert (folder / "manifest.json").is_file()


def test_a_flight_in_the_air_is_not_recovered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = recorder_in(tmp_path / ".a.flight.7.part", is_live=True)
    log.event("up")
    file = tmp_path / ".a.flight.7.part" / "log-0001.mcap"
    assert wait_until(lambda: file.exists() and file.stat().st_size > 0)
    assert main(["recover", str(tmp_path / "a.flight")]) == 2
    assert "is being flown" in capsys.readouterr().err
    log.close()


def test_a_whole_flight_needs_no_recovery(
    cut_off: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off()
    main(["recover", str(tmp_path)])
    assert main(["recover", str(tmp_path / "a.flight")]) == 2
    assert "nothing to recover" in capsys.readouterr().err


# A flight whose end fails


def end_on_a_full_disk(target: Path, frames: int, *, has_log: bool = True) -> None:
    with staged_flight(target) as staging:
        write_flight(staging, frames)
        lines = FixLog(staging)
        for fix in open_flight_log(staging).fixes:
            lines.write(fix)
        lines.close()
        if not has_log:
            (staging / "log-0001.mcap").write_bytes(b"")
        raise OSError(28, "No space left on device")


def test_a_disk_that_is_full_at_the_end_does_not_cost_the_flight(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "a.flight"
    with pytest.raises(OutputError, match="No space"):
        end_on_a_full_disk(target, frames=3)
    assert not target.exists()
    assert f"edge_runtime recover {target}" in caplog.text
    assert len(read_fixes(target)) == 3
    assert main(["recover", str(target)]) == 0
    assert len(open_flight_log(target).fixes) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.flight"]


def test_a_disk_that_was_too_full_for_a_log_does_not_cost_the_fixes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / "a.flight"
    with pytest.raises(OutputError, match="No space"):
        end_on_a_full_disk(target, frames=3, has_log=False)
    assert len(read_fixes(target)) == 3
    assert [folder.name for folder in cut_off_flights(tmp_path)] == [
        folder.name for folder in cut_off_flights(target)
    ]
    assert main(["recover", str(target)]) == 0
    assert "without a log nothing tells which map it was" in caplog.text
    assert len(read_fixes(target)) == 3
    summary = json.loads((target / "summary.json").read_text())
    assert summary["latency"]["exposure_to_output"]["count"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.flight"]


def test_a_flight_without_a_log_is_not_recovered_from_under_its_process(
    cut_off: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cut_off()
    (folder / "log-0001.mcap").unlink()
    assert main(["recover", str(tmp_path / "a.flight")]) == 2
    assert "is being flown" in capsys.readouterr().err
    for file in folder.iterdir():
        os.utime(file, (1e9, 1e9))
    assert main(["recover", str(tmp_path / "a.flight")]) == 0


def test_a_flight_without_a_log_is_never_deleted_for_space(
    cut_off: Callable[..., Path], tmp_path: Path
) -> None:
    folder = cut_off()
    (folder / "log-0001.mcap").unlink()
    assert delete_oldest_flights(tmp_path, 0, tmp_path / "b.flight") == []
    assert (folder / "fixes.jsonl").exists()


def test_an_error_before_the_first_fix_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No space"):
        end_on_a_full_disk(tmp_path / "a.flight", frames=0)
    assert list(tmp_path.iterdir()) == []


def test_a_flight_that_ends_well_lies_where_it_was_to(tmp_path: Path) -> None:
    with staged_flight(tmp_path / "a.flight") as staging:
        (staging / "fixes.jsonl").write_text("{}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.flight"]


def test_of_two_flights_by_one_name_the_later_is_kept_beside_the_first(
    tmp_path: Path,
) -> None:
    target = tmp_path / "a.flight"

    def fly_later() -> None:
        with staged_flight(target) as later:
            (later / JSON_LINES_NAME).write_text("later")
            target.mkdir()
            (target / JSON_LINES_NAME).write_text("first")

    with pytest.raises(OutputError, match="written by another flight in the meantime"):
        fly_later()
    assert (target / JSON_LINES_NAME).read_text() == "first"
    assert (tmp_path / "a-2.flight" / JSON_LINES_NAME).read_text() == "later"
    assert not list(tmp_path.glob(".*"))


def test_a_flight_may_replace_what_lay_there_before(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with staged_flight(tmp_path / "a.flight") as staging:
            (staging / JSON_LINES_NAME).write_text(content)
            write_manifest(staging, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, {})
    assert (tmp_path / "a.flight" / JSON_LINES_NAME).read_text() == "second"
