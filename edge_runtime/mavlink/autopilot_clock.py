"""The autopilot's clock beside this machine's, by TIMESYNC and by the stamps of its messages."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any

from edge_runtime.mavlink.timesync import TimesyncFilter

_FAST_TIMESYNC_S = 0.1
_TIMESYNC_S = 1.0
_MOST_OUTSTANDING = 16
_RESTART_MS = 2000


class AutopilotClock:
    """Asks for the clock and follows it; one thread feeds it, any may ask what time it is."""

    def __init__(self) -> None:
        """Know nothing."""
        self._timesync = TimesyncFilter()
        self._lock = threading.Lock()
        self._outstanding: OrderedDict[int, None] = OrderedDict()
        self._last_request_s = float("-inf")
        self._boot_ms: int | None = None

    @property
    def is_synced(self) -> bool:
        """Whether the clock is known."""
        return self._timesync.is_synced

    @property
    def outliers(self) -> int:
        """Answers that were too late to tell anything."""
        return self._timesync.outliers

    @property
    def resets(self) -> int:
        """How often the clock had to be learnt anew."""
        return self._timesync.resets

    def time_us(self, monotonic_s: float) -> int | None:
        """The autopilot's clock (microseconds since its boot) at a moment; None if not synced."""
        with self._lock:
            remote_ns = self._timesync.remote_ns(round(monotonic_s * 1e9))
        return None if remote_ns is None or remote_ns < 0 else remote_ns // 1000

    def monotonic_s_of(self, autopilot_time_us: int) -> float | None:
        """The moment on `time.monotonic()` of an autopilot's stamp; None if not synced."""
        with self._lock:
            local_ns = self._timesync.local_ns(autopilot_time_us * 1000)
        return None if local_ns is None else local_ns / 1e9

    def forget(self) -> None:
        """Another autopilot is heard from now on."""
        self._boot_ms = None
        with self._lock:
            self._timesync.reset()

    def has_restarted(self, message: Any) -> bool:
        """Whether a message's stamp tells that the autopilot started anew; follows it if so."""
        boot_ms = getattr(message, "time_boot_ms", None)
        if not isinstance(boot_ms, int):
            return False
        restarted = self._boot_ms is not None and boot_ms + _RESTART_MS < self._boot_ms
        if restarted:
            with self._lock:  # a TIMESYNC answer may have told already
                self._timesync.follow_restart(boot_ms * 1_000_000)
        self._boot_ms = boot_ms
        return restarted

    def request_due(self, now_s: float) -> int | None:
        """The stamp (ns) of a request to send now, more often until the clock is well known."""
        wait_s = _TIMESYNC_S if self._timesync.is_settled else _FAST_TIMESYNC_S
        if now_s - self._last_request_s < wait_s:
            return None
        self._last_request_s = now_s
        sent_ns = time.monotonic_ns()
        self._outstanding[sent_ns] = None
        while len(self._outstanding) > _MOST_OUTSTANDING:
            self._outstanding.popitem(last=False)
        return sent_ns

    def take_answer(self, answer: Any, received_s: float) -> None:
        """Learn from a TIMESYNC; the answer to another component's request tells nothing."""
        if answer.ts1 not in self._outstanding:
            return
        del self._outstanding[answer.ts1]
        with self._lock:
            self._timesync.take(answer.ts1, round(received_s * 1e9), answer.tc1)
