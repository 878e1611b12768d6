"""Flies a logged flight again: the same pictures and telemetry through the localiser."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_runtime.contract.artefact import (
    staged_directory,
    write_manifest,
)
from edge_runtime.contract.errors import ConfigError, SourceError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.flight_directory import (
    FLIGHT_KIND,
    FLIGHT_SCHEMA_VERSION,
    SUMMARY_NAME,
    TRACK_PICTURE_NAME,
)
from edge_runtime.flight.record_latency import FlightLatency
from edge_runtime.flight_log.config import FlightLogConfig
from edge_runtime.flight_log.decision import decision_of
from edge_runtime.flight_log.header import FlightHeader, software_versions
from edge_runtime.flight_log.plain_values import from_plain, to_plain
from edge_runtime.flight_log.reader import FlightLog, LoggedFrame, open_flight_log
from edge_runtime.flight_log.recorder import FlightRecorder
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.saved_state import LocaliserState, state_from_text
from edge_runtime.opening import open_encoder_and_map, open_engine_as_set
from edge_runtime.outputs.fix_log import GEOJSON_NAME, FixLog, write_geojson
from edge_runtime.outputs.track_picture import draw_track
from edge_runtime.progress import progress_bar
from edge_runtime.replay_comparison import Difference, difference_between
from edge_runtime.sources.decoding import decode_picture
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.truth import TruePlace, read_truth

_QUIET_S = 1.0


@dataclass(frozen=True)
class ReplayConfig:
    """Which flight to fly again, and with what; None and absent settings are as they were flown."""

    flight: Path
    """Flight directory, finished or cut off, or one log file."""
    output: Path | None = None
    """Flight directory to write."""
    truth: Path | None = None
    """True positions, for error figures; used for nothing else."""
    encoder: Path | None = None
    map: Path | None = None
    precision: str | None = None
    engine: str | None = None
    threads: int | None = None
    localiser: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the localiser by dotted name, such as evidence.log_ratio_per_sigma."""


@dataclass(frozen=True)
class ReplayReport:
    """Both flights, and whether they are the same."""

    flown: list[Fix]
    again: list[Fix]
    """As many as `flown`, each beside its own."""
    changes: list[str]
    """Settings and artefacts that are not as flown, a line each."""
    difference: Difference | None
    """The first fix that is not the same."""
    missing: list[str]
    """Frames that were flown and whose pictures are not in the log."""
    other_software: list[str]
    """Versions that are not as flown, a line each."""
    truth: dict[str, TruePlace] | None

    @property
    def is_same(self) -> bool:
        """Whether every fix was reached again bit for bit."""
        return self.difference is None and not self.missing


def replay(config: ReplayConfig) -> ReplayReport:
    """Fly a logged flight again.

    Raises:
        DmnilError: If the log, its encoder or its map cannot be used, or nothing was flown.
    """
    log = open_flight_log(config.flight)
    header = log.header
    truth = None if config.truth is None else read_truth(config.truth)
    flown_header, changes = _with_changes(header, config)
    if not log.fixes:
        raise SourceError(f"{log.folder} holds no fixes: nothing was flown")
    log.warn_of_damage()
    again: list[Fix] = []
    missing: list[str] = []
    flown: list[Fix] = []
    difference: Difference | None = None
    with ExitStack() as stack:
        localiser, region_map = _localiser(log, flown_header, changes)
        staging = record = None
        if config.output is not None:
            staging = stack.enter_context(staged_directory(config.output, FLIGHT_KIND))
            record = stack.enter_context(closing(_Record(staging, log, flown_header)))
        progress = stack.enter_context(
            progress_bar("edge_runtime", len(log.fixes), "frame", _QUIET_S)
        )
        for frame, fix in _flown(log):
            progress.update()
            new = _fly(localiser, frame, fix)
            if new is None:
                missing.append(fix.frame)
                continue
            flown.append(fix)
            again.append(new)
            if difference is None:
                difference = difference_between(fix, new)
            if record is not None:
                record.write(frame, new, decision_of(localiser, region_map))
        if not again:
            raise SourceError(
                f"{log.folder} holds no pictures (log.pictures none): it cannot be flown again"
            )
        report = ReplayReport(
            flown, again, changes, difference, missing, _other_software(header), truth
        )
        if staging is not None and record is not None and config.output is not None:
            record.close()
            title = config.output.name.removesuffix(".flight")
            write_geojson(staging / GEOJSON_NAME, again)
            draw_track(staging / TRACK_PICTURE_NAME, region_map, again, truth, title)
            summary = {
                "replay_of": str(log.folder),
                "changes": changes,
                "frames": len(again),
                "latency": FlightLatency(again).figures(),
            }
            (staging / SUMMARY_NAME).write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
            body = {
                "replay_of": str(log.folder.absolute()),
                "encoder_sha256": flown_header.encoder_sha256,
                "map_manifest_sha256": flown_header.map_manifest_sha256,
                "config": to_plain(flown_header.config),
            }
            write_manifest(staging, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, body)
    return report


