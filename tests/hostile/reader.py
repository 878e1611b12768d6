"""Everything that the runtime reads from outside, each as: make an input, read it, judge it.

A reading ends in a value (True), in a refusal (False), or in the one `DmnilError` of it. Whatever
else it raises is a defect, and so is a value that can do harm: `HarmError`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edge_runtime.telemetry.log import TelemetrySample


class HarmError(Exception):
    """A value that must never leave a reader."""


@dataclass(frozen=True)
class InputReader:
    """One kind of input."""

    make: Callable[[Random], bytes]
    read: Callable[[bytes], bool]


OpenReader = Callable[[Path, ExitStack], InputReader]
"""Makes a reader that may write into a folder and is closed with the stack."""


def require_finite(sample: TelemetrySample | None) -> None:
    """Raises HarmError for telemetry with something else than numbers."""
    if sample is not None and not sample.is_finite:
        raise HarmError(f"telemetry that is not finite: {sample}")
