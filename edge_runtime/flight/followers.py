"""What a flight's fixes go to: fix log, flight log, autopilot and other receivers, monitor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edge_runtime.contract.fix import Fix, IntegrityState
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.flight.moments import Moment
from edge_runtime.flight.navigator import Navigator
from edge_runtime.flight_lens import FlightLens
from edge_runtime.flight_log.decision import decision_of
from edge_runtime.flight_log.recorder import FlightRecorder
from edge_runtime.monitor.localiser_details import details_of
from edge_runtime.monitor.monitor import Monitor
from edge_runtime.outputs.fix_log import FixLog
from edge_runtime.outputs.output import FixOutput
from edge_runtime.power_governor import PowerGovernor
from edge_runtime.structured_log import FlightLines

_COUNTS_S = 1.0


class FlightFollowers:
    """Hands every moment and fix on, in the order that keeps the latency of positions short.

    Args:
        counts: Figures of camera, link and loop by name, for log and monitor; asked each second.
        is_live: Whether times are `time.monotonic()`.
    """

    def __init__(
        self,
        fix_log: FixLog,
        recorder: FlightRecorder | None,
        outputs: Sequence[FixOutput],
        monitor: Monitor | None,
        navigator: Navigator,
        region_map: RegionMap,
        counts: Callable[[], dict[str, Any]],
        lens: FlightLens,
        lines: FlightLines | None,
        governor: PowerGovernor | None,
        *,
        is_live: bool,
    ) -> None:
        self._fix_log = fix_log
        self._recorder = recorder
        self._outputs = outputs
        self._monitor = monitor
        self._navigator = navigator
        self._region_map = region_map
        self._counts = counts
        self._lens = lens
        self._lines = lines
        self._governor = governor
        self._is_live = is_live
        self._shape: tuple[int, ...] | None = None
        self._state: IntegrityState | None = None
        self._counted_s = float("-inf")

    def take(self, moment: Moment) -> Moment:
        """A moment as it is to be flown: undistorted, and as the flight log will hold it."""
        frame = moment.frame
        if frame is None:
            return moment
        if frame.image is not None and self._shape in (None, frame.image.shape):
            self._shape = frame.image.shape
            image = self._lens.undistorted(frame.image)
            if image is not frame.image:
                frame = replace(frame, image=image, encoded=None)
                moment = replace(moment, frame=frame)
        if self._recorder is not None:
            frame = self._recorder.as_logged(frame)
            moment = replace(moment, frame=frame)
        if self._monitor is not None:
            self._monitor.frame(frame.image, moment.sample)
        return moment

    def tell(self, moment: Moment, fix: Fix | None) -> Fix | None:
        """Send a moment's fix out and write it down; the fix as it left."""
        if fix is not None:
            if self._is_live:
                fix = replace(fix, latency_ms=(time.monotonic() - fix.time_s) * 1e3)
            sent = [message for output in self._outputs for message in output.publish(fix)]
            if self._recorder is not None:
                self._recorder.sent(sent)
            self._fix_log.write(fix)
            if self._lines is not None:
                self._lines.fix(fix)
        if self._recorder is not None:
            self._record(self._recorder, moment, fix)
        if self._monitor is not None and fix is not None:
            localiser = self._navigator.localiser
            is_shown = localiser is not None and self._monitor.is_watched
            details = details_of(localiser) if localiser and is_shown else None
            self._monitor.fix(fix, details)
        return fix

    def tick(self) -> None:
        """Do what is due by time: heartbeats, figures."""
        now_s = time.monotonic()
        if self._governor is not None:
            self._governor.tick()
        for output in self._outputs:
            sent = output.tick(now_s)
            if self._recorder is not None:
                self._recorder.sent(sent)
        if now_s - self._counted_s < _COUNTS_S:
            return
        self._counted_s = now_s
        counts = self._counts()
        if self._lines is not None:
            self._lines.counters(counts)
        if self._monitor is not None:
            self._monitor.counters(counts)
        if self._recorder is not None and self._is_live:
            self._recorder.counters_now(counts)

    def event(self, text: str, level: str = "info") -> None:
        """News for the flight log."""
        if self._recorder is not None:
            self._recorder.event(text, level)

    def close(self) -> None:
        """Finish the logs."""
        if self._recorder is not None:
            self._recorder.close()
        self._fix_log.close()

    def _record(self, recorder: FlightRecorder, moment: Moment, fix: Fix | None) -> None:
        if moment.frame is not None:
            recorder.frame(moment.frame, moment.sample)
        if fix is None:
            return
        recorder.fix(fix)
        localiser = self._navigator.localiser
        if localiser is not None and moment.sample is not None:
            recorder.decision(fix, decision_of(localiser, self._region_map))
        if fix.state is not self._state:
            self._state = fix.state
            recorder.event(f"{fix.state.value}: {fix.reason}")
