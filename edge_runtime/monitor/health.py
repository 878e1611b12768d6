"""Whether the runtime does its work: what `/healthz` answers.

Healthy means that frames and telemetry arrive, the engine computes what it should and the flight
loop turns. It does not mean that there is a position: a drone that is LOST has a healthy runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_runtime.contract.fix import IntegrityState
from edge_runtime.monitor.config import MonitorConfig
from edge_runtime.monitor.tally import Tally


@dataclass(frozen=True)
class Health:
    """Healthy if nothing is wrong."""

    wrong: dict[str, str]
    """What is wrong, by what it concerns: frames, telemetry, engine or loop."""

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values."""
        return {"healthy": self.is_healthy, "wrong": self.wrong}


def health_of(tally: Tally, config: MonitorConfig, now_s: float) -> Health:
    """Judge a flight at a moment on `time.monotonic()`."""
    wrong: dict[str, str] = {}
    handover = tally.handover
    alive_at_s = handover.alive_at_s
    if alive_at_s is None:
        wrong["loop"] = "the flight loop has not begun"
    elif now_s - alive_at_s > config.loop_limit_s:
        wrong["loop"] = f"the flight loop gave no sign of life for {now_s - alive_at_s:.1f} s"
    frame = handover.frame
    source_fault = str(tally.counters.get("source_fault", ""))
    because = f": {source_fault}" if source_fault else ""
    if frame is None:
        wrong["frames"] = f"no frame has come yet{because}"
    elif now_s - frame.at_s > config.frame_limit_s:
        wrong["frames"] = f"no frame for {now_s - frame.at_s:.1f} s{because}"
    age_s = tally.telemetry_age_s(now_s)
    if age_s is None or age_s == float("inf"):
        wrong["telemetry"] = "no telemetry has come yet"
    elif age_s > config.telemetry_limit_s:
        wrong["telemetry"] = f"no telemetry for {age_s:.1f} s"
    fix = tally.fix
    if fix is not None and fix.engine_fault:
        wrong["engine"] = fix.engine_fault
    elif fix is not None and fix.state is IntegrityState.FAULT:
        wrong["engine"] = fix.reason
    return Health(wrong)
