"""Flies `edge_runtime` live, in a process of its own, under a simulated aircraft."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.contract.fix import Fix
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.telemetry.truth import read_truth
from tests.simulated_aircraft import Shot, free_port

_START_S = 30.0
_SAME_EXPOSURE_S = 0.05


@dataclass
class LiveFlight:
    """A process that flies a camera's RTP stream and an autopilot's MAVLink."""

    folder: Path
    options: list[str]
    rtp_port: int = field(default_factory=free_port)
    mavlink_port: int = field(default_factory=free_port)
    monitor_port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    starts: int = 0

    @property
    def output(self) -> Path:
        """The flight directory of the latest start."""
        return self.folder / f"{self.starts}.flight"

    def start(self) -> None:
        """Start the process and wait until its live page answers."""
        self.starts += 1
        arguments = [
            "run",
            f"--source=rtp://:{self.rtp_port}",
            "--source.codec=mjpeg",
            f"--mavlink.connection=udpin:127.0.0.1:{self.mavlink_port}",
            f"--monitor.port={self.monitor_port}",
            f"--output={self.output}",
            *self.options,
        ]
        printed, errors = (self.folder / f"{self.starts}.{name}" for name in ("out", "err"))
        with printed.open("w") as out, errors.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge_runtime", *arguments],
                cwd=self.folder,
                stdout=out,
                stderr=err,
                env={**os.environ, **self.environment},
                text=True,
            )
        ends_s = time.monotonic() + _START_S
        while self.metrics() is None:
            if self.process.poll() is not None or time.monotonic() > ends_s:
                raise AssertionError(f"it did not start: {self.errors}")
            time.sleep(0.1)

    @property
    def errors(self) -> str:
        """What the latest start wrote to stderr until now."""
        return (self.folder / f"{self.starts}.err").read_text(encoding="utf-8")

    def metrics(self) -> dict[str, float] | None:
        """Its Prometheus metrics by name and labels; None where it does not answer."""
        try:
            address = f"http://127.0.0.1:{self.monitor_port}/metrics"
            with urllib.request.urlopen(address, timeout=2.0) as answer:
                text = answer.read().decode("utf-8")
        except OSError:
            return None
        lines = [line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, _, value in lines}

    def health(self) -> dict[str, Any]:
        """What /healthz answers."""
        address = f"http://127.0.0.1:{self.monitor_port}/healthz"
        try:
            with urllib.request.urlopen(address, timeout=2.0) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            return dict(json.load(error))

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60.0)

    def kill(self) -> None:
        """Kill it without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=10.0)


@dataclass(frozen=True)
class ScoredFix:
    """A fix beside what was true at its exposure."""

    fix: Fix
    shot: Shot | None
    """The frame that it is of; None for fixes without a view."""
    error_m: float | None
    """Of the published position; None if none was."""


def scored_fixes(folder: Path, shots: list[Shot], truth_csv: Path) -> list[ScoredFix]:
    """Every fix of a flight directory with its frame as the aircraft sent it."""
    truth = read_truth(truth_csv)
    exposed = np.array([shot.exposed_s for shot in shots])
    scored = []
    for fix in read_fixes(folder):
        nearest = int(np.abs(exposed - fix.time_s).argmin())
        is_of_frame = fix.frame and abs(exposed[nearest] - fix.time_s) < _SAME_EXPOSURE_S
        shot = shots[nearest] if is_of_frame else None
        error_m = None
        if fix.position is not None:
            # A fix without a view is of a moment between two frames.
            place = truth[shots[nearest].frame]
            frame = LocalFrame(place.drone_latitude_deg, place.drone_longitude_deg)
            apart = frame.to_local(fix.position.latitude_deg, fix.position.longitude_deg)
            error_m = float(np.hypot(*apart))
        scored.append(ScoredFix(fix, shot, error_m))
    return scored
