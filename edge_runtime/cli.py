"""The command `edge_runtime`: a subcommand is one function here and one entry of `SUBCOMMANDS`.

Subcommands import what they run inside their function, so that `doctor` comes up on a machine
where cv2 or an engine cannot even be imported.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from edge_runtime.command_line import EXIT_ERROR, Action, Subcommand, run_subcommand
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import ConfigError
from edge_runtime.sample_flight import sample_arguments

if TYPE_CHECKING:
    from edge_runtime.flight.record import FlightReport

_SAMPLE_FLAG = "--sample"
_PRIOR_FLAG = "--prior"
EXIT_UNFIT = 1


def run(parser: ArgumentParser) -> Action:
    """Fly a recorded flight: frames and telemetry in, position fixes out."""
    from edge_runtime.flight.config import FlightConfig
    from edge_runtime.flight.loop import fly
    from edge_runtime.service_notify import notifier_from_environment

    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        _SAMPLE_FLAG, action="store_true", help="fly the generated sample that ships with this"
    )
    parser.add_argument(
        _PRIOR_FLAG,
        type=str | None,
        help="LAT,LON,RADIUS_M: the drone is inside this circle at the start; unknown if left out",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="flight directory to write, NAME.flight"
    )
    parser.add_class_arguments(FlightConfig, None, skip={"prior", "output"})

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        for own in ("config", "sample"):
            values.pop(own, None)
        config = FlightConfig(**{**values, "prior": _prior(values["prior"])})
        report = fly(config, notifier_from_environment())
        _print(_flight_text(report))

    return act


def score(parser: ArgumentParser) -> Action:
    """Score a flight's fixes against the truth."""
    from edge_runtime.outputs.fix_log import read_fixes
    from edge_runtime.score import score_flight, score_frames, score_json, score_report
    from edge_runtime.telemetry.truth import read_truth

    parser.add_argument("fixes", type=Path, help="flight directory, or its fixes.jsonl")
    parser.add_argument("truth", type=Path, help="CSV with the true places by frame")
    parser.add_argument(
        "--first_frame", type=str | None, help="leave earlier frames out of the frame-level figures"
    )
    parser.add_argument("--json", type=Path | None, help="write the figures to this file too")

    def act(options: Any) -> None:
        fixes, truth = read_fixes(options.fixes), read_truth(options.truth)
        frames = score_frames(fixes, truth, options.first_frame)
        flight = score_flight(fixes, truth)
        _print(score_report(frames, flight))
        if options.json is not None:
            _write_json(options.json, score_json(frames, flight))

    return act


def bench(parser: ArgumentParser) -> Action:
    """Measure an engine (--encoder), or what a frame costs beside its encoder on synthetic maps."""
    from edge_runtime.bench import BenchConfig, bench_report, run_bench
    from edge_runtime.engine_bench import EngineBenchConfig, engine_bench_report, run_engine_bench

    of_engine = parser.add_argument_group("An engine")
    of_engine.add_argument(
        "--encoder", type=Path | None, help="bundle, NAME.encoder, whose engine to measure"
    )
    engine_names = parser.add_class_arguments(
        EngineBenchConfig, None, skip={"encoder", "seed"}, as_group=False
    )
    map_names = parser.add_class_arguments(BenchConfig, None)
    parser.add_argument("--json", type=Path | None, help="write the figures to this file too")

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        engine_values = {name: values[name] for name in engine_names}
        config = EngineBenchConfig(
            encoder=values["encoder"] or Path(), seed=values["seed"], **engine_values
        )
        if values["encoder"] is not None:
            results = run_engine_bench(config)
            _print(engine_bench_report(results))
        elif config != EngineBenchConfig(encoder=Path(), seed=values["seed"]):
            raise ConfigError("measuring an engine needs --encoder NAME.encoder")
        else:
            results = run_bench(BenchConfig(**{name: values[name] for name in map_names}))
            _print(bench_report(results))
        if values["json"] is not None:
            _write_json(values["json"], results)

    return act


def doctor(parser: ArgumentParser) -> Action:
    """Check whether this machine is fit to fly: one line a check, and what to do about it."""
    from edge_runtime.doctor.examination import DoctorConfig, examine
    from edge_runtime.doctor.machine import Machine
    from edge_runtime.doctor.report import has_failed, report_json, report_text

    parser.add_class_arguments(DoctorConfig, None)
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        as_json = values.pop("json")
        findings = examine(Machine(), DoctorConfig(**values))
        if as_json:
            _print(json.dumps(report_json(findings), indent=2))
        else:
            coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
            _print(report_text(findings, coloured=coloured))
        if has_failed(findings):
            raise SystemExit(EXIT_UNFIT)

    return act


SUBCOMMANDS: dict[str, Subcommand] = {
    "run": run,
    "score": score,
    "bench": bench,
    "doctor": doctor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 when done, 2 when the user can put something right.

    `doctor` exits 1 where a check failed.
    """
    logging.basicConfig(level=logging.WARNING, format="edge_runtime: %(message)s")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"] and _SAMPLE_FLAG in given:
        given = ["run", *sample_arguments(), *given[1:]]
    try:
        return run_subcommand(
            "edge_runtime",
            "Localise a drone by its camera and a region map.",
            {"doctor": doctor} if given[:1] == ["doctor"] else SUBCOMMANDS,
            _with_southern_prior(given),
        )
    except ImportError as error:
        reason = " ".join(str(error).split())
        sys.stderr.write(f"edge_runtime: error: {reason}: edge_runtime doctor tells what to do\n")
        return EXIT_ERROR


def _with_southern_prior(given: list[str]) -> list[str]:
    """Join `--prior -33.9,18.4,100`, whose value argparse would take for another option."""
    joined: list[str] = []
    for argument in given:
        if joined and joined[-1] == _PRIOR_FLAG:
            joined[-1] = f"{_PRIOR_FLAG}={argument}"
        else:
            joined.append(argument)
    return joined


def _prior(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        latitude_deg, longitude_deg, radius_m = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--prior takes LAT,LON,RADIUS_M, not {text!r}") from None
    return latitude_deg, longitude_deg, radius_m


def _flight_text(report: FlightReport) -> str:
    from edge_runtime.contract.flight_directory import TRACK_PICTURE_NAME

    states = ", ".join(f"{count} {state}" for state, count in report.states.items())
    lines = [f"{report.frames} frames in {report.wall_s:.1f} s: {states or 'none flown'}"]
    if report.undecodable or report.without_telemetry:
        lines.append(
            f"skipped {report.undecodable} frames that do not decode, "
            f"{report.without_telemetry} without telemetry"
        )
    if report.of_another_size:
        lines.append(f"skipped {report.of_another_size} frames of another size than the first")
    if report.interrupted:
        lines.append("stopped early on request; everything flown until then was written")
    if report.last is not None and report.last.position is None:
        lines.append(f"ended without a position: {report.last.state.value}, {report.last.reason}")
    lines.append(f"fixes, track and picture: {report.output / TRACK_PICTURE_NAME}")
    return "\n".join(lines)


def _write_json(path: Path, content: object) -> None:
    write_whole(path, json.dumps(content, indent=2, default=_plain) + "\n")


def _plain(value: object) -> object:
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
