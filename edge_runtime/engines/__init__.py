"""Inference engines behind one interface, chosen once, at start."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import EngineError

if TYPE_CHECKING:
    from edge_runtime.engines.tensorrt_config import TensorRtConfig


_LOG = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs an encoder: pictures in, descriptors out."""

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit-length descriptors (N, D) of RGB pictures (N, H, W, 3) at the input size."""
        ...


def precision_run(bundle: EncoderBundle, precision: str, backend: str = "onnxruntime") -> str:
    """The precision whose graph a backend really runs where another is asked for.

    8 bits have two graphs. Signed ones, which TensorRT wants, ONNX Runtime computes in float on the
    processor, slower than fp32; there int8-cpu stands for int8 wherever the bundle has it.
    """
    on_processor = backend == "onnxruntime" and "int8-cpu" in bundle.precisions
    return "int8-cpu" if precision == "int8" and on_processor else precision


def open_engine(
    bundle: EncoderBundle | Path,
    precision: str = "fp32",
    backend: str = "onnxruntime",
    threads: int = 0,
    tensorrt: TensorRtConfig | None = None,
    golden_check: bool = True,
) -> Engine:
    """Open a bundle's graph in a backend, and see that it gives the bundle's golden descriptors.

    Args:
        precision: A graph of the bundle; see `precision_run` for which one int8 is.
        backend: onnxruntime (on the processor), onnxruntime-cuda, onnxruntime-tensorrt (that
            library's own use of TensorRT), or tensorrt.
        threads: Processor threads that onnxruntime may use; 0 leaves it to onnxruntime.
        tensorrt: Batch sizes and places of the backend tensorrt, which may build for minutes.
        golden_check: Refuse an engine that computes wrongly; see `golden_check`.

    Raises:
        BundleError: If the bundle is unusable or lacks the precision.
        EngineError: If the backend is unknown, not installed, refuses the graph or computes it
            wrongly.
    """
    if isinstance(bundle, Path):
        bundle = load_encoder_bundle(bundle)
    asked, precision = precision, precision_run(bundle, precision, backend)
    if precision != asked:
        _LOG.warning("%s: %s stands for %s on the processor", bundle.folder, precision, asked)
    if backend == "tensorrt":
        from edge_runtime.engines.tensorrt import TensorRtEngine

        return TensorRtEngine(bundle, precision, tensorrt, golden_check=golden_check)
    from edge_runtime.engines.golden_check import require_golden
    from edge_runtime.engines.onnx_runtime import (
        PROVIDERS,
        DeviceOnnxRuntimeEngine,
        OnnxRuntimeEngine,
    )

    if backend not in PROVIDERS:
        choices = ", ".join((*PROVIDERS, "tensorrt"))
        raise EngineError(f"unknown engine backend '{backend}': choose one of {choices}")
    engine = (
        OnnxRuntimeEngine(bundle, precision, threads)
        if backend == "onnxruntime"
        else DeviceOnnxRuntimeEngine(bundle, precision, backend)
    )
    if golden_check:
        require_golden(engine, bundle, precision)
    return engine
