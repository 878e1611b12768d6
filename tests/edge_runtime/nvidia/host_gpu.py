"""A pretend GPU in host memory. It runs nothing before it is waited for, and checks addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import EngineError
from edge_runtime.engines.device_memory import Gpu

Work = Callable[[], None]
ORIN = Gpu("Orin", (8, 7), 8, (12, 6))
STREAM = 77


class HostGpu:
    """Memory, a stream and a stack of contexts; stricter than CUDA where it is lenient."""

    def __init__(self, total_bytes: int = 1 << 30) -> None:
        self.total_bytes = total_bytes
        self.allocations: dict[int, npt.NDArray[np.uint8]] = {}
        self.pinned: list[npt.NDArray[Any]] = []
        self.context_depth = 0
        self.started = False
        self.launches = 0
        self._queue: list[Work] = []
        self._capture: list[Work] | None = None

    def require_context(self) -> None:
        if self.context_depth < 1:
            raise AssertionError("CUDA was called without its context")

    @property
    def used_bytes(self) -> int:
        return sum(memory.nbytes for memory in self.allocations.values())

    def allocate(self, size_bytes: int) -> int | None:
        self.require_context()
        if self.used_bytes + size_bytes > self.total_bytes:
            return None
        memory = np.full(size_bytes, 0xAA, np.uint8)
        address = int(memory.ctypes.data)
        self.allocations[address] = memory
        return address

    def pin(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        self.require_context()
        self.pinned.append(np.zeros(shape, dtype))
        return self.pinned[-1]

    def at(self, address: int, size_bytes: int) -> npt.NDArray[np.uint8]:
        """Device memory, which must have been allocated here."""
        for start, memory in self.allocations.items():
            if start <= address and address + size_bytes <= start + memory.nbytes:
                return memory[address - start : address - start + size_bytes]
        raise AssertionError(f"{size_bytes} bytes at {address} are not on the device")

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        self._require_pinned(source)
        target = self.at(address, source.nbytes)
        self.enqueue(lambda: np.copyto(target, source.reshape(-1).view(np.uint8)))

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        self._require_pinned(target)
        source = self.at(address, target.nbytes)
        self.enqueue(lambda: np.copyto(target.reshape(-1).view(np.uint8), source))

    def enqueue(self, work: Work) -> None:
        self.require_context()
        (self._queue if self._capture is None else self._capture).append(work)

    def synchronise(self) -> None:
        self.require_context()
        queue, self._queue = self._queue, []
        for work in queue:
            work()

    def capture(self, enqueue: Work) -> list[Work]:
        self._capture = []
        try:
            enqueue()
            return self._capture
        finally:
            self._capture = None

    def _require_pinned(self, array: npt.NDArray[Any]) -> None:
        if not any(np.may_share_memory(array, memory) for memory in self.pinned):
            raise AssertionError("an asynchronous copy needs page-locked memory")
        if not array.flags.c_contiguous:
            raise AssertionError("an asynchronous copy needs contiguous memory")


class HostDevice:
    """The runtime's Device over a pretend GPU."""

    package = "host memory"
    stream_handle = STREAM

    def __init__(self, host: HostGpu, gpu: Gpu = ORIN, graphs: bool = True) -> None:
        host.started = True
        self.host = host
        self.gpu = gpu
        self.graphs = graphs
        self.closed = False

    @contextmanager
    def current(self) -> Iterator[None]:
        self.host.context_depth += 1
        try:
            yield
        finally:
            self.host.context_depth -= 1

    def free_and_total_bytes(self) -> tuple[int, int]:
        self.host.require_context()
        return self.host.total_bytes - self.host.used_bytes, self.host.total_bytes

    def pinned_array(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        return self.host.pin(shape, dtype)

    def allocate(self, size_bytes: int) -> int:
        address = self.host.allocate(size_bytes)
        if address is None:
            raise EngineError(f"CUDA cannot give {size_bytes} bytes: out of memory")
        return address

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        self.host.upload(address, source)

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        self.host.download(target, address)

    def synchronise(self) -> None:
        self.host.synchronise()

    def capture(self, enqueue: Work) -> HostGraph | None:
        self.host.require_context()
        if not self.graphs:
            return None
        try:
            return HostGraph(self.host, self.host.capture(enqueue))
        except EngineError:
            return None

    def close(self) -> None:
        with self.current():
            self.host.allocations.clear()
            self.host.pinned.clear()
        self.closed = True


class HostGraph:
    def __init__(self, host: HostGpu, work: list[Work]) -> None:
        self._host = host
        self._work: list[Work] | None = work

    def launch(self) -> None:
        if self._work is None:
            raise AssertionError("a freed graph was launched")
        self._host.launches += 1
        for work in self._work:
            self._host.enqueue(work)

    def close(self) -> None:
        self._host.require_context()
        self._work = None
