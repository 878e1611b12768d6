"""The little that an inference engine needs of a GPU: memory, one stream, CUDA graphs.

Two packages can give it, behind one interface: pycuda first, else NVIDIA's cuda-bindings. Both
share the device's primary context with whatever else runs in the process, torch for one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from edge_runtime.contract.errors import EngineError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gpu:
    """What tells one GPU from another, as far as a compiled engine is concerned."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    """Tells the Orins apart, which all call themselves Orin of compute capability 8.7."""
    driver_cuda: tuple[int, int]
    """Newest version of CUDA that the driver serves."""

    @property
    def architecture(self) -> str:
        """Such as sm_87."""
        return f"sm_{self.compute_capability[0]}{self.compute_capability[1]}"


class DeviceGraph(Protocol):
    """Work that was captured once and is launched with one call."""

    def launch(self) -> None:
        """Enqueue the captured work on the device's stream."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Device(Protocol):
    """One GPU, its primary context and one stream.

    Everything but `current` and `close` is called inside `current`. Every method raises
    EngineError if CUDA refuses.
    """

    gpu: Gpu
    package: str
    """What is behind this device: pycuda or cuda-bindings."""
    stream_handle: int

    def current(self) -> AbstractContextManager[None]:
        """Make the primary context the calling thread's own, and give back the one before."""
        ...

    def free_and_total_bytes(self) -> tuple[int, int]:
        """Memory of the GPU; on a Jetson it is the memory of the processor too."""
        ...

    def pinned_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array in page-locked memory of the host, valid until `close`."""
        ...

    def allocate(self, size_bytes: int) -> int:
        """Address of that much memory on the device, valid until `close`."""
        ...

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        """Enqueue a copy of a contiguous page-locked array to the device."""
        ...

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        """Enqueue a copy from the device into a contiguous page-locked array."""
        ...

    def synchronise(self) -> None:
        """Wait for everything enqueued so far."""
        ...

    def capture(self, enqueue: Callable[[], None]) -> DeviceGraph | None:
        """Record what `enqueue` puts on the stream, without running it.

        Returns:
            None where the package has no graphs or the work cannot be captured; nothing has run.
        """
        ...

    def close(self) -> None:
        """Free stream and memory; the process keeps the primary context."""
        ...


def open_device() -> Device:
    """The first GPU that the process sees (CUDA_VISIBLE_DEVICES chooses), through either package.

    Raises:
        EngineError: If neither package can be imported, or there is no driver or no GPU.
    """
    reasons = []
    for package, opener in (("pycuda", _open_pycuda), ("cuda-bindings", _open_cuda_bindings)):
        try:
            device = opener()
        except ImportError as error:
            reason = str(error).strip().splitlines()
            reasons.append(f"{package}: {reason[0] if reason else type(error).__name__}")
            continue
        _LOG.info("%s through %s", device.gpu, device.package)
        return device
    raise EngineError(
        f"TensorRT's GPU memory needs pycuda or cuda-bindings ({'; '.join(reasons)}): install one "
        "as edge_runtime/README.md says, or fly with the engine onnxruntime"
    )


def memory_report(device: Device) -> str:
    """Such as '310 of 7,620 MiB of GPU memory are free'; for messages, inside `current`."""
    try:
        free, total = device.free_and_total_bytes()
    except EngineError:
        return "how much GPU memory is free cannot be told"
    return f"{free >> 20:,} of {total >> 20:,} MiB of GPU memory are free"


def _open_pycuda() -> Device:
    import pycuda.driver  # never pycuda.autoinit: it makes a second context beside the primary one

    from edge_runtime.engines.pycuda_device import PycudaDevice

    return PycudaDevice(pycuda.driver)


def _open_cuda_bindings() -> Device:
    from cuda.bindings import driver

    from edge_runtime.engines.cuda_bindings_device import CudaBindingsDevice

    return CudaBindingsDevice(driver)
