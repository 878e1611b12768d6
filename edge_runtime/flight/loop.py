"""Fly: frames and telemetry in, recorded or live; fixes and a flight directory out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from edge_runtime.contract.artefact import (
    sha256_of_file,
    write_manifest,
)
from edge_runtime.contract.errors import SourceError, TelemetryError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.flight_directory import FLIGHT_KIND, FLIGHT_SCHEMA_VERSION
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.equipment import open_equipment
from edge_runtime.flight.inputs import FlightInputs, load_flight_inputs
from edge_runtime.flight.navigator import Navigator
from edge_runtime.flight.record import FlightRecord, FlightReport, SkippedFrames, write_results
from edge_runtime.flight.stop_signals import stop_on_signals
from edge_runtime.flight_log.staged_flight import staged_flight
from edge_runtime.outputs.track_picture import read_preview
from edge_runtime.progress import progress_bar
from edge_runtime.service_notify import ServiceNotifier
from edge_runtime.telemetry.truth import read_truth

_QUIET_S = 1.0


def fly(config: FlightConfig, service: ServiceNotifier | None = None) -> FlightReport:
    """Localise every frame of a flight and write its flight directory.

    Ctrl-C ends the flight early, and so does an error in the middle of it; what was flown until
    then is written in full.

    Args:
        service: Hears when the inputs are loaded, of every frame, and of the end.
    Raises:
        DmnilError: If an input is unusable or the output cannot be written; nothing is left
            behind if it shows before the first fix.
    """
    started = time.perf_counter()
    service = ServiceNotifier() if service is None else service
    inputs = load_flight_inputs(config)
    read_preview(inputs.region_map)  # what cannot be drawn at the end should not be flown for
    truth = None if config.truth is None else read_truth(config.truth)
    record = FlightRecord()
    with ExitStack() as lines:
        equipment = open_equipment(config, inputs, lines)
        feed = equipment.feed
        navigator = lines.enter_context(closing(Navigator(config, inputs, feed)))
        interrupted = lines.enter_context(stop_on_signals())
        staging = lines.enter_context(staged_flight(config.output))
        with (
            closing(equipment.followers(staging, navigator)) as followers,
            progress_bar(
                "edge_runtime", feed.length, "frame", _QUIET_S, shown=not feed.is_live
            ) as progress,
            _kept_until_written() as failures,
        ):
            service.ready()
            for moment in feed.moments:
                if interrupted:
                    break
                service.alive()
                followers.tick()
                moment = followers.take(moment)
                fix = followers.tell(moment, navigator.judge(moment))
                progress.update(moment.frame is not None)
                if fix is not None:
                    record.add(fix)
                    progress.set_postfix_str(_progress_text(fix), refresh=False)
                    service.status(fix.state.value)
        service.stopping()
        if failures and not record.frames:
            raise failures[0]
        if not record.frames and not interrupted:
            raise _nothing_flown(config, navigator.skipped)
        report = record.report(
            config.output,
            navigator.skipped,
            time.perf_counter() - started,
            interrupted=bool(interrupted),
            capture=feed.counts,
        )
        write_results(staging, record, report, inputs.region_map, truth)
        _write_flight_manifest(staging, config, inputs)
    if failures:
        raise failures[0]
    return report


def _write_flight_manifest(folder: Path, config: FlightConfig, inputs: FlightInputs) -> None:
    telemetry = config.telemetry
    body = {
        "encoder_sha256": inputs.bundle.encoder_sha256,
        "precision": inputs.precision,
        "map_manifest_sha256": inputs.region_map.manifest_sha256,
        "telemetry_sha256": None if telemetry is None else sha256_of_file(telemetry),
        "config": json.loads(json.dumps(asdict(config.shown), default=str)),
    }
    write_manifest(folder, FLIGHT_KIND, FLIGHT_SCHEMA_VERSION, body)


@contextmanager
def _kept_until_written() -> Iterator[list[Exception]]:
    """Takes an exception of the block into the list, so that what was done before is kept."""
    failures: list[Exception] = []
    try:
        yield failures
    except Exception as error:  # noqa: BLE001 - raised again once the flight is written
        failures.append(error)


def _nothing_flown(config: FlightConfig, skipped: SkippedFrames) -> SourceError | TelemetryError:
    what = config.shown.source.uri if config.frames is None else config.frames
    if skipped.without_telemetry and config.telemetry is None:
        return TelemetryError(
            f"the autopilot on {config.mavlink.connection} told no attitude for any of "
            f"{skipped.without_telemetry} frames: is it switched on, and does it send there?"
        )
    if skipped.without_telemetry:
        return TelemetryError(
            f"{config.telemetry} covers none of the "
            f"{skipped.without_telemetry} frames of {what}: do their names or times belong "
            "together?"
        )
    return SourceError(f"{what}: none of its {skipped.undecodable} frames can be decoded")


def _progress_text(fix: Fix) -> str:
    if fix.position is None:
        return fix.state.value
    position = fix.position
    return (
        f"{fix.state.value} {position.latitude_deg:.5f},{position.longitude_deg:.5f} "
        f"+-{position.radius95_m:.0f} m"
    )
