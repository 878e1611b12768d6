"""A GPU through pycuda. It has no CUDA graphs: every frame enqueues its work anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy.typing as npt

from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.device_memory import DeviceGraph, Gpu


class PycudaDevice:
    """The first GPU, by the module pycuda.driver.

    Raises:
        EngineError: If there is no GPU, or CUDA refuses.
    """

    package = "pycuda"

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._allocations: list[Any] = []
        try:
            driver.init()
        except driver.Error as error:
            raise EngineError(f"no GPU ({error}): fly with the engine onnxruntime") from error
        if driver.Device.count() == 0:
            raise EngineError("CUDA shows no GPU: fly with the engine onnxruntime")
        with self._reported("cannot open the GPU"):
            device = driver.Device(0)
            cuda = driver.get_driver_version()
            multiprocessors = device.get_attribute(driver.device_attribute.MULTIPROCESSOR_COUNT)
            self.gpu = Gpu(
                name=str(device.name()),
                compute_capability=device.compute_capability(),
                multiprocessors=int(multiprocessors),
                driver_cuda=(cuda // 1000, cuda % 1000 // 10),
            )
            self._context = _primary_context(driver)
        with self.current(), self._reported("cannot make a stream"):
            self._stream: Any = driver.Stream()
            self.stream_handle = int(self._stream.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Push the primary context, and pop it whatever happens: pycuda aborts the process else."""
        with self._reported("cannot enter its context"):
            self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def free_and_total_bytes(self) -> tuple[int, int]:
        """Memory of the GPU."""
        with self._reported("cannot say how much memory is free"):
            free, total = self._driver.mem_get_info()
        return int(free), int(total)

    def pinned_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array in page-locked memory; it lives as long as anyone refers to it."""
        with self._reported(f"cannot lock {shape} in host memory"):
            array: npt.NDArray[Any] = self._driver.pagelocked_empty(shape, dtype)
        return array

    def allocate(self, size_bytes: int) -> int:
        """Address of that much memory on the device."""
        with self._reported(f"cannot give {size_bytes} bytes"):
            allocation = self._driver.mem_alloc(size_bytes)
        self._allocations.append(allocation)
        return int(allocation)

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        """Enqueue a copy to the device."""
        with self._reported("cannot copy to the GPU"):
            self._driver.memcpy_htod_async(address, source, self._stream)

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        """Enqueue a copy from the device."""
        with self._reported("cannot copy from the GPU"):
            self._driver.memcpy_dtoh_async(target, address, self._stream)

    def synchronise(self) -> None:
        """Wait for everything enqueued so far."""
        with self._reported("failed in what was enqueued"):
            self._stream.synchronize()

    def capture(self, enqueue: Callable[[], None]) -> DeviceGraph | None:
        """None: pycuda has no CUDA graphs."""
        return None

    def close(self) -> None:
        """Free stream and memory; the process keeps the primary context."""
        with self.current():
            self._stream = None
            while self._allocations:
                with self._reported("cannot free memory"):
                    self._allocations.pop().free()

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as error:
            raise EngineError(f"CUDA {what}: {error}") from error


@cache
def _primary_context(driver: Any) -> Any:
    """Retained once a process and not released before its end.

    TensorRT's objects must not outlive it, and pycuda would leave it on the thread's stack when it
    releases it, where torch would find it.
    """
    return driver.Device(0).retain_primary_context()
