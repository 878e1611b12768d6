"""The last seconds of a quantity, looked up by time from another thread's point of view."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
_SPAN_S = 10.0
_MOST = 4096


class History(Generic[Value]):
    """Values in the order of time, the last ten seconds of them.

    Args:
        between: What lies at a share (0-1) of the way from one value to the next.
        longest_age_s: The nearest value may be this far from the moment that is asked for.
    """

    def __init__(
        self, between: Callable[[Value, Value, float], Value], longest_age_s: float
    ) -> None:
        self._between = between
        self._longest_age_s = longest_age_s
        self._times_s: list[float] = []
        self._values: list[Value] = []
        self._lock = threading.Lock()

    @property
    def newest_s(self) -> float:
        """Time of the newest value; minus infinity before the first."""
        with self._lock:
            return self._times_s[-1] if self._times_s else float("-inf")

    def add(self, time_s: float, value: Value) -> None:
        """Append a value; one that is not newer than the last is left out."""
        with self._lock:
            if self._times_s and time_s <= self._times_s[-1]:
                return
            self._times_s.append(time_s)
            self._values.append(value)
            oldest = bisect.bisect_left(self._times_s, time_s - _SPAN_S)
            excess = max(oldest, len(self._times_s) - _MOST)
            if excess > 64 or len(self._times_s) > _MOST:  # in batches: deleting moves the rest
                del self._times_s[:excess]
                del self._values[:excess]

    def at(self, time_s: float) -> Value | None:
        """The value at a moment, interpolated; None where none is near enough."""
        with self._lock:
            after = bisect.bisect_left(self._times_s, time_s)
            neighbours = range(max(after - 1, 0), min(after + 1, len(self._times_s)))
            distances = [abs(self._times_s[index] - time_s) for index in neighbours]
            if not distances or min(distances) > self._longest_age_s:
                return None
            if len(neighbours) == 1:
                return self._values[neighbours[0]]
            earlier, later = neighbours
            share = distances[0] / (self._times_s[later] - self._times_s[earlier])
            return self._between(self._values[earlier], self._values[later], share)
