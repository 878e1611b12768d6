"""Building with the real TensorRT-RTX, which needs no GPU for that.

It is another product than the TensorRT of a Jetson, which may refuse what this one takes.
"""

from __future__ import annotations

import pytest

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.engines.tensorrt_build import BuildRequest, BuiltEngine, build_engine
from edge_runtime.engines.tensorrt_library import TensorRt


def build_with_rtx(bundle: EncoderBundle, precision: str = "fp32") -> BuiltEngine:
    """Build a bundle's graph by the runtime's own builder; skips where TensorRT-RTX is missing."""
    module = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    path = bundle.graph_path(precision)
    request = BuildRequest(
        source=str(path),
        onnx=path.read_bytes(),
        picture_shape=(bundle.input_height, bundle.input_width, 3),
        usual_batch=1,
        max_batch=16,
        workspace_bytes=1 << 30,
    )
    # Without a timing cache: TensorRT-RTX has none, and warns where it is asked for one.
    return build_engine(TensorRt(module), request, timing_cache=None)
