"""Telemetry from the subtitle (SRT) file that DJI cameras write beside a video."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np

from edge_runtime.contract.errors import TelemetryError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.telemetry.log import TelemetryLog, TelemetrySample, log_of

_FIELD = re.compile(r"([a-z_]+)\s*:\s*([-+]?\d+(?:\.\d+)?)", re.IGNORECASE)
_FRAME_COUNT = re.compile(r"(?:FrameCnt|SrtCnt)\s*:\s*(\d+)")
_LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}[.,]\d{3}")
_COURSE_BASELINE_M = 2.0
_LARGEST_PLAIN_FOCAL_MM = 100.0


def read_dji_subtitle(path: Path, default_pitch_deg: float | None = None) -> TelemetryLog:
    """Read height, attitude and focal length of every frame.

    Where the camera wrote no gimbal yaw, the heading is the course over ground between its
    logged positions, held while it stands still; the positions serve for nothing else.

    Args:
        default_pitch_deg: Camera pitch where the file has none.

    Raises:
        TelemetryError: If the file cannot be read or lacks what is needed.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise TelemetryError(f"{path} cannot be read: {error.strerror}") from error
    entries = list(_entries(text))
    if not entries:
        raise TelemetryError(f"{path}: no DJI telemetry in it (no FrameCnt, time and rel_alt)")
    numbers = [number for number, _, _ in entries]
    start = entries[0][1]
    times = [(moment - start).total_seconds() for _, moment, _ in entries]
    fields = [values for _, _, values in entries]
    headings = _headings(fields, path)
    pitches = [values.get("gb_pitch", default_pitch_deg) for values in fields]
    if pitches[0] is None:
        raise TelemetryError(f"{path} has no gimbal pitch: give the camera's pitch_deg")
    samples = [
        TelemetrySample(
            time_s=time_s,
            height_m=values["rel_alt"],
            heading_deg=heading,
            pitch_deg=float("nan") if pitch is None else pitch,
            roll_deg=values.get("gb_roll", 0.0),
        )
        for time_s, values, heading, pitch in zip(times, fields, headings, pitches, strict=True)
    ]
    focal = fields[0].get("focal_len")
    # Some cameras write tenths of a millimetre: 240 may be 24 mm, or a tele lens. Do not guess.
    focal_mm = focal if focal is not None and 0.0 < focal <= _LARGEST_PLAIN_FOCAL_MM else None
    return log_of(samples, str(path), frame_numbers=numbers, focal_length_35mm=focal_mm)


def _entries(text: str) -> Iterator[tuple[int, datetime, dict[str, float]]]:
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        count, moment = _FRAME_COUNT.search(block), _LOCAL_TIME.search(block)
        if count is None or moment is None:
            continue
        fields = {name.lower(): float(value) for name, value in _FIELD.findall(block)}
        fields = {name: value for name, value in fields.items() if np.isfinite(value)}
        if "rel_alt" not in fields:
            continue
        try:
            number = int(count.group(1))
            stamp = datetime.strptime(moment.group().replace(",", "."), "%Y-%m-%d %H:%M:%S.%f")
        except ValueError:  # such as a thirteenth month
            continue
        yield number, stamp, fields


def _headings(fields: list[dict[str, float]], path: Path) -> list[float]:
    if "gb_yaw" in fields[0]:
        return [values.get("gb_yaw", float("nan")) % 360.0 for values in fields]
    if "latitude" not in fields[0] or "longitude" not in fields[0]:
        raise TelemetryError(f"{path} has neither gimbal yaw nor a track to take a heading from")
    latitude = np.array([values.get("latitude", np.nan) for values in fields])
    longitude = np.array([values.get("longitude", np.nan) for values in fields])
    track = LocalFrame(float(latitude[0]), float(longitude[0])).to_local(latitude, longitude)
    headings: list[float] = []
    anchor = track[0]
    for point in track:
        step = point - anchor
        if np.hypot(*step) >= _COURSE_BASELINE_M:
            course = float(np.degrees(np.arctan2(step[0], step[1]))) % 360.0
            headings.append(course)
            anchor = point
        else:
            headings.append(headings[-1] if headings else float("nan"))
    first = next((course for course in headings if np.isfinite(course)), None)
    if first is None:
        raise TelemetryError(f"{path} has no gimbal yaw and its track never moves")
    return [course if np.isfinite(course) else first for course in headings]
