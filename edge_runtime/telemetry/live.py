"""What a live source of telemetry is."""

from __future__ import annotations

from typing import Protocol

from edge_runtime.telemetry.log import TelemetrySample


class LiveTelemetry(Protocol):
    """Keeps the last seconds of telemetry and tells what held when a frame was exposed."""

    def at(self, time_s: float) -> TelemetrySample | None:
        """Telemetry interpolated to a moment on `time.monotonic()`; None where it has none.

        The newest values may be held for a short while beyond their time, never for long.
        """
        ...

    def age_s(self, now_s: float) -> float:
        """Seconds since the last attitude came; infinite before the first."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...
