"""Runs a probe in a process of its own and reads what it said."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass
from typing import Any

from edge_runtime.doctor.machine import Machine

PROBE_COMMAND = (sys.executable, "-m", "edge_runtime.doctor.probes")


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found, or why it found nothing."""

    found: dict[str, Any] | None
    reason: str = ""


def probe(machine: Machine, name: str) -> ProbeResult:
    """Run the probe of that name; a crash is a reason like any other."""
    result = machine.run([*PROBE_COMMAND, name])
    if result is None:
        return ProbeResult(None, f"{sys.executable} cannot be run")
    if result.status < 0:
        return ProbeResult(None, f"it crashed ({_signal_name(-result.status)})")
    for line in reversed(result.output.splitlines()):  # a library may print before and after
        if result.status == 0 and line.startswith("{"):
            return ProbeResult(json.loads(line))
    errors = result.errors.strip().splitlines()
    return ProbeResult(None, errors[-1] if errors else f"it ended with status {result.status}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
