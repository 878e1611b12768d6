"""`edge_runtime qualify`: whether a map and an encoder can be trusted, by simulated flights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.qualify.qualification import QualifyConfig
from edge_runtime.qualify.qualification import qualify as fly_simulated
from edge_runtime.qualify.qualification_report import (
    QUALIFICATION_KIND,
    report_text,
    write_qualification,
)


def qualify(parser: ArgumentParser) -> Action:
    """Fly simulated flights over a map: availability, false fixes, errors, weak areas."""
    parser.add_argument("map", type=Path, help="region map, NAME.map")
    parser.add_argument("encoder", type=Path, help="encoder bundle, NAME.encoder")
    parser.add_class_arguments(QualifyConfig, None, skip={"map", "encoder"})

    def act(options: Any) -> None:
        config = QualifyConfig(**parser.instantiate(options).as_dict())
        # An output that cannot be written should show before an hour of flights.
        with staged_directory(config.output, QUALIFICATION_KIND) as staging:
            result = fly_simulated(config)
            score, cells = write_qualification(result, staging)
        print_lines(report_text(result, score, cells))

    return act
