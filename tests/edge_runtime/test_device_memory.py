from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.errors import EngineError
from edge_runtime.engines import device_memory
from edge_runtime.engines.device_memory import Gpu, memory_report, open_device
from edge_runtime.engines.pycuda_device import PycudaDevice
from tests.edge_runtime.nvidia.host_gpu import HostGpu
from tests.edge_runtime.nvidia.pycuda_double import pycuda_double

NVIDIA = Path(__file__).parent / "nvidia"


@pytest.fixture
def host() -> HostGpu:
    return HostGpu()


def round_trip(device: Any) -> None:
    with device.current():
        out, back = device.pinned_array((2, 3), np.uint8), device.pinned_array((2, 3), np.uint8)
        address = device.allocate(out.nbytes)
        out[:] = [[1, 2, 3], [4, 5, 6]]
        device.upload(address, out)
        device.download(back, address)
        device.synchronise()
        assert back.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_pycuda_carries_bytes_there_and_back(host: HostGpu) -> None:
    module, _ = pycuda_double(host)
    device = PycudaDevice(module)
    round_trip(device)
    assert device.gpu == Gpu("Orin", (8, 7), 8, (12, 6))
    assert device.gpu.architecture == "sm_87"
    assert device.stream_handle == 77


def test_pycuda_leaves_no_context_on_its_stack_even_after_an_error(host: HostGpu) -> None:
    module, _ = pycuda_double(host)
    device = PycudaDevice(module)

    def fail() -> None:
        with device.current():
            raise KeyError("a fault of the caller")

    with pytest.raises(KeyError):
        fail()
    assert host.context_depth == 0


def test_pycuda_retains_the_primary_context_once_and_never_makes_its_own(host: HostGpu) -> None:
    module, recorder = pycuda_double(host)
    PycudaDevice(module).close()
    PycudaDevice(module).close()
    assert recorder.names().count("Device.retain_primary_context") == 1
    assert not hasattr(module.Device(0), "make_context")


def test_pycuda_gives_memory_back_when_closed(host: HostGpu) -> None:
    module, _ = pycuda_double(host)
    device = PycudaDevice(module)
    round_trip(device)
    assert host.used_bytes == 6
    device.close()
    assert host.used_bytes == 0
    assert host.context_depth == 0


def test_pycuda_has_no_graphs_and_runs_nothing_when_asked_for_one(host: HostGpu) -> None:
    module, _ = pycuda_double(host)
    device = PycudaDevice(module)
    with device.current():
        assert device.capture(lambda: pytest.fail("it ran")) is None


def test_too_little_memory_is_one_line(host: HostGpu) -> None:
    host.total_bytes = 100
    module, _ = pycuda_double(host)
    device = PycudaDevice(module)
    with device.current(), pytest.raises(EngineError, match=r"cannot give 101 bytes: .*memory"):
        device.allocate(101)


def test_a_machine_without_a_gpu_is_told_what_to_fly_with(host: HostGpu) -> None:
    module, _ = pycuda_double(host, devices=0)
    with pytest.raises(EngineError, match=r"no GPU \(cuInit failed.*fly with the engine onnx"):
        PycudaDevice(module)


