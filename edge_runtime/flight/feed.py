"""Opens what a flight is fed with: a recording with its log, or a camera with its autopilot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from edge_runtime.contract.errors import ConfigError
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.moments import Moment, recorded_moments
from edge_runtime.flight_camera import open_flight_camera
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.sources.frame import LiveSource
from edge_runtime.sources.open import open_source


@dataclass(frozen=True)
class FlightFeed:
    """Frames beside their telemetry, and the camera that took them."""

    moments: Iterator[Moment]
    camera_for: Callable[[int, int], PinholeCamera]
    """The camera that takes pictures of a width and height."""
    length: int | None = None
    """How many moments there are to come, where that is known."""
    live: LiveSource | None = None
    """The camera of a live flight."""

    @property
    def counts(self) -> dict[str, int]:
        """What became of a live source's frames; empty for a recording."""
        return {} if self.live is None else asdict(self.live.counters)

    @property
    def fault(self) -> str:
        """Why no frames come at present; empty while they do."""
        return "" if self.live is None else self.live.fault


def open_feed(config: FlightConfig, closing: ExitStack) -> FlightFeed:
    """Open the recording or the camera that the configuration names.

    Args:
        closing: Closes what was opened.

    Raises:
        DmnilError: If it cannot be opened.
    """
    if config.frames is not None and config.telemetry is not None:
        camera = open_flight_camera(config.telemetry, config.camera, config.telemetry_offset_s)
        source = open_source(config.frames, config.every_s)
        return FlightFeed(recorded_moments(source, camera), camera.camera_for, len(source))
    raise ConfigError("live sources are not there yet")
