"""Opens what a flight is fed with: a recording with its log, or a camera with its autopilot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from edge_runtime.contract.errors import ConfigError
from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.moments import (
    Moment,
    live_moments,
    recorded_moments,
    sampler_of_log,
    sampler_of_telemetry,
)
from edge_runtime.flight_camera import open_flight_camera, open_live_camera
from edge_runtime.flight_lens import FlightLens
from edge_runtime.mavlink.link import MavlinkLink
from edge_runtime.sources.frame import LiveSource
from edge_runtime.sources.open import open_live_source, open_source
from edge_runtime.sources.playback import PlaybackSource
from edge_runtime.telemetry.live import LiveTelemetry
from edge_runtime.telemetry.mavlink_telemetry import MavlinkTelemetry


@dataclass(frozen=True)
class FlightFeed:
    """Frames beside their telemetry, and the camera that took them."""

    moments: Iterator[Moment]
    lens: FlightLens
    length: int | None = None
    """How many moments there are to come, where that is known."""
    source: LiveSource | None = None
    """The camera of a live flight."""
    telemetry: LiveTelemetry | None = None
    """The autopilot's telemetry, in a live flight."""
    link: MavlinkLink | None = None
    """The line that it comes by."""

    @property
    def is_live(self) -> bool:
        """Whether times are `time.monotonic()` and the newest frame wins."""
        return self.source is not None

    @property
    def counts(self) -> dict[str, int]:
        """What became of a live source's frames; empty for a recording."""
        return {} if self.source is None else asdict(self.source.counters)

    @property
    def link_fault(self) -> str:
        """Why the autopilot tells nothing at present; empty while it does."""
        return "" if self.link is None else self.link.fault

    @property
    def fault(self) -> str:
        """Why no frames come at present; empty while they do."""
        return "" if self.source is None else self.source.fault


def open_feed(
    config: FlightConfig,
    link: MavlinkLink | None,
    closing: ExitStack,
    is_flown: Callable[[], bool] = lambda: True,
) -> FlightFeed:
    """Open the recording or the camera that the configuration names.

    Args:
        link: The line to the autopilot, whose telemetry a live flight uses.
        closing: Closes what was opened.
        is_flown: Asked of each frame of a live flight, for machines that must be spared.

    Raises:
        DmnilError: If it cannot be opened.
    """
    if config.frames is not None and config.telemetry is not None:
        camera = open_flight_camera(config.telemetry, config.camera, config.telemetry_offset_s)
        recording = open_source(config.frames, config.every_s)
        return FlightFeed(recorded_moments(recording, camera), camera.lens, len(recording))
    if config.source.uri is None:
        raise ConfigError("give frames or source.uri: there is nothing to fly")
    interval_s = 1.0 / config.rate_hz if config.rate_hz else 0.0
    if config.telemetry is not None:
        camera = open_flight_camera(config.telemetry, config.camera, config.telemetry_offset_s)
        source = _live_source(config.source.uri, config, closing)
        start_s = source.clock_start_s if isinstance(source, PlaybackSource) else 0.0
        moments = live_moments(source, sampler_of_log(camera, start_s), interval_s, is_flown)
        return FlightFeed(moments, camera.lens, source=source)
    if link is None:
        raise ConfigError(
            "a live flight needs its autopilot's telemetry: give mavlink.connection, as "
            "udpin:0.0.0.0:14550 or /dev/ttyTHS1,921600"
        )
    live_camera = open_live_camera(config.camera)
    telemetry = MavlinkTelemetry(link, config.autopilot, live_camera.mounting)
    closing.callback(telemetry.close)
    source = _live_source(config.source.uri, config, closing)
    moments = live_moments(source, sampler_of_telemetry(telemetry), interval_s, is_flown)
    return FlightFeed(moments, live_camera.lens, source=source, telemetry=telemetry, link=link)


def _live_source(uri: str, config: FlightConfig, closing: ExitStack) -> LiveSource:
    source = open_live_source(uri, config.source)
    closing.callback(source.close)
    return source
