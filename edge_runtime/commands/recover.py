"""`edge_runtime recover`: finish a flight that was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines


def recover(parser: ArgumentParser) -> Action:
    """Finish flights that a power cut or a kill cut off, so that any program can open their logs.

    Replay, export and score read a flight that was cut off without this too.
    """
    from edge_runtime.recover import cut_off_flights, recover_flight

    parser.add_argument(
        "flight", type=Path, help="NAME.flight as it was to be called, or a folder of flights"
    )

    def act(options: Any) -> None:
        folders = cut_off_flights(options.flight)
        for folder in folders:
            print_lines(f"recovered {recover_flight(folder)}")
        if not folders:
            print_lines(f"nothing to recover in {options.flight}")

    return act
