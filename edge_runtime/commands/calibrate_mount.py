"""`edge_runtime calibrate-mount`: the camera's mounting offsets from a recorded flight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from edge_runtime.camera_info import pinhole_text, write_mounting
from edge_runtime.command_line import Action
from edge_runtime.commands.printing import print_lines
from edge_runtime.contract.artefact import write_whole
from edge_runtime.mount_calibration.calibration import calibrate
from edge_runtime.mount_calibration.config import MountCalibrationConfig, calibration_file


def calibrate_mount(parser: ArgumentParser) -> Action:
    """Estimate how the camera is mounted from a recorded flight over a mapped region."""
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_class_arguments(MountCalibrationConfig, None)
    parser.add_argument(
        "-o",
        "--output",
        type=Path | None,
        help="camera's file (camera_info YAML) whose mounting to set; made where there is none",
    )

    def act(options: Any) -> None:
        values = parser.instantiate(options).as_dict()
        output = values.pop("output")
        values.pop("config", None)
        config = MountCalibrationConfig(**values)
        result = calibrate(config)
        print_lines(result.report())
        if output is None:
            return
        if not output.exists():
            calibration = calibration_file(config)
            text = pinhole_text(result.camera) if calibration is None else _text_of(calibration)
            write_whole(output, text)
        write_mounting(output, result.mounting)
        print_lines(f"mounting written: {output}")

    return act


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")
