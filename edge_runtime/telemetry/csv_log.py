"""Telemetry from a CSV file: one row a frame, or rows on a clock of their own."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from edge_runtime.contract.errors import TelemetryError, reason_of
from edge_runtime.telemetry.log import TelemetryLog, TelemetrySample, log_of

REQUIRED_COLUMNS = ("time_s",)
HEIGHT_COLUMN = "height_above_takeoff_m"
HEADING_COLUMN = "heading_deg"
PITCH_COLUMN = "camera_pitch_deg"
ROLL_COLUMN = "camera_roll_deg"
VELOCITY_COLUMNS = ("velocity_east_m_s", "velocity_north_m_s")
FRAME_COLUMN = "frame"


def read_csv_log(path: Path, default_pitch_deg: float | None = None) -> TelemetryLog:
    """Read a CSV log.

    Without a height or heading column the height or heading is unknown; so is velocity without
    its two columns. A row whose value is empty or no number cannot be used, but an empty velocity
    is an unknown one.

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
            alone = [name for name in VELOCITY_COLUMNS if name in columns]
            if len(alone) == 1:
                missing += [name for name in VELOCITY_COLUMNS if name not in columns]
            if missing:
                raise TelemetryError(
                    f"{path}: column {', '.join(missing)} is missing{_remedy(missing, columns)}"
                )
            samples, names = [], []
            for row in rows:
                samples.append(_sample(row, default_pitch_deg))
                names.append(row.get(FRAME_COLUMN) or "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TelemetryError(f"{path} cannot be read: {reason_of(error)}") from error
    return log_of(samples, str(path), names if FRAME_COLUMN in columns else ())


def _remedy(missing: Sequence[str], columns: Sequence[str]) -> str:
    if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
        return ": its columns must be separated by commas"
    if PITCH_COLUMN in missing:
        return "; camera.pitch_deg may give a fixed camera's pitch instead"
    return ""


def _sample(row: dict[str, str], default_pitch_deg: float | None) -> TelemetrySample:
    pitch_deg = _optional_number(row, PITCH_COLUMN)
    velocity = [_number(row.get(name)) for name in VELOCITY_COLUMNS]
    has_velocity = all(row.get(name) for name in VELOCITY_COLUMNS)
    return TelemetrySample(
        time_s=_number(row["time_s"]),
        height_m=_optional_number(row, HEIGHT_COLUMN),
        heading_deg=_optional_number(row, HEADING_COLUMN),
        pitch_deg=float(default_pitch_deg or 0.0) if pitch_deg is None else pitch_deg,
        roll_deg=_number(row.get(ROLL_COLUMN) or "0"),
        velocity_east_m_s=velocity[0] if has_velocity else None,
        velocity_north_m_s=velocity[1] if has_velocity else None,
    )


def _optional_number(row: dict[str, str], column: str) -> float | None:
    """None where the file has no such column; NaN where this row holds no number."""
    return _number(row[column]) if column in row else None


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
