"""Tries a library or driver that may crash: `python -m edge_runtime.doctor.probes NAME`.

Prints what it found as one line of JSON; exits 1 with the reason on stderr where there is
nothing. Nothing of TensorRT is constructed: without a driver its runtime ends the process.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import re
import sys
from collections.abc import Callable
from typing import Any

CUDA_LIBRARY = "libcuda.so.1"
_NAME_BYTES = 256
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_GSTREAMER_LINE = re.compile(r"^\s*GStreamer:\s*(\S+)", re.MULTILINE)


def probe_cuda() -> dict[str, Any]:
    """The driver's CUDA version and the first device's name and compute capability.

    Raises:
        OSError: If there is no driver library.
        RuntimeError: If the driver refuses, naming the call and its status.
    """
    driver = ctypes.CDLL(CUDA_LIBRARY)

    def call(name: str, *arguments: Any) -> None:
        status = getattr(driver, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} returned CUDA error {status}")

    version, count, device = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    call("cuInit", 0)
    call("cuDriverGetVersion", ctypes.byref(version))
    call("cuDeviceGetCount", ctypes.byref(count))
    call("cuDeviceGet", ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    call("cuDeviceGetName", name, _NAME_BYTES, device)
    capability = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        value = ctypes.c_int()
        call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return {
        "device": name.value.decode("utf-8", "replace"),
        "devices": count.value,
        "compute_capability": ".".join(map(str, capability)),
        "cuda": f"{version.value // 1000}.{version.value % 1000 // 10}",
    }


def probe_cv2() -> dict[str, Any]:
    """OpenCV's version, where it lies, and whether it reads GStreamer pipelines."""
    cv2 = importlib.import_module("cv2")
    numpy = importlib.import_module("numpy")
    line = _GSTREAMER_LINE.search(cv2.getBuildInformation())
    return {
        "version": cv2.__version__,
        "file": cv2.__file__,
        "gstreamer": line is not None and line.group(1) == "YES",
        "numpy": numpy.__version__,
    }


def probe_tensorrt() -> dict[str, Any]:
    """TensorRT's version."""
    return {"version": importlib.import_module("tensorrt").__version__}


def probe_onnxruntime() -> dict[str, Any]:
    """ONNX Runtime's version and the providers that it was built with."""
    onnxruntime = importlib.import_module("onnxruntime")
    return {
        "version": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
    }


def probe_device_buffers() -> dict[str, Any]:
    """The package that gives TensorRT its GPU memory: pycuda, else NVIDIA's cuda-bindings."""
    try:
        importlib.import_module("pycuda.driver")
        package = importlib.import_module("pycuda")
        return {"package": "pycuda", "version": package.VERSION_TEXT}
    except ImportError as first:
        try:
            importlib.import_module("cuda.bindings.driver")
            package = importlib.import_module("cuda.bindings")
            return {"package": "cuda-bindings", "version": package.__version__}
        except ImportError as second:
            raise ImportError(f"{first}; {second}") from second


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    "cuda": probe_cuda,
    "cv2": probe_cv2,
    "device-buffers": probe_device_buffers,
    "onnxruntime": probe_onnxruntime,
    "tensorrt": probe_tensorrt,
}


def main(name: str) -> int:
    """Run one probe; 0 with JSON on stdout, or 1 with one line on stderr."""
    try:
        found = PROBES[name]()
    except Exception as error:  # noqa: BLE001 - a broken library may raise anything on import
        reason = str(error).strip().splitlines()
        sys.stderr.write((reason[0] if reason else type(error).__name__) + "\n")
        return 1
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
