"""`edge_runtime score`: a flight against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines, write_json
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.score import score_flight, score_frames, score_json, score_report
from edge_runtime.telemetry.truth import read_truth


def score(parser: ArgumentParser) -> Action:
    """Score a flight's fixes against the truth."""
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
        print_lines(score_report(frames, flight))
        if options.json is not None:
            write_json(options.json, score_json(frames, flight))

    return act
