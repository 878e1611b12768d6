"""The fix log: JSON lines as they come, CSV beside them, GeoJSON at the end."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_runtime.contract.artefact import MANIFEST_NAME
from edge_runtime.contract.errors import SourceError, reason_of
from edge_runtime.contract.fix import Fix, IntegrityState, MatchedPlace, Position, Velocity
from edge_runtime.flight_log.folder import flight_folder

_LOG = logging.getLogger(__name__)

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
    "heading_deg",
    "heading_standard_deviation_deg",
    "velocity_east_m_s",
    "velocity_north_m_s",
    "processing_ms",
    "latency_ms",
    "reason",
    "engine_fault",
)


MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What reading plain values of any kind as a fix may raise."""
UtcOf = Callable[[float], str | None]
"""A time of the flight's clock as ISO 8601 in UTC; None where it is not known."""


def _unknown(time_s: float) -> str | None:
    return None


class FixLog:
    """Writes every fix at once, so that a stop at any moment loses nothing already flown.

    Args:
        outlives_disk: Whether a disk that is full or broken only costs the lines that it does
            not take: a live flight goes on without them, and says so once.
    """

    def __init__(self, folder: Path, *, outlives_disk: bool = False) -> None:
        self._outlives_disk = outlives_disk
        self._lines = _LineFile(folder / JSON_LINES_NAME)
        self._table = _LineFile(folder / CSV_NAME)
        self.lost = 0
        """Fixes that the disk did not take."""
        self._table.append(csv_line(_CSV_COLUMNS))

    def write(self, fix: Fix) -> None:
        """Append a fix to both files and hand them to the operating system.

        Raises:
            OSError: If the disk does not take it, unless the log outlives that.
        """
        try:
            self._lines.append(json.dumps(fix.as_dict()) + "\n")
            self._table.append(csv_line(csv_row(fix)))
        except OSError as error:
            if not self._outlives_disk:
                raise
            if not self.lost:
                _LOG.warning(
                    "fixes are not written while the disk does not take them: %s",
                    error.strerror or error,
                )
            self.lost += 1

    def close(self) -> None:
        """Close both files."""
        self._lines.close()
        self._table.close()


class _LineFile:
    """A text file that holds whole lines, also where the disk takes only half of one."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb", buffering=0)
        self._size = 0

    def append(self, text: str) -> None:
        left = memoryview(text.encode("utf-8"))
        size = self._size + len(left)
        try:
            while left:
                left = left[os.write(self._stream.fileno(), left) :]
        except OSError:
            with suppress(OSError):
                self._stream.truncate(self._size)
                self._stream.seek(self._size)
            raise
        self._size = size

    def close(self) -> None:
        self._stream.close()


def csv_of(fixes: Sequence[Fix], utc: UtcOf = _unknown) -> str:
    """The table that a flight writes as it goes, with a column more: UTC, where it is known."""
    rows = [csv_line([*csv_row(fix), utc(fix.time_s) or ""]) for fix in fixes]
    return "".join([csv_line([*_CSV_COLUMNS, "utc"]), *rows])


def csv_line(values: Sequence[Any]) -> str:
    """A row of a table (RFC 4180)."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(values)
    return line.getvalue()


def write_geojson(path: Path, fixes: list[Fix]) -> None:
    """Published positions as points, and the line through them (RFC 7946)."""
    path.write_text(geojson_of(fixes), encoding="utf-8")


def geojson_of(fixes: Sequence[Fix], utc: UtcOf = _unknown) -> str:
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
        properties: dict[str, Any] = {
            "frame": fix.frame,
            "time_s": fix.time_s,
            "state": fix.state.value,
            "radius95_m": round(position.radius95_m, 1),
        }
        moment = utc(fix.time_s)
        if moment is not None:
            properties["utc"] = moment
        features.append(_feature("Point", point, properties))
    collection = {"type": "FeatureCollection", "features": features}
    return json.dumps(collection, indent=1) + "\n"


def read_fixes(path: Path) -> list[Fix]:
    """Read a flight's fixes: its directory, finished or cut off, or a JSON lines file.

    Raises:
        SourceError: If there is none, or a line of it is malformed.
    """
    if path.is_file():
        return read_fix_lines(path)
    folder = flight_folder(path)
    is_cut_off = not (folder / MANIFEST_NAME).exists()
    return read_fix_lines(folder / JSON_LINES_NAME, is_cut_off=is_cut_off)


def read_fix_lines(path: Path, *, is_cut_off: bool = False) -> list[Fix]:
    """Read the fixes of a JSON lines file.

    Args:
        is_cut_off: Whether the flight never ended, so that the last line may be half a line.
    Raises:
        SourceError: If it cannot be read, or a line of it is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SourceError(
            f"{path} cannot be read: no such file, so {path.parent} is no flight"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {reason_of(error)}") from error
    lines = text.splitlines()
    if is_cut_off and lines and not text.endswith("\n"):
        lines.pop()
    fixes = []
    for number, line in enumerate(lines, start=1):
        try:
            fixes.append(fix_from_plain(json.loads(line)))
        except MALFORMED as error:
            wanted = f"; a flight directory or its {JSON_LINES_NAME} is wanted" * (number == 1)
            raise SourceError(f"{path}, line {number} is not a fix: {error}{wanted}") from error
    if not fixes:
        raise SourceError(f"{path} holds no fixes")
    return fixes


def fix_from_plain(values: dict[str, Any]) -> Fix:
    """The fix that `Fix.as_dict` made plain.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, OverflowError: If it is none.
    """
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


def csv_row(fix: Fix) -> list[Any]:
    """A fix as a row of the table; blank is what there is not."""
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
        _decimal(fix.heading_deg, 1),
        _decimal(fix.heading_standard_deviation_deg, 1),
        _decimal(None if fix.velocity is None else fix.velocity.east_m_s, 2),
        _decimal(None if fix.velocity is None else fix.velocity.north_m_s, 2),
        f"{sum(fix.stage_ms.values()):.1f}",
        _decimal(fix.latency_ms, 1),
        fix.reason,
        fix.engine_fault,
    ]


def _decimal(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
