"""Durations as a person says them."""

from __future__ import annotations

_MINUTE_S = 60
_HOUR_S = 3600


def spoken_duration(duration_s: float) -> str:
    """Such as 0.4 s, 41 s, 2 min 05 s, 3 h 07 min."""
    if duration_s < 0.95:
        return f"{duration_s:.1f} s"
    seconds = round(duration_s)
    if seconds < _MINUTE_S:
        return f"{seconds} s"
    if seconds < _HOUR_S:
        return f"{seconds // _MINUTE_S} min {seconds % _MINUTE_S:02d} s"
    minutes = round(duration_s / _MINUTE_S)
    return f"{minutes // _MINUTE_S} h {minutes % _MINUTE_S:02d} min"
