"""When a frame was exposed, on `time.monotonic()`, from a source's own time stamps."""

from __future__ import annotations

from collections import deque

_LEEWAY_S = 0.05
_FRAMES_REMEMBERED = 256
_LARGEST_JUMP_S = 1.0
_SETTLED_FRAMES = 5
_SETTLED_WITHIN_S = 0.02


class ExposureClock:
    """Stamps frames with their exposure.

    Stamps that are already on `time.monotonic()` are believed unless they lie in the future.
    Those of another zero are laid so that the promptest of the last frames came at once: what
    delayed all frames alike is left to `delay_s`, what delayed single ones is taken out.

    Args:
        is_monotonic: Whether stamps are on `time.monotonic()`.
        delay_s: From exposure to where the source stamps a frame.
    """

    def __init__(self, *, is_monotonic: bool, delay_s: float = 0.0) -> None:
        self._is_monotonic = is_monotonic
        self._delay_s = delay_s
        self._zeros_s: deque[float] = deque(maxlen=_FRAMES_REMEMBERED)
        self._frames_as_before = 0

    @property
    def is_settled(self) -> bool:
        """Whether stamps may be relied on: the backlog with which many streams begin is through."""
        return self._is_monotonic or self._frames_as_before >= _SETTLED_FRAMES

    def exposure_s(self, stamp_s: float | None, arrival_s: float) -> float:
        """When a frame was exposed that came at `arrival_s`; never after it came.

        Args:
            stamp_s: The source's own time of the frame; None where it has none.
            arrival_s: Seconds of `time.monotonic()`.
        """
        if stamp_s is None:
            self._frames_as_before += 1
            return arrival_s - self._delay_s
        if self._is_monotonic:
            believed = stamp_s <= arrival_s + _LEEWAY_S
            return (min(stamp_s, arrival_s) if believed else arrival_s) - self._delay_s
        zero_s = arrival_s - stamp_s
        if self._zeros_s and abs(zero_s - self._zeros_s[-1]) > _LARGEST_JUMP_S:
            self._zeros_s.clear()  # the source's clock was set anew
            self._frames_as_before = 0
        falls = not self._zeros_s or zero_s < min(self._zeros_s) - _SETTLED_WITHIN_S
        if not self.is_settled:
            self._frames_as_before = 0 if falls else self._frames_as_before + 1
        self._zeros_s.append(zero_s)
        return stamp_s + min(self._zeros_s) - self._delay_s
