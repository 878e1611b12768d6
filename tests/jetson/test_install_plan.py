"""What install.sh finds on fabricated machines, and what it would do: --dry-run."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.doctor.finding import Status
from edge_runtime.doctor.jetpack import check_jetpack
from edge_runtime.doctor.machine import Machine
from tests.jetson.conftest import fabricate_jetson, install


def planned(root: Path, wheel: Path, *more: str) -> list[str]:
    """The commands that the installer would run, without the root's own path."""
    done = install(root, ["--wheel", str(wheel), "--dry-run", *more])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [line[2:].replace(str(root), "") for line in lines if line.startswith("+ ")]


def refusal(root: Path | None, wheel: Path, *more: str) -> str:
    """The one line with which the installer refuses."""
    done = install(root, ["--wheel", str(wheel), "--dry-run", *more])
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("install.sh: error: ")
    assert "+ " not in done.stdout
    return done.stderr


def snapshot(root: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_jetson_with_jetpack_6_2_gets_everything_in_order(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root")
    environment = "/opt/dmnil-edge/venv"
    pip = f"{environment}/bin/python -m pip --disable-pip-version-check install"
    constrained = "--constraint /opt/dmnil-edge/constraints.txt"
    folder = "/etc/dmnil-edge"
    assert planned(root, wheel) == [
        "useradd --system --user-group --home-dir /var/lib/dmnil-edge "
        "--shell /usr/sbin/nologin dmnil",
        "usermod --append --groups video dmnil",
        "usermod --append --groups dialout dmnil",
        "usermod --append --groups render dmnil",
        f"/usr/bin/python3 -m venv --system-site-packages --clear {environment}",
        f"{pip} --no-deps --force-reinstall {wheel}",
        f"{environment}/bin/python {script()} mavlink search signing "
        ">/opt/dmnil-edge/requirements.txt",
        "write /opt/dmnil-edge/constraints.txt",
        f"{pip} --requirement /opt/dmnil-edge/requirements.txt {constrained}",
        f"{environment}/bin/python {script()} --extra-alone jetson "
        ">/opt/dmnil-edge/requirements-jetson.txt",
        f"{pip} {constrained} cuda-bindings\\>=12.6\\,\\<13",
        f"install -D -m 0644 {script().parent}/edge.yaml {folder}/edge.yaml",
        f"install -D -m 0644 {script().parent}/environment {folder}/environment",
        "install -d /var/lib/dmnil-edge",
        "ln -sfn /etc/dmnil-edge/edge.yaml /var/lib/dmnil-edge/edge.yaml",
        "write /etc/systemd/system/dmnil-edge.service",
        "write /etc/systemd/system/dmnil-edge.service.d/10-devices.conf",
        "systemctl daemon-reload",
        f"ln -sfn {environment}/bin/edge_runtime /usr/local/bin/edge_runtime",
        f"{environment}/bin/edge_runtime doctor",
    ]


def script() -> Path:
    return Path(__file__).parents[2] / "jetson/pip_requirements.py"


def test_a_dry_run_changes_nothing(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root")
    before = snapshot(root)
    planned(root, wheel)
    assert snapshot(root) == before


def test_the_service_is_neither_enabled_nor_started(tmp_path: Path, wheel: Path) -> None:
    plan = planned(fabricate_jetson(tmp_path / "root"), wheel)
    assert [line for line in plan if "systemctl" in line] == ["systemctl daemon-reload"]


def test_what_is_missing_of_the_system_is_installed_first(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root", opencv=False, packages={})
    assert planned(root, wheel)[:2] == [
        "apt-get update",
        "env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "
        "python3-venv python3-libnvinfer python3-gi gir1.2-gst-plugins-base-1.0 "
        "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad nvidia-opencv",
    ]


def test_a_removed_package_counts_as_missing(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root")
    database = root / "var/lib/dpkg/status"
    removed = database.read_text().replace("install ok installed", "deinstall ok config-files", 1)
    database.write_text(removed)
    assert planned(root, wheel)[1].endswith("python3-libnvinfer")


def test_with_cudas_compiler_pycuda_is_built(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root", files={"/usr/local/cuda/bin/nvcc": "#!/bin/sh\n"})
    (root / "usr/local/cuda/bin/nvcc").chmod(0o755)
    plan = "\n".join(planned(root, wheel))
    assert "CUDA_ROOT=/usr/local/cuda" in plan
    assert "--requirement /opt/dmnil-edge/requirements-jetson.txt" in plan
    assert "cuda-bindings" not in plan


def test_an_account_that_exists_is_not_made_again(tmp_path: Path, wheel: Path) -> None:
    accounts = "dmnil:x:998:998::/var/lib/dmnil-edge:/usr/sbin/nologin\n"
    root = fabricate_jetson(tmp_path / "root", files={"/etc/passwd": accounts})
    assert "useradd" not in "\n".join(planned(root, wheel))


def test_a_group_that_this_jetson_lacks_is_left_out(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root", files={"/etc/group": "video:x:44:\n"})
    assert [line for line in planned(root, wheel) if "usermod" in line] == [
        "usermod --append --groups video dmnil"
    ]


def test_settings_of_the_owner_are_kept(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root", files={"/etc/dmnil-edge/edge.yaml": "map: mine\n"})
    installed = [line for line in planned(root, wheel) if line.startswith("install -D")]
    assert [line.rpartition("/")[2] for line in installed] == ["environment"]


def test_another_prefix_moves_the_environment(tmp_path: Path, wheel: Path) -> None:
    plan = planned(fabricate_jetson(tmp_path / "root"), wheel, "--prefix", "/srv/edge/")
    assert plan[-2].startswith("ln -sfn /srv/edge/venv/bin/edge_runtime ")
    assert "/opt/dmnil-edge" not in "\n".join(plan)


@pytest.mark.parametrize(
    ("release", "bindings"),
    [
        ("jetpack 6.2", "cuda-bindings\\>=12.6\\,\\<13"),
        ("jetpack 7.0", "cuda-bindings\\>=13\\,\\<14"),
        ("jetpack 7.2", "cuda-bindings\\>=13\\,\\<14"),
    ],
)
def test_cuda_bindings_are_of_the_jetpacks_cuda(
    tmp_path: Path, wheel: Path, release: str, bindings: str
) -> None:
    plan = planned(fabricate_jetson(tmp_path / "root", release), wheel)
    assert sum(bindings in line for line in plan) == 1


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("jetpack 5.1", "Jetson Linux 35.4.1 is JetPack 5 or older, whose TensorRT 8 is too old"),
        ("jetpack 6.0", "Jetson Linux 36.3.0 is JetPack 6.0, whose TensorRT 8.6 is too old"),
    ],
)
def test_an_old_jetpack_is_refused_and_told_what_to_flash(
    tmp_path: Path, wheel: Path, release: str, words: str
) -> None:
    error = refusal(fabricate_jetson(tmp_path / "root", release), wheel)
    assert words in error
    assert "flash JetPack 6.1 or newer" in error


def test_what_is_no_jetson_is_refused(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root")
    (root / "etc/nv_tegra_release").unlink()
    assert "this is not a Jetson" in refusal(root, wheel)


def test_a_jetpack_to_come_is_taken_by_what_it_has(tmp_path: Path, wheel: Path) -> None:
    root = fabricate_jetson(tmp_path / "root", "unknown", python="3.14")
    done = install(root, ["--wheel", str(wheel), "--dry-run"])
    assert done.returncode == 0
    assert "warning: Jetson Linux 40.1.0 is newer than this installer knows" in done.stdout


@pytest.mark.parametrize(("release", "python"), [("jetpack 6.2", "3.11"), ("jetpack 7.2", "3.10")])
def test_a_python_other_than_jetpacks_is_refused(
    tmp_path: Path, wheel: Path, release: str, python: str
) -> None:
    root = fabricate_jetson(tmp_path / "root", release, python=python)
    assert f"is Python {python}, but JetPack" in refusal(root, wheel)


def test_an_old_tensorrt_is_refused(tmp_path: Path, wheel: Path) -> None:
    old = {"python3-libnvinfer": "8.6.2.3-1+cuda12.2"}
    root = fabricate_jetson(tmp_path / "root", packages=old)
    assert "TensorRT 8.6.2.3-1+cuda12.2 is older than 10" in refusal(root, wheel)


@pytest.mark.parametrize("release", ["jetpack 5.1", "jetpack 6.0", "jetpack 6.2", "jetpack 7.2"])
def test_the_doctor_and_the_installer_agree_on_a_jetpack(
    tmp_path: Path, wheel: Path, release: str
) -> None:
    root = fabricate_jetson(tmp_path / "root", release)
    installs = install(root, ["--wheel", str(wheel), "--dry-run"]).returncode == 0
    assert (check_jetpack(Machine(root)).status is Status.OK) is installs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to install"),
        (["--wheel"], "--wheel needs a value"),
        (["--wheel", "none.whl"], "none.whl: no such file"),
        (["--wheel", __file__], "is not a wheel"),
        (["--source", "/"], "/ holds no pyproject.toml"),
        (["--wheels", "x"], "unknown option --wheels"),
    ],
)
def test_arguments_that_make_no_sense_are_one_line(arguments: list[str], words: str) -> None:
    done = install(None, arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("prefix", ["/home/pilot/edge", "/root/edge", "opt", "/opt/d edge", "/"])
def test_a_prefix_that_the_service_cannot_use_is_refused(
    tmp_path: Path, wheel: Path, prefix: str
) -> None:
    root = fabricate_jetson(tmp_path / "root")
    assert "--prefix" in refusal(root, wheel, "--prefix", prefix)


def test_help_is_no_error() -> None:
    done = install(None, ["--help"])
    assert done.returncode == 0
    assert "--dry-run" in done.stdout
