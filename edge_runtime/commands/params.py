"""`edge_runtime params`: what to set on the autopilot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.autopilot_parameter_file import advice_text, parameter_file
from edge_runtime.autopilot_parameters import Autopilot, advise
from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines
from edge_runtime.contract.artefact import write_whole
from edge_runtime.outputs.mavlink_config import ArdupilotMessage


def params(parser: ArgumentParser) -> Action:
    """Print what to set on an autopilot that is to fly by the fixes, and why."""
    parser.add_argument("--autopilot", type=Autopilot, required=True, help="px4 or ardupilot")
    parser.add_argument(
        "--message",
        type=ArdupilotMessage,
        default="odometry",
        help="how ArduPilot is fed, as outputs.mavlink.ardupilot_message",
    )
    parser.add_argument(
        "--latency_ms",
        type=float,
        default=200.0,
        help="from exposure to the fix's leaving: exposure_to_output in a live flight's "
        "summary.json",
    )
    parser.add_argument(
        "--noise_m",
        type=float,
        default=10.0,
        help="no fix shall count as more certain than this standard deviation",
    )
    parser.add_argument(
        "--sensor_id", type=int, default=1, help="outputs.mavlink.sensor_id, for PX4"
    )
    parser.add_argument(
        "-o", "--output", type=Path | None, help="write a parameter file to load, NAME.params"
    )

    def act(options: Any) -> None:
        advice = advise(
            options.autopilot,
            latency_ms=options.latency_ms,
            noise_m=options.noise_m,
            sensor_id=options.sensor_id,
            ardupilot_message=options.message,
        )
        print_lines(advice_text(advice))
        if options.output is not None:
            write_whole(options.output, parameter_file(advice))
            print_lines(f"\nwritten to {options.output}: compare before you write it")

    return act
