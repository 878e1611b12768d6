"""Which JetPack the machine runs, and whether this release flies on it."""

from __future__ import annotations

import re

from edge_runtime.doctor.finding import Finding, fail, ok, skipped, warn
from edge_runtime.doctor.machine import Machine

RELEASE_FILE = "/etc/nv_tegra_release"
NOT_A_JETSON = "not a Jetson"
OLDEST_JETSON_LINUX = (36, 4)
"""JetPack 6.1, the first whose TensorRT is 10: 6.0 carries 8.6."""
JETPACK_OF_JETSON_LINUX = {36: 6, 38: 7, 39: 7}
_RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+)(?:\.(\d+))?")

JetsonLinux = tuple[int, int, int]
"""Version of Jetson Linux (L4T), such as (36, 4, 3)."""


def parse_release(text: str) -> JetsonLinux | None:
    """The version in /etc/nv_tegra_release, as `# R36 (release), REVISION: 4.3, GCID: ...`."""
    match = _RELEASE.search(text)
    if match is None:
        return None
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


def check_jetpack(machine: Machine) -> Finding:
    """JetPack 6.1 or newer: older ones have a TensorRT that cannot build our graphs."""
    name = "jetpack"
    if not machine.is_jetson:
        return skipped(name, NOT_A_JETSON)
    release = parse_release(machine.text(RELEASE_FILE) or "")
    if release is None:
        return warn(
            name,
            f"{_model(machine)}, but {RELEASE_FILE} tells no version",
            f"in a container: docker run -v {RELEASE_FILE}:{RELEASE_FILE}:ro",
        )
    linux = f"Jetson Linux {'.'.join(map(str, release))}"
    if release[:2] < OLDEST_JETSON_LINUX:
        return fail(
            name,
            f"{linux} on {_model(machine)}: its TensorRT is older than 10",
            "flash JetPack 6.1 or newer",
        )
    jetpack = JETPACK_OF_JETSON_LINUX.get(release[0])
    if jetpack is None:
        return warn(
            name,
            f"{linux} on {_model(machine)} is not known to this release",
            "JetPack 6.1 to 7.2 are; watch the lines below",
        )
    return ok(name, f"JetPack {jetpack}, {linux} on {_model(machine)}")


def _model(machine: Machine) -> str:
    return (machine.text("/proc/device-tree/model") or "a Jetson").strip("\0\n ")
