"""Flying a logged flight again: bit for bit, or with something changed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_runtime.cli import main
from edge_runtime.contract.errors import ConfigError, SourceError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.flight_log import channels
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.flight_log.log_file import LogFile
from edge_runtime.flight_log.mcap_records import FileState, LoggedMessage, read_messages
from edge_runtime.flight_log.reader import LoggedDecision, open_flight_log
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.replay import ReplayConfig, ReplayReport, replay
from edge_runtime.replay_comparison import difference_between, flight_figures, track_distance
from edge_runtime.sample_flight import SAMPLE_ENCODER, SAMPLE_FLIGHT, SAMPLE_MAP
from tests.edge_runtime.recorded_flight import record_flight
from tests.small_map import seal_again

FRAMES = 48  # of the sample: its first fix comes at the 34th
SILENT_AFTER = 40
SHORT = 14  # frames, where positions do not matter
TRUTH = SAMPLE_FLIGHT / "truth.csv"


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's beginning as a recorder logs it, with three seconds without frames."""
    folder = tmp_path_factory.mktemp("flown") / "a.flight"
    record_flight(
        folder,
        SAMPLE_ENCODER,
        SAMPLE_MAP,
        SAMPLE_FLIGHT / "frames",
        SAMPLE_FLIGHT / "frames.csv",
        most_frames=FRAMES,
        silent_after=SILENT_AFTER,
    )
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's first frames, before its first position."""
    folder = tmp_path_factory.mktemp("short") / "a.flight"
    record_flight(
        folder,
        SAMPLE_ENCODER,
        SAMPLE_MAP,
        SAMPLE_FLIGHT / "frames",
        SAMPLE_FLIGHT / "frames.csv",
        most_frames=SHORT,
    )
    return folder


@pytest.fixture
def own(short: Path, tmp_path: Path) -> Path:
    """A copy of the short flight that a test may change."""
    return Path(shutil.copytree(short, tmp_path / "own.flight"))


def rewritten(
    folder: Path,
    change: Callable[[LoggedMessage], LoggedMessage | None],
    header: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values,
) -> Path:
    """Write a flight's log anew with messages changed, or left out."""
    path = folder / "log-0001.mcap"
    state = FileState()
    messages = list(read_messages(path, state))
    path.unlink()
    file = LogFile(path, header(json.loads(state.header_json)))
    topics = {topic.name: topic for topic in channels.TOPICS}
    for message in messages:
        changed = change(message)
        if changed is not None:
            file.add(topics[changed.topic], changed.time_ns, changed.content, changed.sequence)
    file.finish()
    return folder