def _with_changes(header: FlightHeader, config: ReplayConfig) -> tuple[FlightHeader, list[str]]:
    """The header of the flight to fly, and what is changed in it."""
    changes = [f"{name} is no setting of this release" for name in header.unknown_settings]
    asked = {
        name: getattr(config, name)
        for name in ("encoder", "map", "precision", "engine", "threads")
        if getattr(config, name) is not None
    }
    for name in ("precision", "engine", "threads"):
        if name in asked and asked[name] != getattr(header, name):
            changes.append(f"{name} {getattr(header, name)} -> {asked[name]}")
    settings = to_plain(header.localiser)
    for name, value in config.localiser.items():
        *groups, last = name.split(".")
        group = settings
        for word in groups:
            group = group[word]
        value = to_plain(value)
        if group[last] != value:
            changes.append(f"localiser.{name} {group[last]} -> {value}")
        group[last] = value
    try:
        localiser = from_plain(LocaliserConfig, settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the localiser's settings do not fit: {error}") from error
    logged = {**header.config, "localiser": settings, **to_plain(asked)}
    return replace(header, **asked, localiser=localiser, config=logged), changes


def _localiser(log: FlightLog, header: FlightHeader, changes: list[str]) -> tuple[Localiser, Any]:
    """A localiser as the flight's was at its start; notes another encoder or map as a change."""
    flown = log.header
    for what, path in (("encoder", header.encoder), ("map", header.map)):
        if not path.is_dir():
            raise ConfigError(
                f"{path}, the {what} that was flown, is not there: say where with --{what}"
            )
    opened = open_encoder_and_map(header.encoder, header.map)
    bundle, region_map = opened.bundle, opened.region_map
    if bundle.encoder_sha256 != flown.encoder_sha256:
        changes.append(f"encoder {_short(flown.encoder_sha256)} -> {_short(bundle.encoder_sha256)}")
    map_sha256 = region_map.manifest_sha256
    if map_sha256 != flown.map_manifest_sha256:
        changes.append(f"map {_short(flown.map_manifest_sha256)} -> {_short(map_sha256)}")
    engine = open_engine_as_set(bundle, header, golden_check=not header.unsafe_engine)
    state: LocaliserState | None = None
    if header.saved_state is not None:
        state = state_from_text(header.saved_state, f"{log.folder}: the state it began with")
        if state.map_sha256 != map_sha256:
            changes.append("the state that the flight began with is of another map: none is used")
            state = None
    localiser = Localiser(
        engine,
        region_map,
        opened.input_size,
        log.camera,
        header.localiser,
        header.prior,
        state,
    )
    return localiser, region_map


def _flown(log: FlightLog) -> Iterator[tuple[LoggedFrame | None, Fix]]:
    """Every fix with the frame that it is of; None for a fix without a view."""
    last: LoggedFrame | None = None
    for entry in log.entries():
        if isinstance(entry, LoggedFrame):
            last = entry
        elif isinstance(entry, Fix):
            own = last is not None and last.name == entry.frame and last.sample is not None
            yield (last if own else None), entry


def _fly(localiser: Localiser, frame: LoggedFrame | None, fix: Fix) -> Fix | None:
    """The fix of a frame; None where its picture is not in the log."""
    if not fix.frame:
        return localiser.without_view("", fix.time_s, fix.reason)
    if frame is None or frame.sample is None or frame.picture is None or not frame.is_as_flown:
        return None
    image = decode_picture(frame.picture)
    if image is None:
        raise SourceError(f"the logged picture of frame {frame.name} cannot be decoded")
    return localiser.process(frame.name, image, frame.sample)


class _Record:
    """Writes the new flight: its log with the pictures and telemetry of the old one."""

    def __init__(self, folder: Path, log: FlightLog, header: FlightHeader) -> None:
        self._fixes = FixLog(folder)
        self._recorder = FlightRecorder(
            folder, FlightLogConfig(min_free_mb=0.0), header, replayed=True, clock=log.clock.anchor
        )
        self._recorder.camera(log.camera)
        self._recorder.event(f"a replay of {log.folder.name}")
        self._is_open = True

    def write(self, frame: LoggedFrame | None, fix: Fix, decision: dict[str, Any]) -> None:
        """A frame, its new fix, and what was weighed for that."""
        if frame is not None:
            self._recorder.frame(
                Frame(frame.name, None, frame.number, frame.time_s, frame.picture), frame.sample
            )
        self._recorder.fix(fix)
        self._recorder.decision(fix, decision)
        self._fixes.write(fix)

    def close(self) -> None:
        """Finish the files."""
        if self._is_open:
            self._is_open = False
            self._recorder.close()
            self._fixes.close()


def _other_software(header: FlightHeader) -> list[str]:
    now = software_versions()
    return [
        f"{name} {header.versions.get(name, 'absent')} -> {version}"
        for name, version in now.items()
        if header.versions.get(name) != version
    ]


def _short(digest: str) -> str:
    return digest[:12]
