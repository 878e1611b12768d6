"""What the live page is told: once what flies, then what is new."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from edge_runtime.contract.fix import Fix
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.monitor.health import Health
from edge_runtime.monitor.memory import memory_use
from edge_runtime.monitor.pictures import Pictures
from edge_runtime.monitor.tally import Tally, TrackPoint

_QUIET_S = 1.0
_LONGEST_TEXT = 300


class LiveState:
    """Words and figures for the page, as JSON; for one thread."""

    def __init__(
        self,
        tally: Tally,
        region_map: RegionMap,
        pictures: Pictures,
        build: Mapping[str, str],
        judge: Callable[[], Health],
        now_s: Callable[[], float],
    ) -> None:
        self._tally = tally
        self._map = region_map
        self._pictures = pictures
        self._build = dict(build)
        self._judge = judge
        self._now_s = now_s

    def about(self) -> str:
        """What flies, and over which map: it does not change in a flight."""
        attribution = str(self._map.manifest.get("imagery", {}).get("attribution", ""))
        return _json({"build": self._build, "attribution": attribution[:_LONGEST_TEXT]})

    def follow(self) -> Callable[[], str | None]:
        """A teller for one viewer: each call the state and the track's new points.

        None where nothing is new and the last word is fresh.
        """
        track_told = 0
        told: tuple[int, int] | None = None
        told_at_s = 0.0

        def tell() -> str | None:
            nonlocal track_told, told, told_at_s
            self._tally.refresh()  # so that fix, frame and matches are of one moment
            now_s = self._now_s()
            marks = (self._tally.fixes, self._tally.handover.frames)
            if marks == told and now_s - told_at_s < _QUIET_S:
                return None
            told, told_at_s = marks, now_s
            track = self._tally.track
            kept_from = self._tally.track_points - len(track)
            new = islice(track, max(0, track_told - kept_from), None)
            points = [_track_point(point) for point in new]
            begins = track_told == 0
            track_told = self._tally.track_points
            return _json({**self._state(now_s), "track": points, "track_begins": begins})

        return tell

    def _state(self, now_s: float) -> dict[str, Any]:
        tally = self._tally
        handover, fix = tally.handover, tally.fix
        frame, seen, matched = handover.frame, handover.details, handover.matched
        memory = memory_use()
        return {
            "health": self._judge().as_dict(),
            "uptime_s": now_s - handover.started_s,
            "fix": None if fix is None else self._fix(fix, now_s),
            "fixes": tally.fixes,
            "fixes_per_s": tally.fixes_per_s(now_s),
            "frames": handover.frames,
            "frame_number": None if frame is None or frame.image is None else frame.number,
            "frame_age_s": None if frame is None else now_s - frame.at_s,
            "telemetry": self._telemetry(now_s),
            "details_number": None if seen is None else seen.number,
            "has_view": seen is not None and seen.details.view is not None,
            "has_posterior": seen is not None and seen.details.posterior is not None,
            "matches": self._matches(fix),
            "matches_number": None if matched is None else matched.number,
            "matches_age_s": None if matched is None else now_s - matched.at_s,
            "memory_bytes": None if memory is None else memory.resident,
            "counters": tally.counters,
        }

    def _fix(self, fix: Fix, now_s: float) -> dict[str, Any]:
        position, place = fix.position, None
        if position is not None:
            east, north = self._map.frame.to_local(position.latitude_deg, position.longitude_deg)
            place = {
                "latitude_deg": position.latitude_deg,
                "longitude_deg": position.longitude_deg,
                "radius95_m": position.radius95_m,
                "east_m": float(east),
                "north_m": float(north),
            }
        velocity = fix.velocity
        return {
            "frame": fix.frame[:_LONGEST_TEXT],
            "state": fix.state.value,
            "reason": fix.reason[:_LONGEST_TEXT],
            "age_s": now_s - self._tally.fix_at_s,
            "position": place,
            "speed_m_s": None
            if velocity is None
            else math.hypot(velocity.east_m_s, velocity.north_m_s),
            "heading_deg": fix.heading_deg,
            "heading_standard_deviation_deg": fix.heading_standard_deviation_deg,
            "in_map_probability": fix.in_map_probability,
            "reset_counter": fix.reset_counter,
            "stage_ms": fix.stage_ms,
            "latency_ms": fix.latency_ms,
            "engine_fault": fix.engine_fault[:_LONGEST_TEXT],
        }

    def _telemetry(self, now_s: float) -> dict[str, Any]:
        frame = self._tally.handover.frame
        sample = None if frame is None else frame.sample
        told: dict[str, Any] = {"age_s": self._tally.telemetry_age_s(now_s)}
        if sample is not None:
            told |= {
                "height_m": sample.height_m,
                "heading_deg": sample.heading_deg,
                "pitch_deg": sample.pitch_deg,
                "roll_deg": sample.roll_deg,
            }
        return told

    def _matches(self, fix: Fix | None) -> list[dict[str, Any]]:
        """The last search's best tiles, or the ground that the fix names, which has no size."""
        if self._tally.handover.matched is not None:
            return [
                {
                    "east_m": match.east_m,
                    "north_m": match.north_m,
                    "footprint_m": match.footprint_m,
                    "similarity": match.similarity,
                    "has_picture": self._pictures.shows_tiles_of(match.footprint_m),
                }
                for match in self._pictures.matches()
            ]
        told = []
        for place in () if fix is None else fix.viewed_matches[:5]:
            east, north = self._map.frame.to_local(place.latitude_deg, place.longitude_deg)
            told.append(
                {
                    "east_m": float(east),
                    "north_m": float(north),
                    "footprint_m": None,
                    "similarity": place.similarity,
                    "has_picture": False,
                }
            )
        return told


def _track_point(point: TrackPoint) -> list[Any]:
    return [round(point.east_m, 1), round(point.north_m, 1), point.state.value, point.stretch]


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(_finite(content), separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    """The same with null where JSON has no number."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, (bool, int)) or value is None:
        return value
    number = float(value)
    return round(number, 8) if math.isfinite(number) else None
