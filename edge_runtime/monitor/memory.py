"""How much memory this process holds, as Linux counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class MemoryUse:
    """Bytes of this process at one moment."""

    resident: int
    """In memory, pages of mapped files included: those come and go with the disk cache."""
    anonymous: int
    """In memory and the process's own: what a leak makes grow."""
    peak_resident: int
    """Most that was ever resident."""


def memory_use(status: Path = _STATUS) -> MemoryUse | None:
    """What the process holds now; None where the system does not tell (not Linux)."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    kibibytes = {}
    for line in lines:
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdecimal():
            kibibytes[name] = int(words[0])
    resident = kibibytes.get("VmRSS")
    if resident is None:
        return None
    return MemoryUse(
        resident * 1024,
        kibibytes.get("RssAnon", resident) * 1024,
        kibibytes.get("VmHWM", resident) * 1024,
    )
