"""`edge_runtime run`: fly a recording or a live camera."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines
from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.flight_directory import TRACK_PICTURE_NAME
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.loop import fly
from edge_runtime.flight.record import FlightReport
from edge_runtime.outputs.fix_log import JSON_LINES_NAME
from edge_runtime.sample_flight import SAMPLE_OPTIONS, SAMPLE_OUTPUT
from edge_runtime.service_notify import notifier_from_environment
from edge_runtime.structured_log import LogConfig, logging_as

FLIGHTS_FOLDER = Path("flights")
_LOG = logging.getLogger(__name__)


def run(parser: ArgumentParser) -> Action:
    """Fly: frames and telemetry in, recorded or live; position fixes out."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "--sample", action="store_true", help="fly the generated sample that ships with this"
    )
    parser.add_argument("--encoder", type=Path | None, help="encoder bundle, NAME.encoder")
    parser.add_argument(
        "--map", type=Path | None, help="region map built with that encoder, NAME.map"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path | None,
        help="flight directory to write, NAME.flight; flights/DATE-TIME.flight if left out. "
        "A recording replaces what was there, a live flight takes a further number",
    )
    parser.add_argument(
        "--prior",
        type=str | None,
        help="LAT,LON,RADIUS_M: the drone is inside this circle at the start; unknown if left out",
    )
    own = {"prior", "output", "encoder", "map"}
    parser.add_class_arguments(FlightConfig, None, skip=own)
    log_names = parser.add_class_arguments(LogConfig, None)

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        values.pop("config", None)
        log_config = LogConfig(**{name: values.pop(name) for name in log_names})
        if values.pop("sample"):
            _fill_in_sample(values)
        missing = [name for name in ("encoder", "map") if values[name] is None]
        if missing:
            raise ConfigError(
                f"--{' and --'.join(missing)} must be given; --sample flies what ships with this"
            )
        prior = parsed_prior(values["prior"])
        with logging_as(log_config):
            output = _output(values["output"], is_live=values["source"].uri is not None)
            config = FlightConfig(**{**values, "prior": prior, "output": output})
            report = fly(config, notifier_from_environment())
        print_lines(_flight_text(report))

    return act


def parsed_prior(text: str | None) -> tuple[float, float, float] | None:
    """Latitude, longitude and radius of `LAT,LON,RADIUS_M`.

    Raises:
        ConfigError: If the text is something else.
    """
    if text is None:
        return None
    try:
        latitude_deg, longitude_deg, radius_m = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--prior takes LAT,LON,RADIUS_M, not {text!r}") from None
    return latitude_deg, longitude_deg, radius_m


def _fill_in_sample(values: dict[str, Any]) -> None:
    """Fly the sample, but for what else is asked for."""
    left_out = set()
    if values["frames"] is not None or values["source"].uri is not None:
        left_out |= {"frames", "truth"}
    if values["mavlink"].connection is not None:
        left_out.add("telemetry")
    for name, path in SAMPLE_OPTIONS.items():
        if values[name] is None and name not in left_out:
            values[name] = path
    if values["output"] is None:
        values["output"] = SAMPLE_OUTPUT


def _output(given: Path | None, *, is_live: bool) -> Path:
    """Where the flight goes: what was given, else a directory named by the wall clock.

    A recording can be flown again and replaces what was flown of it before. A live flight cannot,
    and a service that is started again in flight must not lose the first half of it.
    """
    if given is None:
        name = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        return _not_there_yet(FLIGHTS_FOLDER / f"{name}.flight")
    if not is_live:
        return given
    output = _not_there_yet(given)
    if output != given:
        _LOG.warning("%s is an earlier flight's and is kept: this one goes to %s", given, output)
    return output


def _not_there_yet(wanted: Path) -> Path:
    """The directory, or the same with a number, that no flight has taken, finished or not."""
    stem, ending = wanted.name.removesuffix(".flight"), ".flight"
    ending = ending if wanted.name.endswith(ending) else ""
    candidate, number = wanted, 1
    while _is_taken(candidate):
        number += 1
        candidate = wanted.with_name(f"{stem}-{number}{ending}")
    return candidate


def _is_taken(output: Path) -> bool:
    if (output / JSON_LINES_NAME).is_file():
        return True
    try:
        begun = f".{output.name}."
        return any(
            path.name.startswith(begun) and path.name.endswith(".part")
            for path in output.parent.iterdir()
        )
    except OSError:  # no such folder yet, or one that writing will refuse
        return False


def _flight_text(report: FlightReport) -> str:
    states = ", ".join(f"{count} {state}" for state, count in report.states.items())
    lines = [f"{report.frames} frames in {report.wall_s:.1f} s: {states or 'none flown'}"]
    if report.undecodable or report.without_telemetry:
        lines.append(
            f"skipped {report.undecodable} frames that do not decode, "
            f"{report.without_telemetry} without telemetry"
        )
    if report.of_another_size:
        lines.append(f"skipped {report.of_another_size} frames of another size than the first")
    if report.capture:
        counts = ", ".join(f"{count} {name}" for name, count in report.capture.items())
        lines.append(f"camera: {counts}")
    exposure_to_output = report.latency.get("exposure_to_output")
    if exposure_to_output is not None:
        lines.append(f"from exposure to output: {_times_text(exposure_to_output)}")
    if "engine" in report.latency:
        lines.append(f"the encoder: {_times_text(report.latency['engine'])}")
    if report.interrupted:
        lines.append("stopped early on request; everything flown until then was written")
    if report.last is not None and report.last.position is None:
        lines.append(f"ended without a position: {report.last.state.value}, {report.last.reason}")
    lines.append(f"fixes, track and picture: {report.output / TRACK_PICTURE_NAME}")
    return "\n".join(lines)


def _times_text(figures: dict[str, float]) -> str:
    return (
        f"{figures['p50_ms']:.1f} ms median, {figures['p99_ms']:.1f} ms p99, "
        f"in {figures['count']:.0f} frames"
    )