def test_the_memory_report_speaks_in_mebibytes(host: HostGpu) -> None:
    module, _ = pycuda_double(host)
    device = PycudaDevice(module)
    with device.current():
        device.allocate(24 << 20)
        assert memory_report(device) == "1,000 of 1,024 MiB of GPU memory are free"


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Neither pycuda nor cuda-bindings can be imported."""
    for name in ("pycuda", "pycuda.driver", "cuda", "cuda.bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    return monkeypatch


def test_without_any_package_both_are_named(without_packages: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="needs pycuda or cuda-bindings") as caught:
        open_device()
    assert "\n" not in str(caught.value)
    assert "pycuda: " in str(caught.value)
    assert "cuda-bindings: " in str(caught.value)


def test_pycuda_is_taken_before_cuda_bindings(
    without_packages: pytest.MonkeyPatch, host: HostGpu
) -> None:
    package = ModuleType("pycuda")
    package.driver, _ = pycuda_double(host)  # type: ignore[attr-defined]
    without_packages.setitem(sys.modules, "pycuda", package)
    without_packages.setitem(sys.modules, "pycuda.driver", package.driver)
    assert open_device().package == "pycuda"


def test_a_pycuda_that_does_not_import_gives_way_to_cuda_bindings(
    without_packages: pytest.MonkeyPatch, host: HostGpu
) -> None:
    fallback = PycudaDevice(pycuda_double(host)[0])
    without_packages.setattr(device_memory, "_open_cuda_bindings", lambda: fallback)
    assert open_device() is fallback


# cuda-bindings itself, over a driver of ours in host memory: the package's own argument checks
# and its own calls by name, without a GPU.

# What the driver still holds after a close: the primary context, which the process keeps.
HELD = "1"
PROLOGUE = """
import ctypes
import numpy as np
from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.device_memory import _open_cuda_bindings
held = ctypes.CDLL("libcuda.so.1").host_cuda_held
"""


@pytest.fixture(scope="module")
def driver_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("cuda.bindings", reason="cuda-bindings is not installed")
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs a C compiler on Linux")
    folder = tmp_path_factory.mktemp("driver")
    options = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1")]
    subprocess.run(["cc", *options, str(NVIDIA / "host_cuda_driver.c")], check=True)
    return folder


def over_driver(folder: Path, script: str, **environment: str) -> str:
    """What a script prints in a process whose CUDA driver is ours."""
    variables = {**os.environ, "LD_LIBRARY_PATH": str(folder), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", PROLOGUE + script],
        env={**variables, **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_cuda_bindings_carry_bytes_and_give_everything_back(driver_folder: Path) -> None:
    output = over_driver(
        driver_folder,
        """
device = _open_cuda_bindings()
print(device.gpu)
with device.current():
    out, back = (device.pinned_array((2, 3), np.float32) for _ in range(2))
    address = device.allocate(out.nbytes)
    out[:], back[:] = [[1, 2, 3], [4, 5, 6]], 0
    device.upload(address, out)
    device.download(back, address)
    print(back.sum())
    device.synchronise()
    print(back.tolist(), device.free_and_total_bytes()[1] - device.free_and_total_bytes()[0])
del out, back
device.close()
device.close()
print(held())
""",
    )
    assert output.splitlines() == [
        "Gpu(name='Orin', compute_capability=(8, 7), multiprocessors=14, driver_cuda=(12, 6))",
        "0.0",
        "[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]] 24",
        HELD,
    ]


def test_a_graph_of_cuda_bindings_repeats_what_was_captured(driver_folder: Path) -> None:
    output = over_driver(
        driver_folder,
        """
device = _open_cuda_bindings()
with device.current():
    out, back = (device.pinned_array((2, 3), np.uint8) for _ in range(2))
    address = device.allocate(out.nbytes)
    out[:], back[:] = 7, 0
    def enqueue():
        device.upload(address, out)
        device.download(back[1:], address)
    graph = device.capture(enqueue)
    device.synchronise()
    print(back.tolist())
    graph.launch()
    device.synchronise()
    print(back.tolist())
    def refused():
        raise EngineError("TensorRT cannot be captured here")
    print(device.capture(refused))
    device.upload(address, out)
    device.synchronise()
    graph.close()
device.close()
print(held())
""",
    )
    assert output.splitlines() == [
        "[[0, 0, 0], [0, 0, 0]]",
        "[[0, 0, 0], [7, 7, 7]]",
        "None",
        HELD,
    ]


FAILURE = """
try:
    device = _open_cuda_bindings()
    with device.current():
        device.allocate(1000)
except EngineError as error:
    print(error)
"""


def test_cuda_bindings_say_what_the_driver_says(driver_folder: Path, tmp_path: Path) -> None:
    no_gpu = over_driver(driver_folder, FAILURE, HOST_CUDA_DEVICES="0")
    assert "no CUDA-capable device is detected" in no_gpu
    assert "fly with the engine onnxruntime" in no_gpu
    full = over_driver(driver_folder, FAILURE, HOST_CUDA_BYTES="999")
    assert full == "CUDA cannot give 1000 bytes: cuMemAlloc says out of memory\n"


def test_cuda_bindings_without_a_driver_say_so(driver_folder: Path, tmp_path: Path) -> None:
    script = PROLOGUE.rsplit("\n", 2)[0] + FAILURE
    environment = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=600,
    )
    if result.returncode == 0 and not result.stdout:
        pytest.skip("this machine has a GPU")
    assert result.stdout.startswith(("no NVIDIA driver (", "no GPU (")), result.stderr
    assert result.stdout.count("\n") == 1
