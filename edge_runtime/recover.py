"""Makes a proper flight directory of one that was cut off by a power cut or a kill."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from pathlib import Path

from edge_runtime.contract.artefact import write_manifest
from edge_runtime.contract.errors import DmnilError, OutputError, SourceError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.flight_directory import (
    FLIGHT_KIND,
    FLIGHT_SCHEMA_VERSION,
    SUMMARY_NAME,
    TRACK_PICTURE_NAME,
)
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.flight.record_latency import FlightLatency
from edge_runtime.flight_log.channels import TOPICS
from edge_runtime.flight_log.folder import log_files, unfinished_flights
from edge_runtime.flight_log.header import FlightHeader
from edge_runtime.flight_log.log_file import LogFile
from edge_runtime.flight_log.mcap_records import FileState, read_messages
from edge_runtime.flight_log.reader import FlightLog
from edge_runtime.flight_log.retention import (
    flight_without_log,
    is_being_written,
    stored_flight,
    stored_flights,
)
from edge_runtime.outputs.fix_log import (
    CSV_NAME,
    GEOJSON_NAME,
    JSON_LINES_NAME,
    FixLog,
    read_fix_lines,
    write_geojson,
)
from edge_runtime.outputs.track_picture import draw_track

_LOG = logging.getLogger(__name__)

_HIDDEN_NAME = re.compile(r"\.(?P<name>.+)\.\d+\.part")
_TOPICS = {topic.name: topic for topic in TOPICS}


def cut_off_flights(path: Path) -> list[Path]:
    """Flights to recover: the one of this name, or all that a folder holds, if any.

    Raises:
        SourceError: If there is no such flight or folder, or the flight is whole.
    """
    stored = stored_flight(path)
    if stored is not None:
        if stored.is_finished:
            raise SourceError(f"{path} is whole: there is nothing to recover")
        return [path]
    try:
        flights = stored_flights(path) if path.is_dir() else []
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    found = [flight.folder for flight in flights if not flight.is_finished]
    found += _without_log(path)
    found = found or unfinished_flights(path)
    if not found and not path.is_dir():
        raise SourceError(f"{path}: no such flight, and no folder of flights")
    return found


def recover_flight(folder: Path) -> Path:
    """Finish a flight that was cut off: its log files, its fixes, its picture, its manifest.

    What a kill left half written is dropped. The directory takes the name that the flight was to
    have, or one beside it where that is taken. A recovery that is cut off can be run again.

    Returns:
        The flight directory.
    Raises:
        DmnilError: If the flight is still being flown, holds no fix, or the disk is full.
    """
    flight = stored_flight(folder) or flight_without_log(folder)
    if flight is not None and is_being_written(flight):
        raise SourceError(f"{folder} is being flown: stop that first")
    try:
        files = _log_files(folder)
        for file in files:
            _finish(file)
        fixes = _write_fixes(folder, files)
        header = _header(FlightLog(folder, files)) if files else None
        if header is None:
            _LOG.warning("no picture of the track: without a log nothing tells which map it was")
        write_geojson(folder / GEOJSON_NAME, fixes)
        _draw(folder, header, fixes)
        states = dict(Counter(fix.state.value for fix in fixes))
        summary = {
            "recovered": True,
            "frames": len(fixes),
            "states": states,
            "latency": FlightLatency(fixes).figures(),
        }
        (folder / SUMMARY_NAME).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        body = {
            "recovered": True,
            "encoder_sha256": None if header is None else header.encoder_sha256,
            "map_manifest_sha256": None if header is None else header.map_manifest_sha256,
            "config": {} if header is None else dict(header.config),
        }
        write_manifest(folder, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, body)
        return folder.rename(_free_name(folder))
    except OSError as error:
        raise OutputError(f"{folder} cannot be recovered: {error.strerror or error}") from error


def _finish(file: Path) -> None:
    """Give a cut-off log file its summary, without which other programs do not open it."""
    state = FileState()
    for _ in read_messages(file, state):
        pass
    if not state.damage or not state.header_json:
        return
    for line in state.damage:
        _LOG.warning("%s", line)
    again = file.with_name(f".{file.name}.part")
    again.unlink(missing_ok=True)
    whole = LogFile(again, json.loads(state.header_json))
    try:
        for message in read_messages(file, FileState()):
            topic = _TOPICS.get(message.topic)
            if topic is not None:
                whole.add(topic, message.time_ns, message.content, message.sequence)
                whole.commit_if_large()
        whole.finish()
    except BaseException:
        whole.abandon()
        again.unlink(missing_ok=True)
        raise
    again.replace(file)


def _without_log(path: Path) -> list[Path]:
    """The flights in a folder, or the one that it is, which were cut off and have no log."""
    try:
        folders = [path, *sorted(path.iterdir())] if path.is_dir() else []
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    return [folder for folder in folders if flight_without_log(folder) is not None]


def _log_files(folder: Path) -> list[Path]:
    """The flight's log files; none where it was flown without a log."""
    if flight_without_log(folder) is not None:
        return []
    return log_files(folder)


def _write_fixes(folder: Path, files: list[Path]) -> list[Fix]:
    """The flight's fixes, from its lines or its log, whichever holds more; written anew whole."""
    logged = FlightLog(folder, files).fixes if files else []
    try:
        fixes = read_fix_lines(folder / JSON_LINES_NAME, is_cut_off=True)
    except SourceError:
        fixes = []
    fixes = max(fixes, logged, key=len)
    if not fixes:
        raise SourceError(f"{folder} holds no fix: nothing was flown, delete it")
    again = folder / ".fixes.part"
    again.mkdir(exist_ok=True)
    lines = FixLog(again)
    try:
        for fix in fixes:
            lines.write(fix)
    finally:
        lines.close()
    for name in (JSON_LINES_NAME, CSV_NAME):
        (again / name).replace(folder / name)
    again.rmdir()
    return fixes


def _header(log: FlightLog) -> FlightHeader | None:
    try:
        return log.header
    except SourceError as error:
        _LOG.warning("%s", error)
        return None


def _draw(folder: Path, header: FlightHeader | None, fixes: list[Fix]) -> None:
    """The track over the map, where the map still is."""
    if header is None:
        return
    try:
        region_map = load_region_map(header.map)
        draw_track(folder / TRACK_PICTURE_NAME, region_map, fixes, title=_name(folder))
    except DmnilError as error:
        _LOG.warning("no picture of the track: %s", error)


def _name(folder: Path) -> str:
    hidden = _HIDDEN_NAME.fullmatch(folder.name)
    return (folder.name if hidden is None else hidden["name"]).removesuffix(".flight")


def _free_name(folder: Path) -> Path:
    """The name that the flight was to have, or one beside it."""
    if _HIDDEN_NAME.fullmatch(folder.name) is None:
        return folder
    target = folder.with_name(f"{_name(folder)}.flight")
    number = 1
    while target.exists():
        number += 1
        target = folder.with_name(f"{_name(folder)}-{number}.flight")
    return target
