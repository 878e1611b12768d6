"""The machine under examination, as files below a root and commands that print.

Tests put a fabricated tree and a table of commands in its place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMED_OUT_STATUS = 124
_COMMAND_S = 60.0


@dataclass(frozen=True)
class CommandResult:
    """How a command ended: its exit status, negative where a signal ended it, and its output."""

    status: int
    output: str
    errors: str = ""


Runner = Callable[[Sequence[str]], CommandResult | None]
"""Runs a command to its end; None where there is no such command."""


def run_command(command: Sequence[str]) -> CommandResult | None:
    """Run a command without input, for a minute at most."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_S,
            check=False,
        )
    except OSError:
        return None
    except subprocess.TimeoutExpired:
        return CommandResult(TIMED_OUT_STATUS, "", f"still running after {_COMMAND_S:.0f} s")
    return CommandResult(done.returncode, done.stdout, done.stderr)


def free_bytes_on_disk(path: Path) -> int:
    """Bytes that this user may still write on a path's file system."""
    return shutil.disk_usage(path).free


@dataclass(frozen=True)
class Machine:
    """Where the doctor looks: /proc, /sys, /etc and /dev below `root`, and commands."""

    root: Path = Path("/")
    run: Runner = run_command
    free_bytes: Callable[[Path], int] = free_bytes_on_disk

    def path(self, absolute: str) -> Path:
        """An absolute path of the machine, below its root."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """A file's text; None where it is absent or cannot be read, as sensors that are off."""
        try:
            return self.path(absolute).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def number(self, absolute: str) -> int | None:
        """The whole number that a file of /sys or /proc holds."""
        try:
            return int((self.text(absolute) or "").strip())
        except ValueError:
            return None

    def paths(self, pattern: str) -> list[str]:
        """Absolute paths of the machine that match a pattern, sorted."""
        found = self.root.glob(pattern.lstrip("/"))
        return sorted(f"/{path.relative_to(self.root).as_posix()}" for path in found)

    def is_open_to_us(self, absolute: str) -> bool:
        """Whether this user may read and write a device."""
        return os.access(self.path(absolute), os.R_OK | os.W_OK)

    @property
    def is_jetson(self) -> bool:
        """Whether NVIDIA's Jetson Linux runs here."""
        model = self.text("/proc/device-tree/model") or ""
        return self.path("/etc/nv_tegra_release").exists() or "Jetson" in model
