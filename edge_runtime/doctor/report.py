"""The findings as aligned lines, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_runtime import __version__
from edge_runtime.doctor.finding import Finding, Status

REPORT_SCHEMA_VERSION = 1
_COLOUR = {Status.OK: 32, Status.WARN: 33, Status.FAIL: 31, Status.SKIPPED: 90}


def has_failed(findings: Sequence[Finding]) -> bool:
    """Whether anything keeps the machine from flying."""
    return any(finding.status is Status.FAIL for finding in findings)


def report_text(findings: Sequence[Finding], *, coloured: bool) -> str:
    """One line a finding: status, name, what is so, and after an arrow what to do."""
    width = max(len(finding.name) for finding in findings)
    status_width = max(len(status.value) for status in Status)
    lines = []
    for finding in findings:
        status = f"{finding.status.value:<{status_width}}"
        if coloured:
            status = f"\033[{_COLOUR[finding.status]}m{status}\033[0m"
        remedy = f" -> {finding.what_to_do}" if finding.what_to_do else ""
        lines.append(f"{status}  {finding.name:<{width}}  {finding.what}{remedy}")
    return "\n".join(lines)


def report_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Plain JSON-ready values."""
    return {
        "schema_version": REPORT_SCHEMA_VERSION,
        "edge_runtime": __version__,
        "failed": has_failed(findings),
        "findings": [
            {
                "name": finding.name,
                "status": finding.status.value,
                "what": finding.what,
                "what_to_do": finding.what_to_do,
            }
            for finding in findings
        ],
    }
