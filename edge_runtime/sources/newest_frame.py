"""One place for the newest of something: what is not taken in time is replaced and counted."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

T = TypeVar("T")


class NewestSlot(Generic[T]):
    """Handed from a capturing thread to a consumer; never more than one waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: T | None = None
        self._is_closed = False
        self._replaced = 0

    @property
    def replaced(self) -> int:
        """How many were replaced before anybody took them."""
        with self._changed:
            return self._replaced

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        with self._changed:
            return self._waiting is None

    def put(self, newest: T) -> None:
        """Lay down the newest, in the place of what still waits."""
        with self._changed:
            if self._waiting is not None:
                self._replaced += 1
            self._waiting = newest
            self._changed.notify_all()

    def take(self, timeout_s: float) -> T | None:
        """Take what waits; None if nothing came in time, or at once where nothing can come."""
        until_s = time.monotonic() + timeout_s
        with self._changed:
            while self._waiting is None and not self._is_closed:
                left_s = until_s - time.monotonic()
                if left_s <= 0.0 or not self._changed.wait(left_s):
                    break
            taken, self._waiting = self._waiting, None
            return taken

    def close(self) -> None:
        """Nothing comes any more; what waits may still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
