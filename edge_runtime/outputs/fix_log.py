"""The fix log: JSON lines as they come, CSV beside them, GeoJSON at the end."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.fix import Fix, IntegrityState, MatchedPlace, Position, Velocity

JSON_LINES_NAME = "fixes.jsonl"
CSV_NAME = "fixes.csv"
GEOJSON_NAME = "fixes.geojson"

_CSV_COLUMNS = (
    "frame",
    "time_s",
    "state",
    "latitude_deg",
    "longitude_deg",
    "radius95_m",
    "variance_east_m2",
    "variance_north_m2",
    "covariance_east_north_m2",
    "in_map_probability",
    "reset_counter",
    "latency_ms",
    "reason",
    "engine_fault",
)


class FixLog:
    """Writes every fix at once, so that a stop at any moment loses nothing already flown."""

    def __init__(self, folder: Path) -> None:
        self._lines = (folder / JSON_LINES_NAME).open("w", encoding="utf-8")
        self._table = (folder / CSV_NAME).open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._table)
        self._writer.writerow(_CSV_COLUMNS)

    def write(self, fix: Fix) -> None:
        """Append a fix to both files and hand them to the operating system."""
        self._lines.write(json.dumps(fix.as_dict()) + "\n")
        self._lines.flush()
        self._writer.writerow(_csv_row(fix))
        self._table.flush()

    def close(self) -> None:
        """Close both files."""
        self._lines.close()
        self._table.close()


def write_geojson(path: Path, fixes: list[Fix]) -> None:
    """Published positions as points, and the line through them (RFC 7946)."""
    published = [(fix, fix.position) for fix in fixes if fix.position is not None]
    features: list[dict[str, Any]] = []
    coordinates = [
        [round(position.longitude_deg, 8), round(position.latitude_deg, 8)]
        for _, position in published
    ]
    if len(coordinates) > 1:
        features.append(
            _feature(
                "LineString", coordinates, {"name": "estimated track", "fixes": len(published)}
            )
        )
    for (fix, position), point in zip(published, coordinates, strict=True):
        properties = {
            "frame": fix.frame,
            "time_s": fix.time_s,
            "state": fix.state.value,
            "radius95_m": round(position.radius95_m, 1),
        }
        features.append(_feature("Point", point, properties))
    collection = {"type": "FeatureCollection", "features": features}
    path.write_text(json.dumps(collection, indent=1) + "\n", encoding="utf-8")


def read_fixes(path: Path) -> list[Fix]:
    """Read a fix log: the JSON lines file, or the flight directory that holds it.

    Raises:
        SourceError: If there is none, or a line of it is malformed.
    """
    path = path / JSON_LINES_NAME if path.is_dir() else path
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    fixes = []
    for number, line in enumerate(lines, start=1):
        try:
            fixes.append(_fix_from(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise SourceError(f"{path}, line {number} is not a fix: {error}") from error
    if not fixes:
        raise SourceError(f"{path} holds no fixes")
    return fixes


def _fix_from(values: dict[str, Any]) -> Fix:
    unknown = values.keys() - Fix.__dataclass_fields__.keys()
    if unknown:
        raise KeyError(min(unknown))
    position, velocity = values["position"], values.get("velocity")
    return Fix(
        frame=_text(values["frame"]),
        time_s=float(values["time_s"]),
        state=IntegrityState(values["state"]),
        reason=_text(values["reason"]),
        position=None if position is None else Position(**_numbers(position)),
        velocity=None if velocity is None else Velocity(**_numbers(velocity)),
        heading_deg=_optional(values.get("heading_deg")),
        heading_standard_deviation_deg=_optional(values.get("heading_standard_deviation_deg")),
        in_map_probability=float(values["in_map_probability"]),
        viewed_matches=tuple(MatchedPlace(**_numbers(match)) for match in values["viewed_matches"]),
        reset_counter=int(values["reset_counter"]),
        stage_ms=_numbers(values["stage_ms"]),
        engine_fault=_text(values.get("engine_fault", "")),
        latency_ms=_optional(values.get("latency_ms")),
    )


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _feature(kind: str, coordinates: Any, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


def _csv_row(fix: Fix) -> list[Any]:
    position = fix.position
    place: list[Any] = [""] * 6
    if position is not None:
        place = [
            f"{position.latitude_deg:.8f}",
            f"{position.longitude_deg:.8f}",
            f"{position.radius95_m:.1f}",
            f"{position.variance_east_m2:.1f}",
            f"{position.variance_north_m2:.1f}",
            f"{position.covariance_east_north_m2:.1f}",
        ]
    return [
        fix.frame,
        f"{fix.time_s:.3f}",
        fix.state.value,
        *place,
        f"{fix.in_map_probability:.4f}",
        fix.reset_counter,
        f"{sum(fix.stage_ms.values()):.1f}",
        fix.reason,
        fix.engine_fault,
    ]
