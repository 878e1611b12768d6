"""The progress bar that every long-running command shows on stderr."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(
    command: str, total: int | None, unit: str, quiet_s: float = 0.0, *, shown: bool = True
) -> tqdm[Any]:
    """A bar on stderr; where that is not a terminal, one line every ten seconds.

    Args:
        quiet_s: How long it stays away at first, so that an early error stands alone.
        shown: Whether there is a bar at all.
    """
    return tqdm(
        total=total,
        desc=command,
        unit=unit,
        dynamic_ncols=True,
        disable=not shown,
        delay=quiet_s,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
    )
