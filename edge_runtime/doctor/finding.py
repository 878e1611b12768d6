"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Status(Enum):
    """How a check went; only FAIL keeps a machine from flying."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the report: what is so, and what to do about it where something is wrong."""

    name: str
    status: Status
    what: str
    what_to_do: str = ""

    def __post_init__(self) -> None:
        if bool(self.what_to_do) != (self.status in (Status.WARN, Status.FAIL)):
            raise ValueError(f"{self.name}: a warning or failure, and only these, say what to do")


def ok(name: str, what: str) -> Finding:
    """A check that went well."""
    return Finding(name, Status.OK, what)


def warn(name: str, what: str, what_to_do: str) -> Finding:
    """A check that found what may hurt a flight."""
    return Finding(name, Status.WARN, what, what_to_do)


def fail(name: str, what: str, what_to_do: str) -> Finding:
    """A check that found what keeps the machine from flying."""
    return Finding(name, Status.FAIL, what, what_to_do)


def skipped(name: str, what: str) -> Finding:
    """A check that does not apply here, and why."""
    return Finding(name, Status.SKIPPED, what)
