"""Where the drone really was: for scoring and for drawing, never for flying."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.contract.errors import TelemetryError, reason_of

_COLUMNS = (
    "drone_latitude_deg",
    "drone_longitude_deg",
    "viewed_ground_latitude_deg",
    "viewed_ground_longitude_deg",
)


@dataclass(frozen=True)
class TruePlace:
    """The drone's position, and the ground point in its image's centre."""

    drone_latitude_deg: float
    drone_longitude_deg: float
    viewed_ground_latitude_deg: float
    viewed_ground_longitude_deg: float


def read_truth(path: Path) -> dict[str, TruePlace]:
    """True places by frame name, in the file's order.

    Raises:
        TelemetryError: If the file cannot be read, lacks a column or has a malformed row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in ("frame", *_COLUMNS) if name not in (rows.fieldnames or [])]
            if missing:
                raise TelemetryError(
                    f"{path}: column {', '.join(missing)} is missing: true places are wanted, "
                    "by frame, as in the sample's truth.csv"
                )
            places = {
                row["frame"]: TruePlace(*(float(row[name]) for name in _COLUMNS)) for row in rows
            }
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise TelemetryError(f"{path} cannot be read: {reason_of(error)}") from error
    values = [list(vars(place).values()) for place in places.values()]
    if not places or not np.isfinite(values).all():
        raise TelemetryError(f"{path}: has no rows, or rows that are not finite")
    return places
