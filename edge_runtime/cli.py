"""The command `edge_runtime`: its subcommands by name.

A subcommand is a function of its own module in `edge_runtime.commands`, imported when it is asked
for: `doctor` must come up on a machine where cv2 or an engine cannot even be imported.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_runtime.command_line import Subcommand

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

SUBCOMMANDS = (
    "run",
    "replay",
    "export",
    "recover",
    "score",
    "qualify",
    "calibrate-mount",
    "params",
    "bench",
    "doctor",
)
FLIGHT_SETTINGS_NAME = "edge.yaml"
"""What plain `edge_runtime` flies, in the current folder."""

_EXPLANATION = f"""edge_runtime: nothing to fly: there is no {FLIGHT_SETTINGS_NAME} in this folder.
See it fly:            edge_runtime run --sample
Fly a recording:       edge_runtime run --encoder E --map M --frames FOLDER --telemetry LOG
Your own settings:     edge_runtime run --print_config > {FLIGHT_SETTINGS_NAME}, then edge_runtime
All commands:          edge_runtime --help
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; 0 when done, 2 when the user can put something right.

    `doctor` exits 1 where a check failed. With no arguments at all it flies what `edge.yaml` of
    the current folder says.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given:
        if not Path(FLIGHT_SETTINGS_NAME).is_file():
            sys.stderr.write(_EXPLANATION)
            return EXIT_ERROR
        given = ["run", "--config", FLIGHT_SETTINGS_NAME]
    if given[0] != "run":  # which has settings of its own for its log
        logging.basicConfig(level=logging.WARNING, format="edge_runtime: %(message)s")
    names = given[:1] if given[0] in SUBCOMMANDS else SUBCOMMANDS
    try:
        from edge_runtime.command_line import run_subcommand

        return run_subcommand(
            "edge_runtime",
            "Localise a drone by its camera and a region map.",
            {name: _subcommand(name) for name in names},
            _spelled_for_parser(given),
        )
    except ImportError as error:
        reason = " ".join(str(error).split())
        sys.stderr.write(f"edge_runtime: error: {reason}: edge_runtime doctor tells what to do\n")
        return EXIT_ERROR
    except KeyboardInterrupt:  # while it was still being imported
        sys.stderr.write("edge_runtime: interrupted, nothing was written\n")
        return EXIT_INTERRUPTED


def _subcommand(name: str) -> Subcommand:
    word = name.replace("-", "_")
    subcommand: Subcommand = getattr(importlib.import_module(f"edge_runtime.commands.{word}"), word)
    return subcommand


def _spelled_for_parser(given: list[str]) -> list[str]:
    """Join `--prior -33.9,18.4,100`, whose value argparse would take for another option.

    And `--source URI` is the URI of the group of settings of that name.
    """
    spelled: list[str] = []
    for argument in given:
        if spelled and spelled[-1] == "--prior":
            spelled[-1] = f"--prior={argument}"
        elif given[0] == "run" and argument.partition("=")[0] == "--source":
            spelled.append(argument.replace("--source", "--source.uri", 1))
        else:
            spelled.append(argument)
    return spelled


if __name__ == "__main__":
    sys.exit(main())
