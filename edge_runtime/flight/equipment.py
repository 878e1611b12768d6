"""What a flight carries beside its localiser: lines to camera and autopilot, receivers, monitor."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_runtime.flight.config import FlightConfig
from edge_runtime.flight.feed import FlightFeed, open_feed
from edge_runtime.flight.followers import FlightFollowers
from edge_runtime.flight.inputs import FlightInputs
from edge_runtime.flight.navigator import Navigator
from edge_runtime.flight_log.header import FlightHeader
from edge_runtime.flight_log.plain_values import to_plain
from edge_runtime.flight_log.recorder import FlightRecorder
from edge_runtime.mavlink.link import MavlinkLink, open_link
from edge_runtime.monitor.monitor import Monitor, open_monitor
from edge_runtime.outputs.fix_log import FixLog
from edge_runtime.outputs.mavlink_output import MavlinkOutput
from edge_runtime.outputs.open import open_outputs
from edge_runtime.outputs.output import FixOutput
from edge_runtime.power_governor import PowerGovernor, RateChange
from edge_runtime.structured_log import FlightLines

logger = logging.getLogger(__name__)


class FlightNews:
    """Tells people what no fix tells: in the log, in the flight log, on the pilot's screen."""

    def __init__(self, outputs: list[FixOutput]) -> None:
        self._outputs = outputs
        self.recorder: FlightRecorder | None = None

    def rate_change(self, change: RateChange) -> None:
        """Heat or supply ask for fewer frames, or allow more again."""
        logger.warning("%s", change.text)
        if self.recorder is not None:
            self.recorder.event(change.text, "warning")
        for output in self._outputs:
            if isinstance(output, MavlinkOutput):
                output.say(change.text)


@dataclass(frozen=True)
class FlightEquipment:
    """Everything that is opened before the first frame; the flight's lines close it."""

    config: FlightConfig
    inputs: FlightInputs
    feed: FlightFeed
    link: MavlinkLink | None
    outputs: list[FixOutput]
    monitor: Monitor | None
    governor: PowerGovernor | None
    news: FlightNews

    def followers(self, folder: Path, navigator: Navigator) -> FlightFollowers:
        """What takes the flight's fixes, writing into its directory."""
        recorder = FlightRecorder(folder, self.config.log, self._header(navigator))
        navigator.on_new_camera(recorder.camera)
        self.news.recorder = recorder
        return FlightFollowers(
            FixLog(folder, outlives_disk=self.feed.is_live),
            recorder,
            self.outputs,
            self.monitor,
            navigator,
            self.inputs.region_map,
            lambda: self._counts(folder, recorder, navigator),
            self.feed.lens,
            FlightLines(self.config.figures_s) if self.feed.is_live else None,
            self.governor,
            is_live=self.feed.is_live,
        )

    def _header(self, navigator: Navigator) -> FlightHeader:
        config = self.config
        return FlightHeader(
            is_live=self.feed.is_live,
            encoder=config.encoder,
            encoder_sha256=self.inputs.bundle.encoder_sha256,
            map=config.map,
            map_manifest_sha256=self.inputs.region_map.manifest_sha256,
            precision=config.precision,
            engine=config.engine,
            threads=config.threads,
            localiser=config.localiser,
            prior=config.prior,
            saved_state=navigator.saved_state_text,
            unsafe_engine=config.unsafe_engine,
            tensorrt=config.tensorrt,
            config=to_plain(config.shown),
        )

    def _counts(
        self, folder: Path, recorder: FlightRecorder, navigator: Navigator
    ) -> dict[str, Any]:
        """Figures by the names that the monitor knows."""
        logged = recorder.counters
        counts: dict[str, Any] = {
            **self.feed.counts,
            "without_telemetry": navigator.skipped.without_telemetry,
            "log_dropped": logged.dropped,
            "log_bytes": round(logged.megabytes * 1e6),
        }
        with suppress(OSError):  # a folder that somebody deleted costs the figure, not the flight
            counts["disk_free_bytes"] = shutil.disk_usage(folder).free
        if self.feed.fault:
            counts["source_fault"] = self.feed.fault
        if self.feed.telemetry is not None:
            counts["telemetry_age_s"] = self.feed.telemetry.age_s(time.monotonic())
        if self.governor is not None:
            counts |= self.governor.figures()
        if self.link is not None:
            counts |= {f"mavlink_{name}": n for name, n in self.link.counters.as_dict().items()}
        return counts


def open_equipment(
    config: FlightConfig, inputs: FlightInputs, closing: ExitStack
) -> FlightEquipment:
    """Open the lines of a flight: autopilot, camera or recording, receivers, monitor.

    A recording has no monitor and no receivers unless they are asked for.

    Raises:
        DmnilError: If one of them cannot be opened.
    """
    link: MavlinkLink | None = None
    if config.mavlink.connection is not None:
        link = open_link(config.mavlink)
        closing.callback(link.close)
    outputs = open_outputs(config.outputs, link)
    for output in outputs:
        closing.callback(output.close)
    news = FlightNews(outputs)
    governor: PowerGovernor | None = None
    if config.source.uri is not None:
        governor = PowerGovernor(config.power, news.rate_change)
        governor.start()
        closing.callback(governor.close)
    feed = open_feed(config, link, closing, governor.flies_next if governor else lambda: True)
    monitor: Monitor | None = None
    if feed.is_live:
        flies = {"engine": config.engine, "precision": inputs.precision}
        monitor = open_monitor(config.monitor, inputs.region_map, flies)
        closing.callback(monitor.close)
    return FlightEquipment(config, inputs, feed, link, outputs, monitor, governor, news)
