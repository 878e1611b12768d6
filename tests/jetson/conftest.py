"""Fabricated Jetsons for the installer: a root with release file, accounts, packages and Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.fabricated_machine import RELEASES, write_tree

JETSON_FOLDER = Path(__file__).parents[2] / "jetson"
INSTALLER = JETSON_FOLDER / "install.sh"
GSTREAMER = dict.fromkeys(
    (
        "python3-gi",
        "gir1.2-gst-plugins-base-1.0",
        "gstreamer1.0-plugins-good",
        "gstreamer1.0-plugins-bad",
    ),
    "1.0",
)
PACKAGES = {
    "jetpack 5.1": {"python3-libnvinfer": "8.5.2-1+cuda11.4"},
    "jetpack 6.0": {"python3-libnvinfer": "8.6.2.3-1+cuda12.2"},
    "jetpack 6.2": {
        "python3-libnvinfer": "10.3.0.30-1+cuda12.5",
        "python3-venv": "3.10.6-1",
        **GSTREAMER,
    },
    "jetpack 7.0": {
        "python3-libnvinfer": "10.13.2.6-1+cuda13.0",
        "python3-venv": "3.12.3-0",
        **GSTREAMER,
    },
    "jetpack 7.2": {
        "python3-libnvinfer": "10.16.2.10-1+cuda13.2",
        "python3-venv": "3.12.3-0",
        **GSTREAMER,
    },
    "unknown": {
        "python3-libnvinfer": "10.20.0-1+cuda14.0",
        "python3-venv": "3.14.0-1",
        **GSTREAMER,
    },
}
SYSTEM_PYTHON = {"jetpack 5.1": "3.8", "jetpack 6.0": "3.10", "jetpack 6.2": "3.10"}
_NEWER_PYTHON = "3.12"
_STUB_PYTHON = """#!/bin/sh
# Plays the system's Python: what it has is given, everything else is done by the real one.
case "$*" in
    *version_info*) echo '{version}' ;;
    *'import cv2'*) exit {opencv_status} ;;
    *'import numpy'*) echo {numpy_major} ;;
    *) exec '{real}' "$@" ;;
esac
"""

Install = Callable[..., "subprocess.CompletedProcess[str]"]


def package_database(packages: Mapping[str, str]) -> str:
    """What dpkg keeps about installed packages."""
    return "".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: arm64\n"
        f"Maintainer: nobody\nVersion: {version}\nDescription: {name}\n\n"
        for name, version in packages.items()
    )


def fabricate_jetson(
    root: Path,
    release: str = "jetpack 6.2",
    *,
    python: str | None = None,
    opencv: bool = True,
    numpy_major: int = 1,
    packages: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> Path:
    """A root that the installer takes for that Jetson's; returns it."""
    found = PACKAGES[release] if packages is None else packages
    write_tree(
        root,
        {
            "/etc/nv_tegra_release": f"{RELEASES[release]}\n# KERNEL_VARIANT: oot\n",
            "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\n",
            "/etc/group": "root:x:0:\nvideo:x:44:\ndialout:x:20:\nrender:x:104:\n",
            "/var/lib/dpkg/status": package_database(found),
            "/var/lib/dpkg/info/format": "1\n",
            "/usr/local/bin/README": "",
            "/usr/bin/python3": _STUB_PYTHON.format(
                version=python or SYSTEM_PYTHON.get(release, _NEWER_PYTHON),
                opencv_status=0 if opencv else 1,
                numpy_major=numpy_major,
                real=sys.executable,
            ),
            **(files or {}),
        },
    )
    (root / "usr/bin/python3").chmod(0o755)
    return root


def install(
    root: Path | None, arguments: Sequence[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the installer with a root to take for /."""
    return subprocess.run(
        ["bash", str(INSTALLER), *arguments],
        env={**os.environ, **({} if root is None else {"DMNIL_ROOT": str(root)}), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A file that is called a wheel."""
    path = tmp_path / "dmnil_edge-0.1.0-py3-none-any.whl"
    path.touch()
    return path


@pytest.fixture(autouse=True)
def _needs_debian_tools() -> None:
    for tool in ("bash", "dpkg-query"):
        if shutil.which(tool) is None:
            pytest.skip(f"this machine has no {tool}")
