"""How much of a processor core a thread may take."""

from __future__ import annotations

import time
from collections.abc import Callable

_BURST_S = 0.1


class ProcessorBudget:
    """Whether this thread has spent more than its share of a core."""

    def __init__(
        self,
        share: float,
        wall_s: Callable[[], float] = time.monotonic,
        spent_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._share = share
        self._wall_s, self._spent_s = wall_s, spent_s
        self._at = (wall_s(), spent_s())
        self._credit_s = _BURST_S

    def overdrawn_s(self) -> float:
        """How long to rest until the share is kept again; 0 where it is."""
        now = (self._wall_s(), self._spent_s())
        earned_s = self._share * (now[0] - self._at[0]) - (now[1] - self._at[1])
        self._at = now
        self._credit_s = min(_BURST_S, self._credit_s + earned_s)
        return max(0.0, -self._credit_s / self._share)
