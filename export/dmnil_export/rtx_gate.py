"""A gate that needs no GPU: TensorRT-RTX parses and builds a graph, by the runtime's own builder.

TensorRT-RTX is not the TensorRT of a Jetson. It shares the parser and the strict typing, so that
what it refuses a Jetson would most likely refuse too; what it takes is not thereby fast or right
there, nor sure to build.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from dmnil_export.graph_contract import read_graph
from edge_runtime.contract.errors import BundleError, EngineError
from edge_runtime.engines.tensorrt_build import BuildRequest, build_engine
from edge_runtime.engines.tensorrt_library import TensorRt

_MODULE = "tensorrt_rtx"
_PRODUCT = "TensorRT-RTX"
_WORKSPACE_BYTES = 1 << 30


@dataclass(frozen=True)
class GateResult:
    """What TensorRT-RTX made of a graph.

    Args:
        version: Of TensorRT-RTX.
        refusal: Why it cannot build the graph, naming the nodes to blame; none where it can.
    """

    version: str
    refusal: str | None


def rtx_is_installed() -> bool:
    """Whether there is a TensorRT-RTX to ask."""
    return importlib.util.find_spec(_MODULE) is not None


def rtx_gate(path: Path, usual_batch: int = 1, max_batch: int = 16) -> GateResult:
    """Have TensorRT-RTX parse and build a graph; nothing of what it builds is kept.

    Raises:
        ModuleNotFoundError: If `tensorrt-rtx` is not installed.
    """
    # Named in its messages and its progress: nobody shall take it for a Jetson's.
    library = TensorRt(importlib.import_module(_MODULE), _PRODUCT)
    try:
        request = BuildRequest(
            source=path.name,
            onnx=path.read_bytes(),
            picture_shape=_picture_shape(path),
            usual_batch=usual_batch,
            max_batch=max_batch,
            workspace_bytes=_WORKSPACE_BYTES,
        )
        # Without a timing cache: TensorRT-RTX has none, and warns where it is asked for one.
        build_engine(library, request, timing_cache=None)
    except (BundleError, EngineError, OSError) as error:
        return GateResult(library.version, str(error))
    return GateResult(library.version, None)


def _picture_shape(path: Path) -> tuple[int, int, int]:
    model = read_graph(path)
    sizes = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
    if len(sizes) != 4:
        raise BundleError(f"{path} does not take pictures (N, H, W, 3)")
    return sizes[1], sizes[2], sizes[3]
