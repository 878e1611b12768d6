"""Inference engines behind one interface, chosen once, at start."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import EngineError


class Engine(Protocol):
    """Runs an encoder: pictures in, descriptors out."""

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit-length descriptors (N, D) of RGB pictures (N, H, W, 3) at the input size."""
        ...


def open_engine(
    bundle: EncoderBundle | Path,
    precision: str = "fp32",
    backend: str = "onnxruntime",
    threads: int = 0,
) -> Engine:
    """Open a bundle's graph in a backend.

    Args:
        threads: Processor threads the backend may use; 0 leaves it to the backend.

    Raises:
        BundleError: If the bundle is unusable or lacks the precision.
        EngineError: If the backend is unknown, not installed or refuses the graph.
    """
    if isinstance(bundle, Path):
        bundle = load_encoder_bundle(bundle)
    if backend == "onnxruntime":
        from edge_runtime.engines.onnx_runtime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(bundle, precision, threads)
    raise EngineError(f"unknown engine backend '{backend}': choose onnxruntime")
