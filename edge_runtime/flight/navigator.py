"""The localiser behind a camera: moments in, fixes out, silences included."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge_runtime.contract.fix import Fix
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.feed import FlightFeed
from edge_runtime.flight.inputs import FlightInputs
from edge_runtime.flight.kept_state import StateKeeper, StateLock, state_before
from edge_runtime.flight.moments import Moment
from edge_runtime.flight.record import SkippedFrames
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.saved_state import LocaliserState, state_as_text

logger = logging.getLogger(__name__)

STATE_FILE_NAME = "localiser.state"
_NO_TELEMETRY = "no telemetry"
_PATIENCE_S, _TELL_S = 3.0, 10.0
_SILENCE_S = 1.0
"""A live flight that has had no view for so long says so, and again each time it has passed."""


class Navigator:
    """Makes the localiser once the first frame tells its size, and asks it about every moment.

    A recording's unusable frames are counted and left out. In a live flight the position must
    coast and its receivers must hear of it: after a second without a usable frame, and each second
    from then on, there is a fix without a view.
    """

    def __init__(self, config: FlightConfig, inputs: FlightInputs, feed: FlightFeed) -> None:
        self._config = config
        self._inputs = inputs
        self._feed = feed
        self._tell_camera: Callable[[PinholeCamera], None] = lambda camera: None
        self._first_shape: tuple[int, ...] | None = None
        self._heard_s: float | None = None
        self._state: LocaliserState | None = None
        self._keeper: StateKeeper | None = None
        self._lock: StateLock | None = None
        self._waiting_since_s: float | None = None
        self._waiting_told_s = 0.0
        self._silences = 0
        self._unusable, self._unusable_s = "", float("-inf")
        if feed.is_live:
            self._begin_state(config.state or config.output.parent / STATE_FILE_NAME)
        self.localiser: Localiser | None = None
        self.skipped = SkippedFrames()

    @property
    def saved_state_text(self) -> str | None:
        """The state that this flight began with, as its file told it."""
        return None if self._state is None else state_as_text(self._state)

    def close(self) -> None:
        """Write down what is known."""
        if self._keeper is not None:
            self._keeper.close()
        if self._lock is not None:
            self._lock.close()

    def on_new_camera(self, tell: Callable[[PinholeCamera], None]) -> None:
        """Have the camera told once the first frame has shown its size."""
        self._tell_camera = tell

    def judge(self, moment: Moment) -> Fix | None:
        """The fix of a moment, None where there is nothing to say."""
        frame, sample = moment.frame, moment.sample
        if frame is None:
            return self._silence(moment.time_s)
        if frame.image is None:
            self.skipped.undecodable += 1
            return self._silence(moment.time_s, "frames cannot be decoded")
        if sample is None:
            self.skipped.without_telemetry += 1
            return self._silence(moment.time_s, _NO_TELEMETRY)
        if self._first_shape is not None and frame.image.shape != self._first_shape:
            self.skipped.of_another_size += 1
            return self._silence(moment.time_s, "frames have changed their size")
        if self.localiser is None:
            self._first_shape = frame.image.shape
            self.localiser = self._new_localiser(*frame.image.shape[:2])
        self._heard_s, self._silences = moment.time_s, 0
        fix = self.localiser.process(frame.name, frame.image, sample)
        if self._keeper is not None:
            self._keeper.see(self.localiser)
        return self._signed(fix)

    def _silence(self, time_s: float, unusable: str = "") -> Fix | None:
        """The fix of a live moment without a view, once each second.

        Args:
            unusable: Why a frame that came cannot be used.
        """
        if unusable:
            self._unusable, self._unusable_s = unusable, time_s
        is_recent = time_s - self._unusable_s < _SILENCE_S
        reason = self._unusable if is_recent else self._feed.fault or "no frame"
        if not self._feed.is_live:
            return None
        if self.localiser is None or self._heard_s is None:
            self._tell_of_waiting(time_s, reason)
            return None
        silent_s = time_s - self._heard_s
        if silent_s < (self._silences + 1) * _SILENCE_S:
            return None
        self._silences = int(silent_s / _SILENCE_S)
        reason = self._lasting(reason, silent_s)
        return self._signed(self.localiser.without_view("", time_s, reason))

    def _lasting(self, reason: str, seconds: float) -> str:
        fault = self._feed.link_fault if reason == _NO_TELEMETRY else ""
        return f"{reason} for {seconds:.0f} s" + (f" ({fault})" if fault else "")

    def _tell_of_waiting(self, time_s: float, reason: str) -> None:
        """Say each ten seconds why a flight has not begun."""
        if self._waiting_since_s is None:
            self._waiting_since_s, self._waiting_told_s = time_s, time_s - _TELL_S + _PATIENCE_S
        if time_s - self._waiting_told_s >= _TELL_S:
            self._waiting_told_s = time_s
            waited_s = time_s - self._waiting_since_s
            logger.warning("not flying yet: %s", self._lasting(reason, waited_s))

    def _begin_state(self, path: Path) -> None:
        self._lock = StateLock(path)
        if not self._lock.is_held:
            logger.warning(
                "%s is another flight's, or cannot be written: a restart will begin anew", path
            )
            return
        self._state = state_before(path, self._inputs.region_map)
        self._keeper = StateKeeper(path)

    def _signed(self, fix: Fix) -> Fix:
        fault = self._inputs.engine_fault
        return replace(fix, engine_fault=fault) if fault else fix

    def _new_localiser(self, height: int, width: int) -> Localiser:
        camera = self._feed.lens.camera_for(width, height)
        self._tell_camera(camera)
        return Localiser(
            self._inputs.engine,
            self._inputs.region_map,
            self._inputs.bundle.input_width,
            camera,
            self._config.localiser,
            self._config.prior,
            self._state,
        )
