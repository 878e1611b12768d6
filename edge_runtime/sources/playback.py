"""A folder or video played as if it were a camera, or as fast as its frames are taken."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge_runtime.sources.capture_tally import CaptureTally
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.frame import CaptureCounters, Frame
from edge_runtime.sources.newest_frame import NewestSlot

_LOG = logging.getLogger(__name__)

_LATEST_S = 0.5
_CLOSING_MAY_TAKE_S = 5.0


@dataclass(frozen=True)
class Recording:
    """Frames with their times."""

    start: Callable[[], Iterator[tuple[float, Callable[[], Frame]]]]
    """Begins with the first frame: seconds since the start, and what decodes the frame."""
    interval_s: float
    """Between frames."""
    length_s: float
    """Where a loop begins again."""
    may_skip: bool
    """Whether a frame that is not decoded costs nothing."""


class PlaybackSource:
    """A `LiveSource` of recorded frames; their names and numbers stay the recording's own.

    `time_s` of a frame is `clock_start_s` plus its time in the recording. Paced `realtime`, that is
    `time.monotonic()`: frames come when they are due, the newest wins, and where decoding does not
    keep up, pictures are left out and videos' clocks held back. Paced `fast`, every frame comes as
    soon as the last one was taken, and its time may lie ahead.

    Args:
        shown: The source's name for people.
    """

    def __init__(
        self, recording: Recording, config: SourceConfig, shown: str, description: str = ""
    ) -> None:
        self._description = description
        self._recording = recording
        self._config = config
        self._shown = shown
        self._guard = threading.Lock()
        self._tally = CaptureTally()
        self._slot: NewestSlot[Frame] = NewestSlot()
        self._stop = threading.Event()
        self._is_played = self._is_held_back = False
        self._start_s = time.monotonic()
        self._frames = self._scheduled()
        self._thread: threading.Thread | None = None
        if config.pacing == "realtime":
            self._thread = threading.Thread(target=self._play, name=f"play {shown}", daemon=True)
            self._thread.start()

    @property
    def clock_start_s(self) -> float:
        """`time.monotonic()` of the recording's own time 0: what joins telemetry by time."""
        with self._guard:
            return self._start_s

    @property
    def description(self) -> str:
        """What captures or decodes, for people."""
        return self._description

    def newest(self, timeout_s: float) -> Frame | None:
        """The newest frame, or, played fast, the next one; None if none came in time.

        One that cannot be decoded comes without a picture.
        """
        if self._thread is not None:
            return self._slot.take(timeout_s)
        scheduled = None if self._stop.is_set() else next(self._frames, None)
        if scheduled is None:
            self._is_played = True
            return None
        return self._decoded(*scheduled)

    @property
    def has_ended(self) -> bool:
        """Whether the last frame was taken."""
        return self._is_played and self._slot.is_empty

    @property
    def fault(self) -> str:
        """Empty until the recording was played."""
        return f"{self._shown}: played to its end" if self._is_played else ""

    @property
    def counters(self) -> CaptureCounters:
        """Counts since the start."""
        return self._tally.counters(self._slot.replaced)

    def close(self) -> None:
        """Stop playing."""
        self._stop.set()
        self._slot.close()
        if self._thread is not None:
            self._thread.join(_CLOSING_MAY_TAKE_S)

    def _scheduled(self) -> Iterator[tuple[float, Callable[[], Frame]]]:
        """Every frame with its time, the second round's after the first's."""
        round_start_s = 0.0
        while True:
            for time_s, decode in self._recording.start():
                yield round_start_s + time_s, decode
            if not self._config.loop or self._stop.is_set():
                return
            round_start_s += self._recording.length_s

    def _play(self) -> None:
        try:
            for time_s, decode in self._frames:
                if not self._paced(time_s, decode):
                    break
        finally:
            self._is_played = True
            self._slot.close()

    def _paced(self, time_s: float, decode: Callable[[], Frame]) -> bool:
        """Put out one frame when it is due; False once nobody wants any."""
        late_s = time.monotonic() - (self.clock_start_s + time_s)
        if self._recording.may_skip and late_s > self._recording.interval_s:
            self._tally.add(captured=1, dropped=1)
            return not self._stop.is_set()
        if late_s > _LATEST_S:
            if not self._is_held_back:
                _LOG.warning("%s: does not decode in real time, plays slower", self._shown)
            self._is_held_back = True
            with self._guard:
                self._start_s += late_s
        frame = self._decoded(time_s, decode)
        # A frame that was decoded ahead of its time waits for it.
        if self._stop.wait(max(0.0, self.clock_start_s + time_s - time.monotonic())):
            return False
        self._slot.put(frame)
        return True

    def _decoded(self, time_s: float, decode: Callable[[], Frame]) -> Frame:
        frame = decode()
        self._tally.add(captured=int(frame.image is not None), undecodable=int(frame.image is None))
        return replace(frame, time_s=self.clock_start_s + time_s)
