"""Open a telemetry log by what its name says it is."""

from __future__ import annotations

from pathlib import Path

from edge_runtime.contract.errors import TelemetryError
from edge_runtime.telemetry.csv_log import read_csv_log
from edge_runtime.telemetry.dji_subtitle import read_dji_subtitle
from edge_runtime.telemetry.log import TelemetryLog


def open_telemetry(path: Path, default_pitch_deg: float | None = None) -> TelemetryLog:
    """Read a CSV or DJI SRT log.

    Raises:
        TelemetryError: If the file is of another kind or cannot be used.
    """
    if not path.is_file():
        raise TelemetryError(f"{path}: no such telemetry file (a CSV file or DJI's .SRT)")
    readers = {".csv": read_csv_log, ".srt": read_dji_subtitle}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise TelemetryError(f"{path}: telemetry must be a .csv or a DJI .srt file")
    return reader(path, default_pitch_deg)
