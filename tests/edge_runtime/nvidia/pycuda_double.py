"""A double of pycuda.driver: its interface by the recorded table, its memory on the host.

As the real one it ends badly when a context is left on its stack or memory is used without one.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.edge_runtime.nvidia.host_gpu import HostGpu
from tests.edge_runtime.nvidia.signatures import TABLE, Recorder, bound_class


class Error(Exception):
    """pycuda's own errors have this base."""


class OutOfMemoryError(Error):
    """pycuda calls it MemoryError."""


def pycuda_double(host: HostGpu, devices: int = 1) -> tuple[Any, Recorder]:
    """The module, and what was called on it."""
    table = TABLE["pycuda"]
    recorder = Recorder("pycuda", table)

    class Context(bound_class(recorder, "Context")):  # type: ignore[misc]
        def push(self) -> None:
            host.context_depth += 1

        @staticmethod
        def pop() -> None:
            if host.context_depth == 0:
                raise Error("context::pop failed: cannot pop non-current context")
            host.context_depth -= 1

    class Device(bound_class(recorder, "Device")):  # type: ignore[misc]
        def __init__(self, ordinal: int) -> None:
            self._ordinal = ordinal

        @staticmethod
        def count() -> int:
            return devices

        def name(self) -> str:
            return "Orin"

        def compute_capability(self) -> tuple[int, int]:
            return (8, 7)

        def get_attribute(self, attribute: str) -> int:
            return {"MULTIPROCESSOR_COUNT": 8}[attribute]

        def retain_primary_context(self) -> Any:
            return Context()

    class Stream(bound_class(recorder, "Stream")):  # type: ignore[misc]
        def __init__(self, flags: int = 0) -> None:
            host.require_context()

        @property
        def handle(self) -> int:
            return 77

        def synchronize(self) -> None:
            host.synchronise()

    class DeviceAllocation(bound_class(recorder, "DeviceAllocation")):  # type: ignore[misc]
        def __init__(self, address: int) -> None:
            self._address = address

        def __int__(self) -> int:
            return self._address

        def free(self) -> None:
            host.require_context()
            del host.allocations[self._address]

    def init(flags: int = 0) -> None:
        if devices == 0:
            raise Error("cuInit failed: no CUDA-capable device is detected")
        host.started = True

    def mem_alloc(size_bytes: int) -> Any:
        address = host.allocate(size_bytes)
        if address is None:
            raise OutOfMemoryError("cuMemAlloc failed: out of memory")
        return DeviceAllocation(address)

    def pagelocked_empty(
        shape: tuple[int, ...], dtype: npt.DTypeLike, order: str = "C", mem_flags: int = 0
    ) -> npt.NDArray[Any]:
        return host.pin(shape, np.dtype(dtype))

    def memcpy_htod_async(dest: int, src: npt.NDArray[Any], stream: Any = None) -> None:
        _require_stream(stream)
        host.upload(dest, src)

    def memcpy_dtoh_async(dest: npt.NDArray[Any], src: int, stream: Any = None) -> None:
        _require_stream(stream)
        host.download(dest, src)

    def _require_stream(stream: Any) -> None:
        if not isinstance(stream, Stream):
            raise AssertionError("the copy would run on the default stream")

    functions = {
        "init": init,
        "get_driver_version": lambda: 12060,
        "mem_get_info": lambda: (host.total_bytes - host.used_bytes, host.total_bytes),
        "mem_alloc": mem_alloc,
        "pagelocked_empty": pagelocked_empty,
        "memcpy_htod_async": memcpy_htod_async,
        "memcpy_dtoh_async": memcpy_dtoh_async,
    }
    checked = {
        name: recorder.recorded(name, table["functions"][name], function)
        for name, function in functions.items()
    }
    attributes = SimpleNamespace(MULTIPROCESSOR_COUNT="MULTIPROCESSOR_COUNT")
    module = _Module(
        **checked,
        Context=Context,
        Device=Device,
        Stream=Stream,
        Error=Error,
        MemoryError=OutOfMemoryError,
        device_attribute=attributes,
    )
    return module, recorder


class _Module(SimpleNamespace):
    __hash__ = object.__hash__
