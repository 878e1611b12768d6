"""TensorRT engines of a bundle, built on this machine ahead of the first flight."""

from __future__ import annotations

import logging
from pathlib import Path

from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.engines import open_engine
from edge_runtime.engines.tensorrt_library import load_tensorrt

logger = logging.getLogger(__name__)
_FOR_PROCESSORS = "int8-cpu"


def require_tensorrt() -> None:
    """Find out before anything is exported that no engine can be built here.

    Raises:
        EngineError: If TensorRT is not installed, or too old.
    """
    load_tensorrt()


def build_engines(folder: Path) -> tuple[str, ...]:
    """Build an engine for every precision of a bundle into the cache that flights read.

    They are for the batches that the bundle names, which flights ask for unless told otherwise.

    Returns:
        The precisions that engines were built for.
    Raises:
        EngineError: If there is no GPU, TensorRT refuses a graph, or computes it wrongly.
    """
    bundle = load_encoder_bundle(folder)
    precisions = tuple(name for name in bundle.precisions if name != _FOR_PROCESSORS)
    for precision in precisions:
        logger.info("building the TensorRT engine of %s in %s", folder.name, precision)
        open_engine(bundle, precision, "tensorrt")
    return precisions
