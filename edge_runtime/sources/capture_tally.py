"""Counts of a live source, kept by its thread and read by others."""

from __future__ import annotations

import threading
from dataclasses import replace

from edge_runtime.sources.frame import CaptureCounters


class CaptureTally:
    """What became of the frames, but for those that a newer one replaced in the slot."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counters = CaptureCounters()

    def add(self, **added: int) -> None:
        """Add to counters by their names."""
        with self._guard:
            values = {name: getattr(self._counters, name) + by for name, by in added.items()}
            self._counters = replace(self._counters, **values)

    def counters(self, replaced: int) -> CaptureCounters:
        """All counts since the start.

        Args:
            replaced: Frames that the slot says were replaced before anybody took them.
        """
        with self._guard:
            counters = self._counters
        return replace(counters, dropped=counters.dropped + replaced)