def test_another_process_reaches_the_same_fixes_bit_for_bit(flown: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = ["replay", str(flown), "--json", str(figures), "--truth", str(TRUTH)]
    again = subprocess.run(
        [sys.executable, "-m", "edge_runtime", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.stdout == f"the same  {FRAMES + 3} fixes, bit for bit\n", again.stderr
    assert again.returncode == 0
    values = json.loads(figures.read_text())
    assert values["is_same"]
    assert values["flown"] == values["again"]
    assert values["flown"]["published"] > 5
    assert values["distance"]["largest_m"] == 0.0


def test_frames_that_the_log_coded_itself_are_flown_again_the_same(
    tmp_path: Path, encoder_folder: Path, map_folder: Path
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for path in sorted((SAMPLE_FLIGHT / "frames").iterdir())[30:38]:
        shutil.copy(path, frames)
    for with_bytes in (True, False):
        folder = tmp_path / f"{with_bytes}.flight"
        record_flight(
            folder,
            SAMPLE_ENCODER,
            SAMPLE_MAP,
            frames,
            SAMPLE_FLIGHT / "frames.csv",
            with_bytes=with_bytes,
        )
        assert replay(ReplayConfig(folder)).is_same
    assert read_fixes(tmp_path / "True.flight") != read_fixes(tmp_path / "False.flight")


@pytest.fixture(scope="module")
def changed(flown: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReplayReport]:
    """The same flight with a bolder reading of scores, written to a directory of its own."""
    output = tmp_path_factory.mktemp("changed") / "b.flight"
    config = ReplayConfig(flown, output=output, localiser={"evidence.log_ratio_per_sigma": 3.5})
    return output, replay(config)


def test_a_changed_setting_is_told_and_makes_another_flight(
    changed: tuple[Path, ReplayReport],
) -> None:
    _, report = changed
    assert report.changes == ["localiser.evidence.log_ratio_per_sigma 2.5 -> 3.5"]
    assert report.difference is not None
    distance = track_distance(report.flown, report.again)
    assert distance is not None
    assert distance.largest_m > 0.0


def test_a_changed_flight_is_a_flight_directory_that_flies_again_the_same(
    changed: tuple[Path, ReplayReport],
) -> None:
    folder, report = changed
    assert {path.name for path in folder.iterdir()} == {
        "fixes.csv",
        "fixes.geojson",
        "fixes.jsonl",
        "log-0001.mcap",
        "manifest.json",
        "summary.json",
        "track.png",
    }
    assert read_fixes(folder) == report.again
    decisions = [e for e in open_flight_log(folder).entries() if isinstance(e, LoggedDecision)]
    assert all(len(decision.values["top_tiles"]) == 5 for decision in decisions)
    assert len(decisions) > 5
    again = replay(ReplayConfig(folder))
    assert again.is_same
    assert len(again.again) == FRAMES + 3
    assert main(["score", str(folder), str(TRUTH)]) == 0


def test_the_command_compares_both_flights_in_a_table(
    flown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--localiser.evidence.log_ratio_per_sigma", "4", "--truth", str(TRUTH)]
    assert main(["replay", str(flown), *options]) == 0
    printed = capsys.readouterr().out
    assert "changed   localiser.evidence.log_ratio_per_sigma 2.5 -> 4.0" in printed
    assert "differs   frame 0000" in printed
    assert "as flown" in printed
    for label in ("available after the first", "tracking", "median error, m", "false fixes"):
        assert label in printed


def test_the_first_fix_that_differs_is_named_with_what_differs(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [fix.frame for fix in read_fixes(own)]

    def bend(message: LoggedMessage) -> LoggedMessage:
        values = json.loads(message.content) if message.topic == "/fix" else {}
        if values.get("frame") not in (names[8], names[11]):
            return message
        values["in_map_probability"] += 1e-16 if values["in_map_probability"] < 0.5 else 2.3e-16
        return replace(message, content=json.dumps(values).encode())

    rewritten(own, bend)
    report = replay(ReplayConfig(own))
    assert report.difference is not None
    assert (report.difference.frame, report.difference.field) == (names[8], "in_map_probability")
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(own)])
    assert ended.value.code == 1
    assert f"differs   frame {names[8]}: in_map_probability was 0." in capsys.readouterr().out


def test_a_frame_whose_picture_the_log_dropped_is_named(own: Path) -> None:
    images = 0

    def drop(message: LoggedMessage) -> LoggedMessage | None:
        nonlocal images
        images += message.topic == "/camera/image"
        return None if message.topic == "/camera/image" and images == 4 else message

    rewritten(own, drop)
    report = replay(ReplayConfig(own))
    assert report.missing == [read_fixes(own)[3].frame]
    assert not report.is_same
    assert len(report.again) == SHORT - 1


def test_a_flight_that_was_cut_off_is_flown_as_far_as_it_goes(flown: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(flown, tmp_path / "own.flight"))
    file = own / "log-0001.mcap"
    data = file.read_bytes()
    file.write_bytes(data[: int(0.6 * len(data))])
    hidden = own.rename(own.with_name(".own.flight.123.part"))
    report = replay(ReplayConfig(own))
    assert hidden.is_dir()
    assert report.is_same
    assert 5 < len(report.again) < FRAMES


def test_another_map_must_be_the_encoders_own(own: Path, map_folder: Path) -> None:
    with pytest.raises(Exception, match="encoder"):
        replay(ReplayConfig(own, map=map_folder))


def test_another_map_is_told_by_its_manifest(own: Path, tmp_path: Path) -> None:
    newer = Path(shutil.copytree(SAMPLE_MAP, tmp_path / "newer.map"))
    seal_again(newer, built_again="as it was")
    report = replay(ReplayConfig(own, map=newer))
    (change,) = report.changes
    assert change.startswith("map ")
    assert " -> " in change
    assert report.is_same


def test_a_map_that_is_gone_is_asked_for(own: Path) -> None:
    rewritten(own, lambda message: message, lambda values: {**values, "map": "/nowhere/a.map"})
    with pytest.raises(ConfigError, match="say where with --map"):
        replay(ReplayConfig(own))
    assert replay(ReplayConfig(own, map=SAMPLE_MAP)).is_same


def test_a_log_without_pictures_cannot_be_flown(tmp_path: Path) -> None:
    record_flight(
        tmp_path / "a.flight",
        SAMPLE_ENCODER,
        SAMPLE_MAP,
        SAMPLE_FLIGHT / "frames",
        SAMPLE_FLIGHT / "frames.csv",
        most_frames=2,
        log=FlightLogConfig(pictures="none", min_free_mb=0.0),
    )
    with pytest.raises(SourceError, match="holds no pictures"):
        replay(ReplayConfig(tmp_path / "a.flight"))


def test_a_log_of_another_release_is_refused(own: Path) -> None:
    rewritten(own, lambda message: message, lambda values: {**values, "log_schema_version": 9})
    with pytest.raises(SourceError, match="another release"):
        open_flight_log(own)


def test_a_setting_that_this_release_does_not_have_is_told(own: Path) -> None:
    def with_more(values: dict[str, Any]) -> dict[str, Any]:
        values["localiser"]["evidence"]["colour"] = "blue"
        return values

    rewritten(own, lambda message: message, with_more)
    report = replay(ReplayConfig(own))
    assert report.changes == ["localiser.evidence.colour is no setting of this release"]
    assert report.is_same


def test_a_setting_that_is_none_is_an_error(
    flown: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(flown), "--localiser.evidence.colour", "3"]) == 2
    assert "colour" in capsys.readouterr().err
    assert main(["replay", str(flown), "--localiser.evidence.log_ratio_per_sigma", "many"]) == 2


def test_a_flight_that_began_with_a_saved_state_is_flown_from_it(
    tmp_path: Path, flown: Path
) -> None:
    sample = (SAMPLE_ENCODER, SAMPLE_MAP, SAMPLE_FLIGHT / "frames", SAMPLE_FLIGHT / "frames.csv")
    _, state = record_flight(tmp_path / "a", *sample, most_frames=40)
    assert state.place is not None
    folder = tmp_path / "b"
    resumed, _ = record_flight(folder, *sample, first_frame=40, most_frames=6, state=state)
    report = replay(ReplayConfig(folder))
    assert report.is_same
    anew = replay(
        ReplayConfig(rewritten(folder, lambda m: m, lambda v: {**v, "saved_state": None}))
    )
    assert not anew.is_same
    assert resumed[0] != anew.again[0]


# Comparing


HERE = Position(47.0, 8.0, 1.0, 1.0, 0.0, 10.0)
FIX = Fix("a", 1.0, IntegrityState.TRACKING, "", HERE, stage_ms={"encode": 1.0}, latency_ms=5.0)


def test_times_that_were_measured_are_no_difference() -> None:
    assert difference_between(FIX, replace(FIX, stage_ms={}, latency_ms=None)) is None


def test_every_other_bit_is_a_difference() -> None:
    moved = replace(HERE, latitude_deg=47.00000000000001)
    found = difference_between(FIX, replace(FIX, position=moved))
    assert found is not None
    assert found.field == "position.latitude_deg"
    assert "47.0, is 47.00000000000001" in str(found)
    assert difference_between(FIX, replace(FIX, position=None)) is not None
    assert difference_between(FIX, replace(FIX, state=IntegrityState.COASTING)) is not None
    assert difference_between(FIX, replace(FIX, heading_deg=-0.0)) is not None
    nowhere = replace(FIX, heading_deg=float("nan"))
    assert difference_between(nowhere, nowhere) is None


def test_availability_counts_from_the_first_position() -> None:
    silent = replace(FIX, position=None, state=IntegrityState.ACQUIRING)
    figures = flight_figures([silent, silent, FIX, silent, FIX, FIX], None)
    assert figures.published == 3
    assert figures.availability == 0.75
    assert figures.states == {"ACQUIRING": 3, "TRACKING": 3}


def test_tracks_are_a_meridian_arc_apart() -> None:
    north = replace(FIX, position=replace(HERE, latitude_deg=47.0 + 100.0 / 111_170.0))
    distance = track_distance([FIX, FIX], [north, replace(FIX, position=None)])
    assert distance is not None
    assert distance.frames == 1
    assert distance.median_m == pytest.approx(100.0, abs=0.1)
