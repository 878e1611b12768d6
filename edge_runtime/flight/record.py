"""What a flight leaves behind: its fixes as they come, a summary, track and picture at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_runtime.contract.fix import Fix
from edge_runtime.contract.flight_directory import SUMMARY_NAME, TRACK_PICTURE_NAME
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.flight.record_latency import FlightLatency
from edge_runtime.outputs.fix_log import GEOJSON_NAME, write_geojson
from edge_runtime.outputs.track_picture import draw_track
from edge_runtime.telemetry.truth import TruePlace

_LARGEST_TRACK = 8192


@dataclass
class SkippedFrames:
    """Frames that were not flown, by reason."""

    undecodable: int = 0
    without_telemetry: int = 0
    of_another_size: int = 0


@dataclass(frozen=True)
class FlightReport:
    """What became of a flight's frames."""

    output: Path
    frames: int
    undecodable: int
    without_telemetry: int
    of_another_size: int
    states: dict[str, int]
    last: Fix | None
    wall_s: float
    interrupted: bool
    capture: dict[str, int] = field(default_factory=dict)
    """Counts of a live source: captured, dropped, reconnects, ...; empty for a recording."""
    latency: dict[str, dict[str, float]] = field(default_factory=dict)
    """Count, p50, p99 and longest of `exposure_to_output` (live), `processing` and `engine`."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        values = {
            "frames": self.frames,
            "undecodable": self.undecodable,
            "without_telemetry": self.without_telemetry,
            "of_another_size": self.of_another_size,
            "states": self.states,
            "interrupted": self.interrupted,
            "latency": self.latency,
        }
        return {**values, "capture": self.capture} if self.capture else values


class FlightRecord:
    """Counts a flight's fixes and keeps an even sample of them for the picture.

    Memory is bounded: once the sample is full every second fix leaves it, and from then on only
    every second of those to come enters. All fixes are in the fix log.
    """

    def __init__(self, largest_track: int = _LARGEST_TRACK) -> None:
        self._largest_track = largest_track
        self._stride = 1
        self._track: list[Fix] = []
        self._states: Counter[str] = Counter()
        self._latency = FlightLatency()
        self.frames = 0
        self.last: Fix | None = None

    def add(self, fix: Fix) -> None:
        """Count a fix."""
        if self.frames % self._stride == 0:
            self._track.append(fix)
            if len(self._track) > self._largest_track:
                self._track = self._track[::2]
                self._stride *= 2
        self.frames += 1
        self.last = fix
        self._states[fix.state.value] += 1
        self._latency.add(fix)

    @property
    def track(self) -> list[Fix]:
        """An even sample of the fixes, all of them in flights of ordinary length."""
        return self._track

    def report(
        self,
        output: Path,
        skipped: SkippedFrames,
        wall_s: float,
        *,
        interrupted: bool,
        capture: dict[str, int],
    ) -> FlightReport:
        """The flight in figures."""
        return FlightReport(
            output=output,
            frames=self.frames,
            undecodable=skipped.undecodable,
            without_telemetry=skipped.without_telemetry,
            of_another_size=skipped.of_another_size,
            states=dict(self._states),
            last=self.last,
            wall_s=wall_s,
            interrupted=interrupted,
            capture=capture,
            latency=self._latency.figures(),
        )


def write_results(
    folder: Path,
    record: FlightRecord,
    report: FlightReport,
    region_map: RegionMap,
    truth: Mapping[str, TruePlace] | None,
) -> None:
    """Write summary, GeoJSON track and picture into a flight's directory.

    Raises:
        OutputError: If the picture cannot be written.
    """
    write_geojson(folder / GEOJSON_NAME, record.track)
    title = report.output.name.removesuffix(".flight")
    draw_track(folder / TRACK_PICTURE_NAME, region_map, record.track, truth, title)
    summary = json.dumps(report.as_dict(), indent=2) + "\n"
    (folder / SUMMARY_NAME).write_text(summary, encoding="utf-8")
