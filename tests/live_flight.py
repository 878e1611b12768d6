"""Flies `edge_runtime` live, in a process of its own, under a simulated aircraft."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import numpy as np

from edge_runtime.contract.fix import Fix
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.outputs.fix_log import JSON_LINES_NAME, read_fixes
from edge_runtime.telemetry.truth import read_truth
from tests.free_ports import free_port
from tests.simulated_aircraft import Shot
from tests.waiting import PATIENCE_S, wait_until

_START_S = 2 * PATIENCE_S
_SAME_EXPOSURE_S = 0.1


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
    disk: Path | None = None
    """Where flights are recorded if not in the folder."""

    @property
    def output(self) -> Path:
        """The flight directory of the latest start."""
        return (self.disk or self.folder) / f"{self.starts}.flight"

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
        wait_until(lambda: self.has_ended or self.metrics_or_none(), _START_S, 0.1)
        if self.metrics_or_none() is None:
            raise AssertionError(f"it did not start: {self.errors}")

    @property
    def has_ended(self) -> bool:
        """Whether the process of the latest start is no more."""
        return self.process is None or self.process.poll() is not None

    def bytes_of_fixes(self) -> int:
        """Size of its record of fixes until now: it grows with every frame that is flown."""
        folders = self.output.parent.glob(f".{self.output.name}.*.part")
        files = [folder / JSON_LINES_NAME for folder in folders]
        return sum(file.stat().st_size for file in files if file.is_file())

    @property
    def errors(self) -> str:
        """What the latest start wrote to stderr until now."""
        return (self.folder / f"{self.starts}.err").read_text(encoding="utf-8")

    def metrics(self) -> dict[str, float]:
        """Its Prometheus metrics by name and labels."""
        found: list[dict[str, float]] = []

        def answers() -> bool:
            found.extend(filter(None, [self.metrics_or_none()]))
            return bool(found) or self.has_ended

        assert wait_until(answers, look_each_s=0.1), f"no answer: {self.errors[-2000:]}"
        assert found, f"it has ended: {self.errors[-2000:]}"
        return found[0]

    def metrics_or_none(self) -> dict[str, float] | None:
        """The same; None where it does not answer."""
        try:
            text = self._ask("metrics").decode("utf-8")
        except (OSError, HTTPException):
            return None
        lines = [line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, _, value in lines}

    def is_healthy(self) -> bool | None:
        """What /healthz answers; None where it does not answer."""
        try:
            answer = self._ask("healthz")
        except urllib.error.HTTPError as error:
            with error:
                answer = error.read()
        except (OSError, HTTPException):
            return None
        return bool(json.loads(answer)["healthy"])

    def _ask(self, path: str) -> bytes:
        address = f"http://127.0.0.1:{self.monitor_port}/{path}"
        with urllib.request.urlopen(address, timeout=10.0) as answer:
            return bytes(answer.read())

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=3 * PATIENCE_S)

    def kill(self) -> None:
        """Kill it without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)


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
