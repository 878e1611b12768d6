"""Keeps what the localiser knows in a file, so that a restart in flight does not begin anew."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import IO

from edge_runtime.contract.errors import OutputError, StateError
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.saved_state import LocaliserState, load_state, save_state

try:
    import fcntl
except ImportError:  # not POSIX: two flights may then share a file
    fcntl = None  # type: ignore[assignment]

_EACH_S = 2.0
_LONGEST_CLOSE_S = 5.0
logger = logging.getLogger(__name__)


def state_before(path: Path, region_map: RegionMap) -> LocaliserState | None:
    """What an earlier flight left; None, with a warning where it is damaged, if it is no use."""
    if not path.exists():
        return None
    try:
        state = load_state(path, region_map)
    except StateError as error:
        logger.warning("starting anew: %s", error)
        return None
    if state is not None and state.place is not None:
        logger.info("going on from %s, %.0f s old", path, state.age_s)
    return state


class StateLock:
    """Keeps two flights from one state file; gone with its process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.with_name(f"{path.name}.lock").open("w")
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()

    @property
    def is_held(self) -> bool:
        """Whether the file is this flight's own."""
        return self._file is not None

    def close(self) -> None:
        """Leave the file to others."""
        if self._file is not None:
            self._file.close()
        self._file = None


class StateKeeper:
    """Writes a localiser's state every other second, in a thread of its own: disks may be slow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next_s = float("-inf")
        self._newest: LocaliserState | None = None
        self._is_new = threading.Condition()
        self._is_closed = False
        self._has_failed = False
        self._thread = threading.Thread(target=self._work, name="state", daemon=True)
        self._thread.start()

    def see(self, localiser: Localiser) -> None:
        """Take the state if it is time to."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _EACH_S
        state = localiser.saved_state()
        with self._is_new:
            self._newest = state
            self._is_new.notify()

    def close(self) -> None:
        """Write the last state that was taken."""
        with self._is_new:
            self._is_closed = True
            self._is_new.notify()
        self._thread.join(_LONGEST_CLOSE_S)

    def _work(self) -> None:
        while True:
            with self._is_new:
                self._is_new.wait_for(lambda: self._newest is not None or self._is_closed)
                state, self._newest = self._newest, None
            if state is None:
                return
            try:
                save_state(self._path, state)
                self._has_failed = False
            except OutputError as error:
                if not self._has_failed:
                    logger.warning("a restart will begin anew: %s", error)
                self._has_failed = True
