"""`edge_runtime doctor`: is this machine fit to fly."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines
from edge_runtime.doctor.examination import DoctorConfig, examine
from edge_runtime.doctor.machine import Machine
from edge_runtime.doctor.report import has_failed, report_json, report_text

EXIT_UNFIT = 1


def doctor(parser: ArgumentParser) -> Action:
    """Check whether this machine is fit to fly: one line a check, and what to do about it."""
    parser.add_class_arguments(DoctorConfig, None)
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        as_json = values.pop("json")
        findings = examine(Machine(), DoctorConfig(**values))
        if as_json:
            print_lines(json.dumps(report_json(findings), indent=2))
        else:
            coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
            print_lines(report_text(findings, coloured=coloured))
        if has_failed(findings):
            raise SystemExit(EXIT_UNFIT)

    return act
