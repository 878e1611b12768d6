"""NMEA 0183 sentences of a fix: GGA, RMC and GST (NMEA 0183 version 3 and later)."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

from edge_runtime.contract.fix import Fix, IntegrityState, Position, Velocity
from edge_runtime.outputs.publication import (
    deviation_m,
    longitude_within_180,
    stated_covariance_m2,
)

_KNOTS_PER_M_S = 3600.0 / 1852.0
_MINUTE_PARTS = 100_000
_LARGEST_M = 99_999.9
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def sentences(
    fix: Fix, position: Position | None, utc_s: float | None, talker: str
) -> list[tuple[str, bytes]]:
    """Names and whole lines of a fix.

    GGA's quality and RMC's mode are 1 and A while tracking, 6 and E (dead reckoning) while
    coasting, 0 and N without a position. What is not known is empty: altitude, satellites'
    dilution, speed and course without the filter's velocity, time while the wall clock was
    never set.

    Args:
        position: What may leave of the fix's position, None for none.
        utc_s: UTC of the exposure, seconds since 1970.
    """
    moment = None if utc_s is None else _EPOCH + timedelta(milliseconds=round(utc_s * 1e3))
    coasting = fix.state is IntegrityState.COASTING
    lines = [("GGA", _gga(position, moment, coasting=coasting))]
    lines.append(("RMC", _rmc(position, fix.velocity, moment, coasting=coasting)))
    if position is not None:
        lines.append(("GST", _gst(position, moment)))
    return [(name, sentence(f"{talker}{name},{body}")) for name, body in lines]


def sentence(body: str) -> bytes:
    """A line with its start, checksum (the exclusive or of the body's bytes) and end."""
    checksum = 0
    for byte in body.encode("ascii"):
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode("ascii")


def _gga(position: Position | None, moment: datetime | None, *, coasting: bool) -> str:
    if position is None:
        return f"{_time(moment)},,,,,0,00,,,M,,M,,"
    quality = "6" if coasting else "1"
    return f"{_time(moment)},{_place(position)},{quality},00,,,M,,M,,"


def _rmc(
    position: Position | None,
    velocity: Velocity | None,
    moment: datetime | None,
    *,
    coasting: bool,
) -> str:
    date = "" if moment is None else moment.strftime("%d%m%y")
    if position is None:
        return f"{_time(moment)},V,,,,,,,{date},,,N"
    mode = "E" if coasting else "A"
    return f"{_time(moment)},A,{_place(position)},{_motion(velocity)},{date},,,{mode}"


def _gst(position: Position, moment: datetime | None) -> str:
    """Standard deviations; the ellipse is the filter's, grown to what the fix states."""
    east, north, both = stated_covariance_m2(position, deviation_m(position))
    mean, half = (east + north) / 2.0, math.hypot((east - north) / 2.0, both)
    # Clockwise from north: half the angle of the matrix's deviator.
    orientation_deg = math.degrees(math.atan2(2.0 * both, north - east)) / 2.0 % 180.0
    values = (
        math.sqrt(mean + half),
        math.sqrt(max(mean - half, 0.0)),
        orientation_deg,
        math.sqrt(north),
        math.sqrt(east),
    )
    return f"{_time(moment)},,{','.join(_metres(value) for value in values)},"


def _place(position: Position) -> str:
    longitude_deg = longitude_within_180(position.longitude_deg)
    latitude = _degrees_minutes(position.latitude_deg, 2)
    longitude = _degrees_minutes(longitude_deg, 3)
    north_south = "S" if position.latitude_deg < 0.0 else "N"
    east_west = "W" if longitude_deg < 0.0 else "E"
    return f"{latitude},{north_south},{longitude},{east_west}"


def _degrees_minutes(angle_deg: float, digits: int) -> str:
    """ddmm.mmmmm in whole parts of a minute, so that 59.999999 never prints as 60."""
    parts = round(abs(angle_deg) * 60.0 * _MINUTE_PARTS)
    minutes, part = divmod(parts, _MINUTE_PARTS)
    degrees, minutes = divmod(minutes, 60)
    return f"{degrees:0{digits}d}{minutes:02d}.{part:05d}"


def _motion(velocity: Velocity | None) -> str:
    if velocity is None:
        return ","
    speed_m_s = math.hypot(velocity.east_m_s, velocity.north_m_s)
    if not math.isfinite(speed_m_s):
        return ","
    course_deg = math.degrees(math.atan2(velocity.east_m_s, velocity.north_m_s)) % 360.0
    course = f"{course_deg:.1f}"
    speed = min(speed_m_s * _KNOTS_PER_M_S, 9999.9)
    return f"{speed:.2f},{'0.0' if course == '360.0' else course}"


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%H%M%S}.{moment.microsecond // 1000:03d}"


def _metres(value: float) -> str:
    return f"{min(value, _LARGEST_M):.1f}"
