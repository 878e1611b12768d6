"""Print what pip must install beside JetPack's own packages, one requirement a line.

    python pip_requirements.py [--extra-alone] [EXTRA ...]

The list is the installed package's own metadata, less what JetPack brings better: its OpenCV
reads GStreamer pipelines, and the one from PyPI would hide it. Needs dmnil-edge installed with
--no-deps, and nothing else. With --extra-alone only what the extras add.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.metadata import requires

# Every virtual environment has pip; `packaging` itself is not among our requirements.
from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

PACKAGE = "dmnil-edge"
FROM_JETPACK = frozenset({"opencv-python-headless"})
_EXTRA_ALONE_FLAG = "--extra-alone"


def pip_requirements(declared: Iterable[str], extras: Iterable[str]) -> list[str]:
    """Requirements that hold here with any of the extras ("" is none), without their markers."""
    chosen = []
    for line in declared:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        if canonicalize_name(requirement.name) not in FROM_JETPACK:
            requirement.marker = None
            chosen.append(str(requirement))
    return chosen


def main(arguments: list[str]) -> None:
    """Write the list to standard output."""
    declared = requires(PACKAGE) or []
    extras = [argument for argument in arguments if argument != _EXTRA_ALONE_FLAG]
    chosen = pip_requirements(declared, ["", *extras])
    if _EXTRA_ALONE_FLAG in arguments:
        without = pip_requirements(declared, [""])
        chosen = [line for line in chosen if line not in without]
    sys.stdout.writelines(f"{line}\n" for line in chosen)


if __name__ == "__main__":
    main(sys.argv[1:])
