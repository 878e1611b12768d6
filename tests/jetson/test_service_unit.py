"""The systemd unit, and the settings that it starts with."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.cli import main
from tests.jetson.conftest import JETSON_FOLDER

UNIT = JETSON_FOLDER / "dmnil-edge.service"
SETTINGS = JETSON_FOLDER / "edge.yaml"


def values_of(key: str) -> list[str]:
    """Every value of a key of the unit."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    analyzer = shutil.which("systemd-analyze")
    if analyzer is None:
        pytest.skip("this machine has no systemd-analyze")
    command = values_of("ExecStart")[0].split()[0]
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text(encoding="utf-8").replace(command, sys.executable))
    verified = [analyzer, "verify", "--man=no", str(unit)]
    done = subprocess.run(verified, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_starts_a_flight_that_the_command_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert values_of("ExecStart") == ["/opt/dmnil-edge/venv/bin/edge_runtime"]
    assert values_of("WorkingDirectory") == ["/var/lib/dmnil-edge"]
    (tmp_path / "edge.yaml").symlink_to(SETTINGS)
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    error = capsys.readouterr().err
    assert "/var/lib/dmnil-edge/region.encoder: no such directory" in error
    assert [path.name for path in tmp_path.iterdir()] == ["edge.yaml"]


def test_what_the_settings_suggest_is_understood_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = SETTINGS.read_text(encoding="utf-8").splitlines()
    suggested = tmp_path / "edge.yaml"
    first, last = (
        next(number for number, line in enumerate(lines) if line.startswith(start))
        for start in ("# outputs:", "# A camera_info")
    )
    # A suggestion is a key and its value; what else stands there is prose.
    lines[first:] = [line[2:] for line in lines[first:last] if re.match(r"# +\w+:", line)]
    suggested.write_text("\n".join(lines), encoding="utf-8")
    assert main(["run", "--config", str(suggested), "-o", str(tmp_path / "x.flight")]) == 2
    assert "region.encoder: no such directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("User", "dmnil"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("DevicePolicy", "closed"),
        ("RestrictAddressFamilies", "AF_INET AF_UNIX AF_NETLINK"),
    ],
)
def test_the_service_is_confined(key: str, value: str) -> None:
    assert values_of(key) == [value]


def test_everything_that_the_service_writes_has_a_folder_of_its_own() -> None:
    for key in ("StateDirectory", "CacheDirectory", "RuntimeDirectory", "LogsDirectory"):
        assert values_of(key) == ["dmnil-edge"]
    (caches,) = values_of("Environment")
    assert all("=/var/cache/dmnil-edge" in variable for variable in caches.split())
