"""Record what NVIDIA's bindings and pycuda offer of the names that the runtime relies on.

    python tests/edge_runtime/nvidia/record_signatures.py tensorrt 10.3.0 11.4.0.106
    python tests/edge_runtime/nvidia/record_signatures.py pycuda

The first fetches the wheels `tensorrt_cu12_bindings` of those versions from PyPI. They hold no
TensorRT, only its Python interface, which imports over stub libraries that this script compiles.
The second reads the pycuda of the Python that runs it. Facts alone are written, to
`signatures.json`: a method is its parameters' names, optional ones with a ?, overloads between
bars; a property is "property"; an enumeration is its members' numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("signatures.json")
TENSORRT_METHODS = {
    "Builder": [
        "__init__",
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
    ],
    "INetworkDefinition": ["num_inputs", "get_input"],
    "ITensor": ["name", "shape"],
    "OnnxParser": ["__init__", "parse", "num_errors", "get_error"],
    "ParserError": ["desc", "node_name", "node_operator"],
    "IOptimizationProfile": ["set_shape"],
    "IBuilderConfig": [
        "set_memory_pool_limit",
        "add_optimization_profile",
        "create_timing_cache",
        "set_timing_cache",
        "progress_monitor",
    ],
    "ITimingCache": ["serialize"],
    "ILogger": ["__init__", "log"],
    "IProgressMonitor": ["__init__", "phase_start", "step_complete", "phase_finish"],
    "Runtime": ["__init__", "deserialize_cuda_engine"],
    "ICudaEngine": [
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_dtype",
        "get_tensor_shape",
        "get_tensor_profile_shape",
        "create_execution_context",
    ],
    "IExecutionContext": ["set_input_shape", "set_tensor_address", "execute_async_v3"],
}
TENSORRT_ENUMS = [
    "NetworkDefinitionCreationFlag",
    "MemoryPoolType",
    "TensorIOMode",
    "DataType",
    "ILogger.Severity",
]
PYCUDA_METHODS = {
    "Device": [
        "__init__",
        "count",
        "name",
        "compute_capability",
        "get_attribute",
        "retain_primary_context",
    ],
    "Context": ["push", "pop"],
    "Stream": ["__init__", "handle", "synchronize"],
    "DeviceAllocation": ["__int__", "free"],
}
PYCUDA_FUNCTIONS = [
    "init",
    "get_driver_version",
    "mem_get_info",
    "mem_alloc",
    "pagelocked_empty",
    "memcpy_htod_async",
    "memcpy_dtoh_async",
]
STUB_SOURCE = """
void *createInferBuilder_INTERNAL(void) { return 0; }
void *createInferRefitter_INTERNAL(void) { return 0; }
void *createInferRuntime_INTERNAL(void) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void) { return 0; }
void *createNvOnnxParser_INTERNAL(void) { return 0; }
void *getBuilderPluginRegistry(void) { return 0; }
void *getPluginRegistry(void) { return 0; }
int getNvOnnxParserVersion(void) { return 0; }
int initLibNvInferPlugins(void) { return 0; }
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("library", choices=["tensorrt", "pycuda", "read-tensorrt"])
    parser.add_argument("versions", nargs="*")
    arguments = parser.parse_args()
    if arguments.library == "read-tensorrt":  # in a process of its own, over the stub libraries
        json.dump(_read_tensorrt(), sys.stdout)
        return 0
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    if arguments.library == "pycuda":
        table["pycuda"] = _read_pycuda()
    for version in arguments.versions:
        table.setdefault("tensorrt", {})[version] = _fetch_tensorrt(version)
    text = json.dumps(table, indent=1)
    # One line a class: the table is read by people too.
    text = re.sub(r"\{\s+([^{}]*?)\s+\}", lambda m: "{" + " ".join(m[1].split()) + "}", text)
    TABLE.write_text(text + "\n", encoding="utf-8")
    return 0


def _fetch_tensorrt(version: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        requirement = f"tensorrt_cu12_bindings=={version}"
        download = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", name]
        subprocess.run([*download, "--only-binary=:all:", requirement], check=True)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            wheel.extractall(folder)
        _compile_stubs(folder, version.split(".")[0])
        environment = {**os.environ, "LD_LIBRARY_PATH": name, "PYTHONPATH": name}
        command = [sys.executable, __file__, "read-tensorrt"]
        output = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
        return dict(json.loads(output))


def _compile_stubs(folder: Path, major: str) -> None:
    source = folder / "stub.c"
    source.write_text(STUB_SOURCE, encoding="utf-8")
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        name = f"lib{library}.so.{major}"
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name)]
        subprocess.run([*command, str(source)], check=True)


def _read_tensorrt() -> dict[str, Any]:
    import tensorrt_bindings as trt

    enums = {}
    for name in TENSORRT_ENUMS:
        kind = trt
        for part in name.split("."):
            kind = getattr(kind, part)
        enums[name] = {member: int(value) for member, value in kind.__members__.items()}
    classes = {
        name: _members(getattr(trt, name), members)
        for name, members in TENSORRT_METHODS.items()
        if hasattr(trt, name)
    }
    return {"version": trt.__version__, "classes": classes, "enums": enums}


def _read_pycuda() -> dict[str, Any]:
    import pycuda
    from pycuda import driver

    functions = {
        name: " | ".join(_overloads(getattr(driver, name))) or "()" for name in PYCUDA_FUNCTIONS
    }
    classes = {
        name: _members(getattr(driver, name), members) for name, members in PYCUDA_METHODS.items()
    }
    assert issubclass(driver.MemoryError, driver.Error)
    assert issubclass(driver.LogicError, driver.Error)
    version = ".".join(map(str, pycuda.VERSION))
    return {"version": version, "classes": classes, "functions": functions}


def _members(kind: Any, names: list[str]) -> dict[str, str]:
    """What a class has of these names."""
    found = {}
    for name in names:
        if hasattr(kind, name):
            overloads = _overloads(getattr(kind, name))
            found[name] = " | ".join(dict.fromkeys(map(_without_self, overloads))) or "()"
            if not overloads:
                found[name] = "property"
    return found


def _overloads(function: Any) -> list[str]:
    """Parameters of each overload, out of the docstring that the binding generator writes."""
    name = getattr(function, "__name__", None)
    if name is None:
        return []
    pattern = rf"\s*(?:\d+\. )?{re.escape(name)}\((.*)\) -> "
    lines = (function.__doc__ or "").splitlines()
    return [_parameters(match[1]) for line in lines if (match := re.match(pattern, line))]


def _parameters(signature: str) -> str:
    """`self: X, flags: int = 0` as pybind11 writes it, `(X)arg1 [, (int)flags=0]` as Boost does."""
    names = []
    for part in signature.replace("[,", ",").split(","):
        name = re.sub(r"^\(\w+\)\s*", "", part.strip(" []"))
        if name:
            names.append(re.split(r"[:=\s]", name)[0] + ("?" if "=" in name else ""))
    return ", ".join(names)


def _without_self(parameters: str) -> str:
    """Static methods have no parameters at all among those recorded."""
    return ", ".join(parameters.split(", ")[1:]) or "()"


if __name__ == "__main__":
    sys.exit(main())
