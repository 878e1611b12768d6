"""Pictures that carry the moment of their exposure: 32 large blocks, black or white."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 320, 240
_COLUMNS, _ROWS = 8, 4
_TIME_BITS = 24
_TIMES = 1 << _TIME_BITS


def clock_picture(time_s: float) -> npt.NDArray[np.uint8]:
    """A grey picture (H, W) with a time in ms, modulo 2^24, and its check sum."""
    milliseconds = round(time_s * 1e3) % _TIMES
    word = milliseconds | _check_sum(milliseconds) << _TIME_BITS
    bits = np.array([word >> bit & 1 for bit in range(32)], np.uint8).reshape(_ROWS, _COLUMNS)
    blocks = np.kron(bits, np.ones((HEIGHT // _ROWS, WIDTH // _COLUMNS), np.uint8))
    return np.asarray(40 + 170 * blocks, np.uint8)


def shown_time_s(picture: npt.NDArray[np.uint8], near_s: float) -> float | None:
    """The time that a picture carries, of those nearest to `near_s`; None if it is torn."""
    height, width = picture.shape[:2]
    grey = picture.reshape(height, width, -1).mean(axis=2)
    rows = (np.arange(_ROWS) * 2 + 1) * height // (2 * _ROWS)
    columns = (np.arange(_COLUMNS) * 2 + 1) * width // (2 * _COLUMNS)
    bits = (grey[np.ix_(rows, columns)] > 125).ravel()
    word = sum(1 << bit for bit in range(32) if bits[bit])
    milliseconds, check_sum = word % _TIMES, word >> _TIME_BITS
    if check_sum != _check_sum(milliseconds):
        return None
    behind = (round(near_s * 1e3) - milliseconds + _TIMES // 2) % _TIMES - _TIMES // 2
    return near_s - behind * 1e-3


def _check_sum(milliseconds: int) -> int:
    return (milliseconds * 2654435761 >> 16) & 0xFF
