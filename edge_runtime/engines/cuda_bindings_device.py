"""A GPU through NVIDIA's cuda-bindings (12.6.1 or newer), which also has CUDA graphs."""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.device_memory import DeviceGraph, Gpu

_LOG = logging.getLogger(__name__)
_NAME_BYTES = 256


class CudaBindingsDevice:
    """The first GPU, by the module cuda.bindings.driver.

    Raises:
        EngineError: If there is no driver or no GPU, or CUDA refuses.
    """

    package = "cuda-bindings"

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._allocations: list[int] = []
        self._pinned: list[int] = []
        device = self._first_device()
        self.gpu = self._describe(device)
        # Not released before the process ends: TensorRT's objects may still live when an error
        # closes the device, and must not outlive their context.
        self._context = self._call("cannot open the GPU", "cuDevicePrimaryCtxRetain", device)
        with self.current():
            flags = int(driver.CUstream_flags.CU_STREAM_NON_BLOCKING)
            self._stream = self._call("cannot make a stream", "cuStreamCreate", flags)
            self.stream_handle = int(self._stream)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the primary context, and pop it whatever happens."""
        self._call("cannot enter its context", "cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._call("cannot leave its context", "cuCtxPopCurrent")

    def free_and_total_bytes(self) -> tuple[int, int]:
        """Memory of the GPU."""
        free, total = self._call("cannot say how much memory is free", "cuMemGetInfo")
        return int(free), int(total)

    def pinned_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array in page-locked memory; it must not be touched after `close`."""
        kind = np.dtype(dtype)
        size_bytes = math.prod(shape) * kind.itemsize
        what = f"cannot lock {shape} in host memory"
        address = int(self._call(what, "cuMemHostAlloc", size_bytes, 0))
        self._pinned.append(address)
        memory = (ctypes.c_uint8 * size_bytes).from_address(address)
        return np.frombuffer(memoryview(memory), dtype=kind).reshape(shape)

    def allocate(self, size_bytes: int) -> int:
        """Address of that much memory on the device."""
        address = int(self._call(f"cannot give {size_bytes} bytes", "cuMemAlloc", size_bytes))
        self._allocations.append(address)
        return address

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        """Enqueue a copy to the device."""
        what = "cannot copy to the GPU"
        host = source.ctypes.data
        self._call(what, "cuMemcpyHtoDAsync", address, host, source.nbytes, self._stream)

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        """Enqueue a copy from the device."""
        what = "cannot copy from the GPU"
        host = target.ctypes.data
        self._call(what, "cuMemcpyDtoHAsync", host, address, target.nbytes, self._stream)

    def synchronise(self) -> None:
        """Wait for everything enqueued so far."""
        self._call("failed in what was enqueued", "cuStreamSynchronize", self._stream)

    def capture(self, enqueue: Callable[[], None]) -> DeviceGraph | None:
        """Record what `enqueue` puts on the stream; None if some of it cannot be captured."""
        # By thread: what others in the process do meanwhile neither fails nor spoils the capture.
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        try:
            self._call("cannot begin a graph", "cuStreamBeginCapture", self._stream, mode)
            try:
                enqueue()
            except BaseException:
                self._abandon_capture()
                raise
            graph = self._call("cannot end a graph", "cuStreamEndCapture", self._stream)
            try:
                executable = self._call("cannot make a graph", "cuGraphInstantiate", graph, 0)
            finally:
                self._call("cannot free a graph", "cuGraphDestroy", graph)
        except EngineError as error:
            _LOG.info("no CUDA graph: %s", error)
            return None
        return _Graph(self._call, executable, self._stream)

    def _abandon_capture(self) -> None:
        status, graph = self._driver.cuStreamEndCapture(self._stream)
        if status == self._driver.CUresult.CUDA_SUCCESS:
            self._call("cannot free a graph", "cuGraphDestroy", graph)

    def close(self) -> None:
        """Free stream and memory; the process keeps the primary context."""
        with self.current():
            if self._stream is not None:
                self._call("cannot free its stream", "cuStreamDestroy", self._stream)
                self._stream = None
            while self._allocations:
                self._call("cannot free memory", "cuMemFree", self._allocations.pop())
            while self._pinned:
                self._call("cannot free host memory", "cuMemFreeHost", self._pinned.pop())

    def _first_device(self) -> Any:
        try:
            self._call("cannot start", "cuInit", 0)
        except RuntimeError as error:  # the bindings' own, where there is no libcuda
            reason = str(error).strip().splitlines()[0]
            raise EngineError(
                f"no NVIDIA driver ({reason}): fly with the engine onnxruntime"
            ) from error
        except EngineError as error:
            raise EngineError(f"no GPU ({error}): fly with the engine onnxruntime") from error
        if self._call("cannot count its GPUs", "cuDeviceGetCount") == 0:
            raise EngineError("CUDA shows no GPU: fly with the engine onnxruntime")
        return self._call("cannot open the GPU", "cuDeviceGet", 0)

    def _describe(self, device: Any) -> Gpu:
        def attribute(name: str) -> int:
            member = getattr(self._driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(self._call(f"cannot tell {name}", "cuDeviceGetAttribute", member, device))

        name: bytes = self._call("cannot tell its name", "cuDeviceGetName", _NAME_BYTES, device)
        cuda = int(self._call("cannot tell its version", "cuDriverGetVersion"))
        return Gpu(
            name=name.split(b"\0")[0].decode("utf-8", "replace"),
            compute_capability=(
                attribute("COMPUTE_CAPABILITY_MAJOR"),
                attribute("COMPUTE_CAPABILITY_MINOR"),
            ),
            multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
            driver_cuda=(cuda // 1000, cuda % 1000 // 10),
        )

    def _call(self, what: str, function: str, *arguments: Any) -> Any:
        """Call a driver function, whose first result is its status.

        Returns:
            Its other result; a tuple if there are several.
        """
        status, *results = getattr(self._driver, function)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            _, text = self._driver.cuGetErrorString(status)
            reason = text.decode() if text else str(status)
            raise EngineError(f"CUDA {what}: {function} says {reason}")
        return results[0] if len(results) == 1 else tuple(results)


class _Graph:
    """An instantiated CUDA graph."""

    def __init__(self, call: Callable[..., Any], executable: Any, stream: Any) -> None:
        self._call = call
        self._executable = executable
        self._stream = stream

    def launch(self) -> None:
        """Enqueue the captured work on the device's stream."""
        self._call("cannot launch a graph", "cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Free it."""
        self._call("cannot free a graph", "cuGraphExecDestroy", self._executable)
