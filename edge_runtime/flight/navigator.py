"""The localiser behind a camera: moments in, fixes out, silences included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from edge_runtime.contract.fix import Fix
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.feed import FlightFeed
from edge_runtime.flight.inputs import FlightInputs
from edge_runtime.flight.moments import Moment
from edge_runtime.flight.record import SkippedFrames
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.localize.localiser import Localiser

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
        self._silences = 0
        self.localiser: Localiser | None = None
        self.skipped = SkippedFrames()

    def on_new_camera(self, tell: Callable[[PinholeCamera], None]) -> None:
        """Have the camera told once the first frame has shown its size."""
        self._tell_camera = tell

    def judge(self, moment: Moment) -> Fix | None:
        """The fix of a moment, None where there is nothing to say."""
        frame, sample = moment.frame, moment.sample
        if frame is None:
            return self._silence(moment.time_s, self._feed.fault or "no frame")
        if frame.image is None:
            self.skipped.undecodable += 1
            return self._silence(moment.time_s, "frames cannot be decoded")
        if sample is None:
            self.skipped.without_telemetry += 1
            return self._silence(moment.time_s, "no telemetry")
        if self._first_shape is not None and frame.image.shape != self._first_shape:
            self.skipped.of_another_size += 1
            return self._silence(moment.time_s, "frames have changed their size")
        if self.localiser is None:
            self._first_shape = frame.image.shape
            self.localiser = self._new_localiser(*frame.image.shape[:2])
        self._heard_s, self._silences = moment.time_s, 0
        return self._signed(self.localiser.process(frame.name, frame.image, sample))

    def _silence(self, time_s: float, reason: str) -> Fix | None:
        if self.localiser is None or not self._feed.is_live or self._heard_s is None:
            return None
        silent_s = time_s - self._heard_s
        if silent_s < (self._silences + 1) * _SILENCE_S:
            return None
        self._silences = int(silent_s / _SILENCE_S)
        reason = f"{reason} for {silent_s:.0f} s"
        return self._signed(self.localiser.without_view("", time_s, reason))

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
        )
