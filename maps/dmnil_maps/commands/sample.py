"""`dmnil-map sample`: a generated world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from dmnil_maps.commands.printing import print_line
from dmnil_maps.sample import SampleConfig, write_sample
from edge_runtime.command_line import Action


def sample(parser: ArgumentParser) -> Action:
    """Generate a world: satellite picture and flight, or a dataset for training."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder, NAME.world")
    parser.add_class_arguments(SampleConfig, None, skip={"output"})

    def run(options: Any) -> None:
        values = options.as_dict()
        values.pop("config")
        written = write_sample(SampleConfig(**values))
        print_line(f"{written}: {', '.join(sorted(path.name for path in written.iterdir()))}")

    return run
