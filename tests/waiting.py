"""Waiting for what a test means to see, on a machine that may be busy with something else."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 120.0
"""Longer than any machine takes: whoever waits so long waits in vain."""


def wait_until(
    condition: Callable[[], object], limit_s: float = PATIENCE_S, look_each_s: float = 0.005
) -> bool:
    """Whether the condition came true; it is looked at once more after the time is up."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if condition():
            return True
        time.sleep(look_each_s)
    return bool(condition())
