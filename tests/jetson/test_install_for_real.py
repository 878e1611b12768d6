"""install.sh below a root, without network: wheels from a folder, a real virtual environment."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.jetson.conftest import fabricate_jetson, install

OURS = [
    "numpy>=1.26",
    "opencv-python-headless>=4.8",
    "Pretended-Log>=6.0",
    "not-for-here>=1; python_version < '3'",
    "pretended-link>=2.4.41; extra == 'mavlink'",
    "pycuda>=2024.1; extra == 'jetson'",
    "torch>=2.7; extra == 'train'",
]
ON_THE_SHELF = [
    ("numpy", "1.26.4"),
    ("numpy", "2.1.0"),
    ("opencv_python_headless", "4.12.0"),
    ("Pretended_Log", "6.0.2"),
    ("pretended_link", "2.4.49"),
    ("pycuda", "2025.1"),
    ("cuda_bindings", "13.0.1"),
    ("torch", "2.7.0"),
]


def write_wheel(folder: Path, name: str, version: str, requires: Sequence[str] = ()) -> Path:
    """A wheel of one empty module; one with requirements has a command too, as ours."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {
        f"{name.lower()}_module.py": "def main():\n    print('flown')\n",
        f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {line}\n" for line in requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if requires:
        command = f"[console_scripts]\nedge_runtime = {name}_module:main\n"
        files[f"{info}/entry_points.txt"] = command
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, content)
    return path


def installed_packages(environment: Path) -> dict[str, str]:
    """Names and versions in the virtual environment itself, not the system's."""
    found = {}
    for metadata in environment.glob("lib/python3*/site-packages/*.dist-info/METADATA"):
        name, version = metadata.parent.name.removesuffix(".dist-info").split("-")
        found[name.lower()] = version
    return found


def snapshot(root: Path) -> dict[str, str]:
    """Hash of every file that is no cache or record of the installation's time."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A root installed into twice, and how often what it holds differed between."""
    folder = tmp_path_factory.mktemp("installed")
    for name, version in ON_THE_SHELF:
        write_wheel(folder / "shelf", name, version)
    wheel = write_wheel(folder, "dmnil_edge", "0.1.0", OURS)
    # A JetPack to come: any other would ask for another Python than this test's.
    root = fabricate_jetson(
        folder / "root", "unknown", files={"/dev/nvmap": "", "/dev/nvgpu/igpu0/ctrl": ""}
    )
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "shelf")}
    offline["PIP_CONFIG_FILE"] = os.devnull
    prints = []
    for _ in range(2):
        done = install(root, ["--wheel", str(wheel), "--prefix", "/opt/edge"], **offline)
        assert done.returncode == 0, done.stdout + done.stderr
        prints.append(done.stdout)
        prints.append(repr(snapshot(root)))
    return root, prints


def test_a_second_run_changes_nothing(installed: tuple[Path, list[str]]) -> None:
    _, (_, first, _, second) = installed
    assert first == second


def test_the_environment_has_our_requirements_but_not_pypis_opencv(
    installed: tuple[Path, list[str]],
) -> None:
    root, _ = installed
    found = installed_packages(root / "opt/edge/venv")
    for tool in ("pip", "setuptools", "numpy"):
        found.pop(tool, None)
    assert found == {
        "dmnil_edge": "0.1.0",
        "pretended_log": "6.0.2",
        "pretended_link": "2.4.49",
        "cuda_bindings": "13.0.1",
    }


def test_numpy_stays_in_the_major_version_of_the_systems_opencv(
    installed: tuple[Path, list[str]],
) -> None:
    root, _ = installed
    ask = "import importlib.metadata as m; print(m.version('numpy'))"
    python = root / "opt/edge/venv/bin/python"
    done = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1.")


def test_the_environment_sees_the_systems_packages(installed: tuple[Path, list[str]]) -> None:
    root, _ = installed
    settings = (root / "opt/edge/venv/pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in settings


def test_the_lists_are_left_beside_the_environment(installed: tuple[Path, list[str]]) -> None:
    root, _ = installed
    prefix = root / "opt/edge"
    requirements = (prefix / "requirements.txt").read_text().split()
    assert requirements == ["numpy>=1.26", "Pretended-Log>=6.0", "pretended-link>=2.4.41"]
    assert (prefix / "requirements-jetson.txt").read_text().split() == ["pycuda>=2024.1"]
    assert (prefix / "constraints.txt").read_text() == "numpy<2\n"


def test_the_command_runs(installed: tuple[Path, list[str]]) -> None:
    root, _ = installed
    command = root / "opt/edge/venv/bin/edge_runtime"
    done = subprocess.run([str(command)], capture_output=True, text=True, check=True)
    assert done.stdout == "flown\n"
    link = root / "usr/local/bin/edge_runtime"
    assert str(link.readlink()) == "/opt/edge/venv/bin/edge_runtime"


def test_the_unit_may_use_the_gpu_devices_that_are_here(
    installed: tuple[Path, list[str]],
) -> None:
    root, _ = installed
    units = root / "etc/systemd/system"
    assert (
        "ExecStart=/opt/edge/venv/bin/edge_runtime\n" in (units / "dmnil-edge.service").read_text()
    )
    devices = (units / "dmnil-edge.service.d/10-devices.conf").read_text().splitlines()
    assert devices[1:] == [
        "[Service]",
        "DeviceAllow=/dev/nvmap rw",
        "DeviceAllow=/dev/nvgpu/igpu0/ctrl rw",
    ]


def test_the_system_itself_is_left_alone_below_a_root(installed: tuple[Path, list[str]]) -> None:
    root, (first, *_) = installed
    for command in ("useradd", "usermod", "systemctl daemon-reload"):
        assert f"left out below DMNIL_ROOT: {command}" in first
    assert "dmnil" not in (root / "etc/passwd").read_text()
