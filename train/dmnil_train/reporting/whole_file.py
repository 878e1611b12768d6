"""Text files that are there whole, or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from edge_runtime.contract.errors import OutputError


def write_whole(path: Path, text: str) -> Path:
    """Write a text file beside its place and rename it there, so that no reader meets half of it.

    Raises:
        OutputError: If it cannot be written.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.write_text(text, encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            staging.unlink()
    return path
