"""Libraries and drivers that the doctor tries in a process of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from edge_runtime.doctor import probes
from edge_runtime.doctor.child import probe
from edge_runtime.doctor.finding import Status
from edge_runtime.doctor.gpu import check_cuda
from edge_runtime.doctor.machine import CommandResult, Machine, run_command
from edge_runtime.doctor.software import (
    check_cv2,
    check_device_buffers,
    check_onnxruntime,
    check_tensorrt,
)
from tests.fabricated_machine import jetson_files, machine


def answer(found: dict[str, object]) -> CommandResult:
    return CommandResult(0, json.dumps(found) + "\n")


def refusal(reason: str) -> CommandResult:
    return CommandResult(1, "", f"{reason}\n")


def jetson_with(tmp_path: Path, **answers: CommandResult) -> Machine:
    """A Jetson that answers these probes, whose dashes are written as underscores."""
    words = {f"probes {name.replace('_', '-')}": result for name, result in answers.items()}
    return machine(tmp_path, jetson_files(), words)


def laptop_with(tmp_path: Path, **answers: CommandResult) -> Machine:
    words = {f"probes {name.replace('_', '-')}": result for name, result in answers.items()}
    return machine(tmp_path, {}, words)


ORIN = {"device": "Orin", "devices": 1, "compute_capability": "8.7", "cuda": "12.6"}
JETPACK_CV2 = {
    "version": "4.8.0",
    "file": "/usr/lib/python3.10/dist-packages/cv2/__init__.py",
    "gstreamer": True,
    "numpy": "1.26.4",
}


def test_the_gpu_is_named_with_its_compute_capability(tmp_path: Path) -> None:
    finding = check_cuda(jetson_with(tmp_path, cuda=answer(ORIN)))
    assert finding.status is Status.OK
    assert finding.what == "Orin, compute capability 8.7, CUDA 12.6"


def test_a_driver_that_crashes_is_a_finding_and_not_a_crash(tmp_path: Path) -> None:
    crashed = CommandResult(-11, "")
    finding = check_cuda(jetson_with(tmp_path, cuda=crashed))
    assert finding.status is Status.FAIL
    assert finding.what == "the driver does not answer: it crashed (SIGSEGV)"


def test_a_laptop_flies_without_gpu_and_tensorrt(tmp_path: Path) -> None:
    missing = refusal("No module named 'tensorrt'")
    laptop = laptop_with(tmp_path, cuda=missing, tensorrt=missing, device_buffers=missing)
    checks = (check_cuda, check_tensorrt, check_device_buffers)
    assert {check(laptop).status for check in checks} == {Status.SKIPPED}


def test_a_jetson_without_tensorrt_names_its_package(tmp_path: Path) -> None:
    finding = check_tensorrt(jetson_with(tmp_path, tensorrt=refusal("No module named 'tensorrt'")))
    assert finding.status is Status.FAIL
    assert "apt install python3-libnvinfer" in finding.what_to_do
    assert "--system-site-packages" in finding.what_to_do


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("8.6.2", Status.FAIL),
        ("9.9.9", Status.FAIL),
        ("10.0.1", Status.OK),
        ("10.3.0", Status.OK),
        ("10.16.2.10", Status.OK),
    ],
)
def test_tensorrt_must_be_10_or_newer(tmp_path: Path, version: str, status: Status) -> None:
    finding = check_tensorrt(jetson_with(tmp_path, tensorrt=answer({"version": version})))
    assert finding.status is status


def test_a_jetson_needs_a_package_for_device_buffers(tmp_path: Path) -> None:
    found = answer({"package": "pycuda", "version": "2025.1"})
    assert check_device_buffers(jetson_with(tmp_path, device_buffers=found)).what == "pycuda 2025.1"
    neither = refusal("No module named 'pycuda'; No module named 'cuda'")
    finding = check_device_buffers(jetson_with(tmp_path, device_buffers=neither))
    assert finding.status is Status.FAIL
    assert "pip install pycuda" in finding.what_to_do


def test_onnxruntime_tells_its_providers(tmp_path: Path) -> None:
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    found = answer({"version": "1.23.2", "providers": providers})
    assert check_onnxruntime(laptop_with(tmp_path, onnxruntime=found)).what == "1.23.2 (CUDA, CPU)"


def test_jetpacks_own_opencv_will_do(tmp_path: Path) -> None:
    finding = check_cv2(jetson_with(tmp_path, cv2=answer(JETPACK_CV2)))
    assert finding.status is Status.OK
    assert finding.what == "OpenCV 4.8.0, numpy 1.26.4, with GStreamer"


def test_an_opencv_from_pypi_hides_jetpacks_and_fails_there_alone(tmp_path: Path) -> None:
    wheel = "/opt/dmnil-edge/venv/lib/python3.10/site-packages/cv2/__init__.py"
    found = answer({**JETPACK_CV2, "file": wheel, "gstreamer": False})
    assert check_cv2(laptop_with(tmp_path / "laptop", cv2=found)).status is Status.OK
    finding = check_cv2(jetson_with(tmp_path / "jetson", cv2=found))
    assert finding.status is Status.FAIL
    assert wheel in finding.what
    assert "pip uninstall" in finding.what_to_do


@pytest.mark.parametrize(
    "reason", ["numpy.core.multiarray failed to import", "_ARRAY_API not found"]
)
def test_an_opencv_built_for_numpy_1_asks_for_it(tmp_path: Path, reason: str) -> None:
    finding = check_cv2(jetson_with(tmp_path, cv2=refusal(reason)))
    assert finding.status is Status.FAIL
    assert "numpy<2" in finding.what_to_do


def test_what_a_library_prints_on_import_does_not_confuse(tmp_path: Path) -> None:
    chatty = CommandResult(0, f"hello\n{json.dumps({'version': '10.3.0'})}\nbye\n")
    assert probe(laptop_with(tmp_path, tensorrt=chatty), "tensorrt").found == {"version": "10.3.0"}


def test_a_probe_that_says_nothing_is_no_success(tmp_path: Path) -> None:
    silent = laptop_with(tmp_path, tensorrt=CommandResult(0, ""))
    assert probe(silent, "tensorrt").reason == "it ended with status 0"
    assert probe(machine(tmp_path, {}), "tensorrt").reason.endswith("cannot be run")


def test_real_probes_of_this_machine_answer() -> None:
    onnxruntime = probe(Machine(), "onnxruntime").found
    assert onnxruntime is not None
    assert "CPUExecutionProvider" in onnxruntime["providers"]
    cv2 = probe(Machine(), "cv2").found
    assert cv2 is not None
    assert isinstance(cv2["gstreamer"], bool)


def test_a_real_crash_is_told_by_its_signal() -> None:
    suicide = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    def run(command: object) -> CommandResult | None:
        return run_command([sys.executable, "-c", suicide])

    assert probe(Machine(run=run), "cuda").reason == "it crashed (SIGKILL)"


def test_a_command_that_does_not_exist_is_none() -> None:
    assert run_command(["edge_runtime-no-such-command"]) is None


class PretendedDriver:
    """Plays libcuda: writes through the pointers that it is given, as the driver does."""

    def __init__(self, status_of_init: int = 0) -> None:
        self._status_of_init = status_of_init

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's own name
        return self._status_of_init

    def __getattr__(self, name: str):
        def call(target, *rest) -> int:
            if name == "cuDeviceGetName":
                target.value = b"Orin"
            else:
                values = {"cuDriverGetVersion": 12060, "cuDeviceGetCount": 1, "cuDeviceGet": 0}
                value = values.get(name)
                if value is None:
                    value = {75: 8, 76: 7}[rest[0]]
                target._obj.value = value
            return 0

        return call


def test_the_driver_is_asked_for_version_name_and_capability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probes.ctypes, "CDLL", lambda name: PretendedDriver())
    assert probes.probe_cuda() == ORIN


def test_a_driver_without_a_device_is_told_by_its_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(probes.ctypes, "CDLL", lambda name: PretendedDriver(status_of_init=100))
    assert probes.main("cuda") == 1
    assert capsys.readouterr().err == "cuInit returned CUDA error 100\n"


def test_pycuda_comes_before_cuda_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    pretended = {
        "pycuda": SimpleNamespace(VERSION_TEXT="2025.1"),
        "cuda.bindings": SimpleNamespace(__version__="12.6.2"),
    }

    def import_module(name: str) -> ModuleType | SimpleNamespace:
        package = name.removesuffix(".driver")
        if package in pretended:
            return pretended[package]
        raise ModuleNotFoundError(f"No module named {package!r}")

    monkeypatch.setattr(probes.importlib, "import_module", import_module)
    assert probes.probe_device_buffers() == {"package": "pycuda", "version": "2025.1"}
    del pretended["pycuda"]
    assert probes.probe_device_buffers() == {"package": "cuda-bindings", "version": "12.6.2"}
    del pretended["cuda.bindings"]
    with pytest.raises(ImportError, match=r"pycuda.*cuda\.bindings"):
        probes.probe_device_buffers()
