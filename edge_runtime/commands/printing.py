"""What commands write: lines on standard output, JSON files for machines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edge_runtime.contract.artefact import write_whole


def print_lines(text: str) -> None:
    """Write text and a line end to standard output."""
    sys.stdout.write(f"{text}\n")


def write_json(path: Path, content: object) -> None:
    """Write a JSON file whole or not at all; numpy's numbers become plain ones.

    Raises:
        OutputError: If it cannot be written.
    """
    write_whole(path, json.dumps(content, indent=2, default=_plain) + "\n")


def _plain(value: object) -> object:
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")
