"""The Python side: versions, OpenCV, the engines and what they need."""

from __future__ import annotations

import platform
import re

from edge_runtime import __version__
from edge_runtime.doctor.child import probe
from edge_runtime.doctor.finding import Finding, fail, ok, skipped
from edge_runtime.doctor.machine import Machine

OLDEST_TENSORRT = (10, 0)
_SYSTEM_PACKAGES = "use a virtual environment made with --system-site-packages"


def check_python(machine: Machine) -> Finding:
    """Versions of Python and of this package."""
    return ok("python", f"Python {platform.python_version()}, edge_runtime {__version__}")


def check_cv2(machine: Machine) -> Finding:
    """OpenCV imports; on a Jetson it must read GStreamer pipelines, as CSI cameras need it."""
    name = "cv2"
    result = probe(machine, name)
    if result.found is None:
        if "numpy" in result.reason or "_ARRAY_API" in result.reason:
            remedy = "the system's OpenCV was built for numpy 1: pip install 'numpy<2'"
        else:
            remedy = (
                "apt install nvidia-opencv on a Jetson, else pip install opencv-python-headless"
            )
        return fail(name, f"cannot be imported: {result.reason}", remedy)
    version = f"OpenCV {result.found['version']}, numpy {result.found['numpy']}"
    if result.found["gstreamer"]:
        return ok(name, f"{version}, with GStreamer")
    if machine.is_jetson:
        return fail(
            name,
            f"{version} of {result.found['file']} has no GStreamer, so no CSI camera",
            "pip uninstall opencv-python opencv-python-headless, which hide JetPack's own; "
            + _SYSTEM_PACKAGES,
        )
    return ok(name, f"{version}, without GStreamer, which CSI cameras alone need")


def check_onnxruntime(machine: Machine) -> Finding:
    """ONNX Runtime, the engine that runs everywhere."""
    name = "onnxruntime"
    result = probe(machine, name)
    if result.found is None:
        return fail(name, f"cannot be imported: {result.reason}", "pip install onnxruntime")
    providers = ", ".join(p.removesuffix("ExecutionProvider") for p in result.found["providers"])
    return ok(name, f"{result.found['version']} ({providers})")


def check_tensorrt(machine: Machine) -> Finding:
    """TensorRT 10 or newer, which comes with JetPack and not from PyPI."""
    name = "tensorrt"
    result = probe(machine, name)
    if result.found is None:
        if not machine.is_jetson:
            return skipped(name, "not installed; the onnxruntime engine needs none")
        return fail(
            name,
            f"cannot be imported: {result.reason}",
            f"apt install python3-libnvinfer, and {_SYSTEM_PACKAGES}",
        )
    version = str(result.found["version"])
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_TENSORRT:
        return fail(name, f"{version} is older than 10.0", "flash JetPack 6.1 or newer")
    return ok(name, version)


def check_device_buffers(machine: Machine) -> Finding:
    """The package that gives the TensorRT engine its memory on the GPU."""
    name = "device buffers"
    result = probe(machine, "device-buffers")
    if result.found is None:
        if not machine.is_jetson:
            return skipped(name, "neither pycuda nor cuda-bindings; TensorRT alone needs one")
        return fail(
            name,
            f"neither pycuda nor cuda-bindings can be imported: {result.reason}",
            "PATH=/usr/local/cuda/bin:$PATH pip install pycuda, or pip install cuda-bindings",
        )
    return ok(name, f"{result.found['package']} {result.found['version']}")
