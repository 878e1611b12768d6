"""Trees of files that look like a Jetson's to whoever reads them, and commands that answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_runtime.doctor.machine import CommandResult, Machine

RELEASES = {
    "jetpack 5.1": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64",
    "jetpack 6.0": "# R36 (release), REVISION: 3.0, GCID: 36106755, BOARD: generic, EABI: aarch64",
    "jetpack 6.2": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64",
    "jetpack 7.0": "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64",
    "jetpack 7.2": "# R39 (release), REVISION: 2.1, GCID: 46758480, BOARD: generic, EABI: aarch64",
    "unknown": "# R40 (release), REVISION: 1.0, GCID: 1, BOARD: generic, EABI: aarch64",
}
"""First lines of /etc/nv_tegra_release."""
MODEL = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0"


def write_tree(root: Path, files: Mapping[str, str]) -> Path:
    """Write files by absolute name below a root; returns the root."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def jetson_files(release: str = "jetpack 6.2") -> dict[str, str]:
    """The files by which a Jetson is known."""
    return {
        "/etc/nv_tegra_release": f"{RELEASES[release]}\n# KERNEL_VARIANT: oot\n",
        "/proc/device-tree/model": MODEL,
    }


class Commands:
    """Answers the commands that it knows by their last words, as a machine's runner."""

    def __init__(self, answers: Mapping[str, CommandResult]) -> None:
        self.answers = dict(answers)

    def __call__(self, command: Sequence[str]) -> CommandResult | None:
        line = " ".join(command)
        for words, answer in self.answers.items():
            if line.endswith(words):
                return answer
        return None


def machine(
    root: Path, files: Mapping[str, str], answers: Mapping[str, CommandResult] | None = None
) -> Machine:
    """A machine of these files, where nothing runs but the commands that are answered."""
    return Machine(write_tree(root, files), Commands(answers or {}))
