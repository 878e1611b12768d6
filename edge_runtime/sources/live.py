"""A camera or stream captured in a thread of its own, opened again whenever it is lost."""

from __future__ import annotations

import logging
import threading
import time

from edge_runtime.contract.errors import DmnilError
from edge_runtime.sources.capture import (
    JPEG,
    Capture,
    CapturedPicture,
    CaptureEndedError,
    CaptureLostError,
    OpenCapture,
)
from edge_runtime.sources.capture_tally import CaptureTally
from edge_runtime.sources.capture_watch import CaptureWatch
from edge_runtime.sources.config import SourceConfig
from edge_runtime.sources.frame import CaptureCounters, Frame
from edge_runtime.sources.newest_frame import NewestSlot

_LOG = logging.getLogger(__name__)

_LOOK_EACH_S = 0.1
_CLOSING_MAY_TAKE_S = 5.0


class CaptureSource:
    """A `LiveSource`: capture, watchdog, reconnection with back-off.

    Args:
        open_capture: Opens the camera or stream; called in the capturing thread.
        shown: The source's name for people.
        description: What captures, for people.
        ends: Whether the end of the stream is the end of the source; else it is a loss.
    """

    def __init__(
        self,
        open_capture: OpenCapture,
        config: SourceConfig,
        shown: str,
        description: str = "",
        *,
        ends: bool = False,
    ) -> None:
        self._description = description
        self._open_capture = open_capture
        self._config = config
        self._shown = shown
        self._ends = ends
        self._slot: NewestSlot[tuple[int, CapturedPicture]] = NewestSlot()
        self._guard = threading.Lock()
        self._tally = CaptureTally()
        self._number = 0
        self._fault = f"{shown}: opening"
        self._is_faulty = False
        self._has_ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture {shown}", daemon=True)
        self._thread.start()

    @property
    def description(self) -> str:
        """What captures or decodes, for people."""
        return self._description

    def newest(self, timeout_s: float) -> Frame | None:
        """The newest frame that was not taken yet; None if none came in time."""
        until_s = time.monotonic() + timeout_s
        while True:
            taken = self._slot.take(max(0.0, until_s - time.monotonic()))
            if taken is None:
                return None
            number, picture = taken
            image = picture.decoded()
            if image is not None:
                encoded = picture.data if picture.pixel_format == JPEG else None
                return Frame(f"{number:06d}", image, number, picture.time_s, encoded)
            self._tally.add(undecodable=1, captured=-1)

    @property
    def has_ended(self) -> bool:
        """Whether the stream ended for good and its last frame was taken."""
        with self._guard:
            has_ended = self._has_ended
        return has_ended and self._slot.is_empty

    @property
    def fault(self) -> str:
        """Why no frames come at present; empty while they do."""
        with self._guard:
            return self._fault

    @property
    def counters(self) -> CaptureCounters:
        """Counts since the start."""
        return self._tally.counters(self._slot.replaced)

    def close(self) -> None:
        """Stop capturing and release the camera."""
        self._stop.set()
        self._slot.close()
        self._thread.join(_CLOSING_MAY_TAKE_S)
        if self._thread.is_alive():
            _LOG.warning("%s: its driver does not let go of it", self._shown)

    def _run(self) -> None:
        watch = CaptureWatch(self._config, time.monotonic())
        wait_s = self._config.first_wait_s
        while not self._stop.is_set():
            fault = ""
            before = self.counters.captured
            try:
                self._capture(self._open_capture(), watch)
            except CaptureEndedError:
                if self._ends:
                    break
                fault = "the stream ended"
            except (CaptureLostError, DmnilError) as error:
                fault = str(error)
            except Exception as error:  # noqa: BLE001 - a driver's oddity must not end the flight
                _LOG.warning("%s", self._shown, exc_info=True)
                fault = f"{type(error).__name__}: {error}"
            if self._stop.is_set():
                break
            if self.counters.captured > before:
                wait_s = self._config.first_wait_s
            self._set_fault(f"{fault}; opening again in {wait_s:.1f} s")
            self._stop.wait(wait_s)
            wait_s = min(2.0 * wait_s, self._config.longest_wait_s)
            self._tally.add(reconnects=1)
        with self._guard:
            self._has_ended = True
            self._fault = f"{self._shown}: {'closed' if self._stop.is_set() else 'ended'}"
        self._slot.close()

    def _capture(self, capture: Capture, watch: CaptureWatch) -> None:
        """Take pictures until the connection is lost or nobody wants any."""
        try:
            watch.opened(time.monotonic())
            while not self._stop.is_set():
                picture = capture.read(_LOOK_EACH_S)
                now_s = time.monotonic()
                if picture is None:
                    silence = watch.silence(now_s)
                    if silence:
                        self._tally.add(stalls=1)
                        raise CaptureLostError(silence)
                else:
                    self._take_in(picture, watch)
        finally:
            capture.close()

    def _take_in(self, picture: CapturedPicture, watch: CaptureWatch) -> None:
        """Offer a picture that is new and whole."""
        self._number += 1 + picture.skipped
        if not picture.is_whole:
            self._tally.add(undecodable=1, captured=picture.skipped, dropped=picture.skipped)
            return
        self._tally.add(captured=1 + picture.skipped, dropped=picture.skipped)
        if not picture.is_timed:
            self._tally.add(dropped=1)
            return
        if watch.is_new(picture):
            self._slot.put((self._number, picture))
            self._set_fault("")
            watch.require_prompt(picture)
            return
        self._tally.add(repeated=1)
        stuck = watch.stuck(picture.arrival_s)
        if stuck:
            self._set_fault(stuck)

    def _set_fault(self, what: str) -> None:
        """Say what is wrong, in the log once per trouble, and that it is over."""
        fault = f"{self._shown}: {' '.join(what.split())}" if what else ""
        with self._guard:
            self._fault = fault
        if fault and not self._is_faulty:
            _LOG.warning("%s", fault)
        elif self._is_faulty and not fault:
            _LOG.warning("%s: frames come again", self._shown)
        self._is_faulty = bool(fault)
