"""What shows that a camera or stream works no longer, although nothing says so."""

from __future__ import annotations

from edge_runtime.sources.capture import CapturedPicture, CaptureLostError
from edge_runtime.sources.config import SourceConfig


class CaptureWatch:
    """Watches for silence, for pictures that repeat, and for a growing lag.

    A camera's noise never repeats: the same bytes twice are an old picture, and an old picture
    that passes for a new one leads to a position where the drone is no longer.

    Args:
        now_s: Seconds of `time.monotonic()`, as everywhere here.
    """

    def __init__(self, config: SourceConfig, now_s: float) -> None:
        self._config = config
        # Kept over connections: a camera that is still stuck when it is opened again shows it.
        self._last: bytes | None = None
        self.opened(now_s)

    def opened(self, now_s: float) -> None:
        """The camera or stream was opened, once more perhaps."""
        self._has_come = False
        self._last_s = now_s
        self._changed_s = now_s
        self._prompt_s = now_s

    def silence(self, now_s: float) -> str:
        """What to say if no frame has come for too long; empty while that may be."""
        limit_s = self._config.stall_s if self._has_come else self._config.open_s
        if now_s - self._last_s <= limit_s:
            return ""
        return f"no frame for {now_s - self._last_s:.1f} s"

    def is_new(self, picture: CapturedPicture) -> bool:
        """Whether a picture that came differs from the last one."""
        now_s = picture.arrival_s
        # bytes compare fast: two pictures of a camera differ in their first rows.
        is_new = not self._config.stuck_s or picture.data != self._last
        self._has_come = True
        self._last_s = now_s
        self._last = picture.data
        if is_new:
            self._changed_s = now_s
        return is_new

    def stuck(self, now_s: float) -> str:
        """What to say if the picture has repeated for too long; empty while it has not.

        Raises:
            CaptureLostError: If it has for so long that only opening again may help.
        """
        repeated_s = now_s - self._changed_s
        if not self._config.stuck_s or repeated_s < self._config.stuck_s:
            return ""
        text = f"the picture has not changed for {repeated_s:.1f} s: the camera is stuck"
        if repeated_s > self._config.stuck_s + self._config.stall_s:
            raise CaptureLostError(text)
        return text

    def require_prompt(self, picture: CapturedPicture) -> None:
        """Look at how late a picture came.

        Raises:
            CaptureLostError: If pictures have long been coming too late.
        """
        age_s = picture.arrival_s - picture.time_s - self._config.delay_s
        if age_s <= self._config.longest_age_s:
            self._prompt_s = picture.arrival_s
        elif picture.arrival_s - self._prompt_s > self._config.stall_s:
            raise CaptureLostError(f"frames come {age_s:.1f} s late")
