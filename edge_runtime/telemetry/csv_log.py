"""Telemetry from a CSV file: one row a frame, or rows on a clock of their own."""

from __future__ import annotations

import csv
from pathlib import Path

from edge_runtime.contract.errors import TelemetryError
from edge_runtime.telemetry.log import TelemetryLog, TelemetrySample, log_of

REQUIRED_COLUMNS = ("time_s", "height_above_takeoff_m", "heading_deg")
PITCH_COLUMN = "camera_pitch_deg"
ROLL_COLUMN = "camera_roll_deg"
FRAME_COLUMN = "frame"


def read_csv_log(path: Path, default_pitch_deg: float | None = None) -> TelemetryLog:
    """Read a CSV log.

    Args:
        default_pitch_deg: Camera pitch where the file has no such column.

    Raises:
        TelemetryError: If the file cannot be read, lacks a column or has no usable row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            columns = rows.fieldnames or []
            missing = [name for name in REQUIRED_COLUMNS if name not in columns]
            if PITCH_COLUMN not in columns and default_pitch_deg is None:
                missing.append(PITCH_COLUMN)
            if missing:
                raise TelemetryError(f"{path}: column {', '.join(missing)} is missing")
            samples, names = [], []
            for row in rows:
                samples.append(_sample(row, default_pitch_deg))
                names.append(row.get(FRAME_COLUMN) or "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TelemetryError(f"{path} cannot be read: {error}") from error
    return log_of(samples, str(path), names if FRAME_COLUMN in columns else ())


def _sample(row: dict[str, str], default_pitch_deg: float | None) -> TelemetrySample:
    pitch = row.get(PITCH_COLUMN)
    return TelemetrySample(
        time_s=_number(row["time_s"]),
        height_m=_number(row["height_above_takeoff_m"]),
        heading_deg=_number(row["heading_deg"]),
        pitch_deg=_number(pitch) if pitch is not None else float(default_pitch_deg or 0.0),
        roll_deg=_number(row.get(ROLL_COLUMN) or "0"),
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
