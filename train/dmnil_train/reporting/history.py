"""The history of a run: one row an epoch, kept as JSON and printed as one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from dmnil_train.reporting.durations import spoken_duration
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import ArtefactError

HISTORY_SCHEMA_VERSION = 1

Value = float | int | str | bool | None
HistoryRow = Mapping[str, Value]


def append_epoch(path: Path, row: HistoryRow) -> None:
    """Add an epoch's row; rows of this epoch and later ones, of a run since resumed, give way.

    Args:
        path: Such as RUN/history.json; made where missing.
        row: Plain values by name, `epoch` among them. What is not finite is kept as null.
    Raises:
        ArtefactError: If the file is damaged or of another release.
        OutputError: If it cannot be written.
    """
    epoch = _epoch(row)
    earlier = [known for known in read_history(path) if _epoch(known) < epoch]
    rows = [*earlier, {name: _plain(value) for name, value in row.items()}]
    # One row a line, so that the file reads as a table and two runs compare line by line.
    lines = ",\n".join(json.dumps(known, allow_nan=False) for known in rows)
    text = f'{{"schema_version": {HISTORY_SCHEMA_VERSION}, "epochs": [\n{lines}\n]}}\n'
    write_whole(path, text, parents=True)


def read_history(path: Path) -> list[dict[str, Value]]:
    """All rows, in the order of epochs; none where there is no file yet.

    Raises:
        ArtefactError: If the file is damaged or of another release.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version, rows = content["schema_version"], list(content["epochs"])
        for row in rows:
            _epoch(row)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path} is no history of a run: move it away") from error
    if version != HISTORY_SCHEMA_VERSION:
        raise ArtefactError(
            f"{path} has schema version {version}, this release reads {HISTORY_SCHEMA_VERSION}: "
            "move it away"
        )
    return rows


def epoch_line(row: HistoryRow) -> str:
    """One line on an epoch for the terminal; what the row does not know is left out.

    Args:
        row: `epoch` (how many are done; 0 before the first) and any of `epochs` (how many there
            will be), `loss`, `drone_clusters`, `drone_outlier_share` (0-1), `satellite_clusters`,
            `satellite_outlier_share`, `learning_rate`, `recall_at_1`, `recall_at_5` (0-1),
            `duration_s`, `is_best`.
    """
    counted = f"{row['epoch']}"
    if (epochs := row.get("epochs")) is not None:
        counted = f"{counted:>{len(str(epochs))}}/{epochs}"
    parts = [f"epoch {counted}"]
    if (loss := _number(row, "loss")) is not None:
        parts.append(f"loss {loss:.3f}")
    parts += [text for view in ("drone", "satellite") if (text := _clusters(row, view))]
    if (learning_rate := _number(row, "learning_rate")) is not None:
        parts.append(f"lr {learning_rate:.1e}")
    for name, label in (("recall_at_1", "R@1"), ("recall_at_5", "R@5")):
        if (recall := _number(row, name)) is not None:
            parts.append(f"{label} {recall:.3f}")
    if (duration_s := _number(row, "duration_s")) is not None:
        parts.append(spoken_duration(duration_s))
    if row.get("is_best"):
        parts.append("best so far")
    return "  ".join(parts)


def _clusters(row: HistoryRow, view: str) -> str:
    clusters = _number(row, f"{view}_clusters")
    if clusters is None:
        return ""
    text = f"{view} {clusters:.0f} clusters"
    outliers = _number(row, f"{view}_outlier_share")
    return text if outliers is None else f"{text}, {100.0 * outliers:.0f} % outliers"


def _number(row: HistoryRow, name: str) -> float | None:
    value = row.get(name)
    return None if value is None else float(value)


def _epoch(row: HistoryRow) -> int:
    return int(row["epoch"])  # type: ignore[arg-type]


def _plain(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
