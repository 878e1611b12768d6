"""What the pilot reads: a line when the state changes, no more often than is readable."""

from __future__ import annotations

from edge_runtime.contract.fix import Fix, IntegrityState

_SEVERITY = {  # MAV_SEVERITY: 3 error, 4 warning, 5 notice, 6 info
    IntegrityState.INIT: 6,
    IntegrityState.ACQUIRING: 6,
    IntegrityState.TRACKING: 6,
    IntegrityState.COASTING: 5,
    IntegrityState.LOST: 4,
    IntegrityState.OUT_OF_MAP: 4,
    IntegrityState.FAULT: 3,
}
NOTICE = 5
WARNING = 4


class StatusLine:
    """Turns fixes into STATUSTEXT: on a change of state, of its reset counter or of a fault.

    Changes within the interval are not queued: when it is over, the newest is told.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._told_s = float("-inf")
        self._told: object = None
        self._waiting: tuple[object, int, str] | None = None
        self._notices: list[tuple[int, str]] = []

    def say(self, severity: int, text: str) -> None:
        """Tell this before anything else; what is already waiting to be told is not repeated."""
        if (severity, text) not in self._notices and len(self._notices) < 4:
            self._notices.append((severity, text))

    def see(self, fix: Fix) -> None:
        """Take a fix into account."""
        what = (fix.state, fix.reset_counter, bool(fix.engine_fault))
        changed = what != self._told
        self._waiting = (what, _severity(fix), _text(fix)) if changed else None

    def due(self, now_s: float) -> tuple[int, str] | None:
        """Severity and text to send now, if any."""
        if now_s - self._told_s < self._interval_s:
            return None
        if self._notices:
            self._told_s = now_s
            return self._notices.pop(0)
        if self._waiting is None:
            return None
        self._told, severity, text = self._waiting
        self._waiting = None
        self._told_s = now_s
        return severity, text


def _severity(fix: Fix) -> int:
    return 3 if fix.engine_fault else _SEVERITY[fix.state]


def _text(fix: Fix) -> str:
    if fix.engine_fault:
        return f"Vision engine fault: {fix.engine_fault}"
    text = f"Vision {fix.state.value}"
    if fix.position is not None and fix.state.publishes:
        text += f" +-{fix.position.radius95_m:.0f} m" if fix.position.radius95_m < 1e6 else ""
        return text + (f", reset {fix.reset_counter}" if fix.reset_counter else "")
    return f"{text}: {fix.reason}" if fix.reason else text
