"""Memory, disk and the wall clock."""

from __future__ import annotations

import re
from pathlib import Path

from edge_runtime.doctor.finding import Finding, fail, ok, skipped, warn
from edge_runtime.doctor.machine import Machine

STATE_FOLDER = "/var/lib/dmnil-edge"
"""Where the service keeps its flights."""
_MIB = 1 << 20
_ENOUGH_MEMORY_MIB, _LEAST_MEMORY_MIB = 1024, 300
_ENOUGH_DISK_MIB, _LEAST_DISK_MIB = 1024, 100


def check_memory(machine: Machine) -> Finding:
    """Memory that is free now; on a Jetson the GPU takes its share of the same."""
    name = "memory"
    values = dict(re.findall(r"^(\w+):\s+(\d+) kB", machine.text("/proc/meminfo") or "", re.M))
    if "MemAvailable" not in values or "MemTotal" not in values:
        return skipped(name, "this machine does not tell")
    free_mib, total_mib = (int(values[key]) // 1024 for key in ("MemAvailable", "MemTotal"))
    return _by_amount(
        name,
        f"{free_mib} of {total_mib} MiB free",
        free_mib,
        (_LEAST_MEMORY_MIB, _ENOUGH_MEMORY_MIB),
        "boot without the desktop: sudo systemctl set-default multi-user.target",
    )


def check_disk(machine: Machine) -> Finding:
    """Room for flight logs, where the service keeps them, else in the working directory."""
    state = machine.path(STATE_FOLDER)
    folder = state if state.is_dir() else Path.cwd()
    free_mib = machine.free_bytes(folder) // _MIB
    return _by_amount(
        "disk",
        f"{free_mib} MiB free for {folder}",
        free_mib,
        (_LEAST_DISK_MIB, _ENOUGH_DISK_MIB),
        "delete old flights",
    )


def check_wall_clock(machine: Machine) -> Finding:
    """Whether the wall clock is set; flying needs none, but file times and certificates do."""
    name = "wall clock"
    result = machine.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    answer = "" if result is None else result.output.strip()
    if answer == "yes":
        return ok(name, "synchronised")
    if answer == "no":
        return warn(
            name,
            "not synchronised, so it may jump; fixes go by the frames' and telemetry's own time",
            "connect to a network before take-off, or set it by GPS time (chrony)",
        )
    return skipped(name, "timedatectl does not tell")


def _by_amount(
    name: str, what: str, free_mib: int, least_and_enough_mib: tuple[int, int], remedy: str
) -> Finding:
    least_mib, enough_mib = least_and_enough_mib
    if free_mib < least_mib:
        return fail(name, what, remedy)
    if free_mib < enough_mib:
        return warn(name, what, remedy)
    return ok(name, what)
