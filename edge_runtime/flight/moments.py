"""What the flight loop is fed with: frames beside their telemetry, recorded or live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge_runtime.flight_camera import FlightCamera
from edge_runtime.sources.frame import Frame, FrameSource, LiveSource
from edge_runtime.telemetry.live import LiveTelemetry
from edge_runtime.telemetry.log import TelemetrySample

_WAIT_S = 0.1
_EARLY_SHARE = 0.5


@dataclass(frozen=True)
class Moment:
    """A frame with what telemetry says of it, or the news that none came.

    `time_s` is the exposure on the source's clock; for a moment without a frame, now.
    """

    frame: Frame | None
    sample: TelemetrySample | None
    time_s: float


Sampler = Callable[[Frame], TelemetrySample | None]
"""Finds a live frame's telemetry."""


def recorded_moments(source: FrameSource, camera: FlightCamera) -> Iterator[Moment]:
    """Every frame of a recording, as fast as it is taken."""
    for frame in source:
        sample = camera.sample_of(frame) if frame.image is not None else None
        time_s = sample.time_s if sample is not None else frame.time_s or 0.0
        yield Moment(frame, sample, time_s)


def live_moments(
    source: LiveSource,
    sample_of: Sampler,
    shortest_interval_s: float,
    is_flown: Callable[[], bool],
    now_s: Callable[[], float] = time.monotonic,
) -> Iterator[Moment]:
    """The newest frame whenever the loop comes for one, and ten times a second news that none is.

    Args:
        sample_of: Telemetry of a frame, by its exposure or its name.
        shortest_interval_s: Least time between two frames' exposures on average; frames in
            between are left out.
        is_flown: Asked of each frame that is left, for machines that must be spared.
    """
    due_s = float("-inf")
    while not source.has_ended:
        frame = source.newest(_WAIT_S)
        if frame is None:
            yield Moment(None, None, now_s())
            continue
        exposed_s = now_s() if frame.time_s is None else frame.time_s
        is_due = exposed_s >= due_s - _EARLY_SHARE * shortest_interval_s
        if is_due:
            due_s = max(due_s, exposed_s) + shortest_interval_s
        if not is_due or not is_flown():
            yield Moment(None, None, now_s())
            continue
        sample = sample_of(frame) if frame.image is not None else None
        if sample is not None:
            sample = replace(sample, time_s=exposed_s)
        yield Moment(frame, sample, exposed_s)


def sampler_of_telemetry(telemetry: LiveTelemetry) -> Sampler:
    """The autopilot's telemetry at the exposure."""
    return lambda frame: None if frame.time_s is None else telemetry.at(frame.time_s)


def sampler_of_log(camera: FlightCamera, clock_start_s: float) -> Sampler:
    """A log's row by the frame's name or number, else by the time in the recording.

    Args:
        clock_start_s: The recording's zero on `time.monotonic()`.
    """

    def sample_of(frame: Frame) -> TelemetrySample | None:
        recorded_s = None if frame.time_s is None else frame.time_s - clock_start_s
        return camera.sample_of(replace(frame, time_s=recorded_s))

    return sample_of
