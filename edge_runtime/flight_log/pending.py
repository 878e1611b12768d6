"""The bounded queue between a flight and the thread that writes its log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition


@dataclass(frozen=True)
class Pending:
    """Something to write: `work` runs in the writer's thread."""

    work: Callable[[], None]
    size_bytes: int


class PendingQueue:
    """First in, first out; bounded in entries and in bytes."""

    def __init__(self, most_entries: int, most_bytes: int) -> None:
        self._entries: deque[Pending] = deque()
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._bytes = 0
        self._changed = Condition()
        self._is_closed = False

    def put(self, entry: Pending, *, wait: bool = False) -> bool:
        """Append an entry; False if there is no room for it.

        Args:
            wait: Wait for room.
        """
        with self._changed:
            while not self._is_closed and not self._has_room_for(entry):
                if not wait:
                    return False
                self._changed.wait()
            if self._is_closed:
                return False
            self._entries.append(entry)
            self._bytes += entry.size_bytes
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float) -> Pending | None:
        """The oldest entry; None if none came in time, or the queue is closed and empty."""
        with self._changed:
            if not self._entries and not self._is_closed:
                self._changed.wait(timeout_s)
            if not self._entries:
                return None
            entry = self._entries.popleft()
            self._bytes -= entry.size_bytes
            self._changed.notify_all()
            return entry

    def close(self) -> None:
        """Take nothing more; what is there can still be got."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @property
    def is_finished(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._is_closed and not self._entries

    def _has_room_for(self, entry: Pending) -> bool:
        if not self._entries:
            return True
        if entry.size_bytes and self._bytes + entry.size_bytes > self._most_bytes:
            return False
        return len(self._entries) < self._most_entries
