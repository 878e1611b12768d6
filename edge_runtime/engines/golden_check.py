"""Does an engine compute what the encoder computes? Asked at every start of a GPU engine."""

from __future__ import annotations

import numpy as np

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import EngineError
from edge_runtime.engines import Engine

LEAST_GOLDEN_COSINE = {"fp32": 0.999, "fp16": 0.999, "int8": 0.99}
"""Of a descriptor to the one that the exporter stored, by the graph's precision."""


def golden_cosine(engine: Engine, bundle: EncoderBundle) -> float:
    """Smallest cosine of an engine's descriptors to those stored in its bundle.

    The pictures are encoded together and one by one: GPUs run another program for each.

    Returns:
        Not a number if a descriptor is all zeros.
    Raises:
        BundleError: If the stored pictures cannot be read.
        EngineError: If the engine fails on them.
    """
    images, expected = bundle.golden()
    alone = [engine.encode(image[np.newaxis]) for image in images]
    found = np.concatenate([engine.encode(images), *alone]).astype(np.float64)
    expected = np.concatenate([expected, expected])
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    with np.errstate(invalid="ignore"):  # a descriptor of zeros has no cosine
        return float((np.sum(found * expected, axis=1) / lengths).min())


def require_golden(engine: Engine, bundle: EncoderBundle, precision: str) -> None:
    """Refuse an engine that computes something else, as half precision on GPUs silently can.

    Raises:
        BundleError: If the stored pictures cannot be read.
        EngineError: If any descriptor is further from the stored one than the precision explains.
    """
    cosine = golden_cosine(engine, bundle)
    if not cosine >= LEAST_GOLDEN_COSINE[precision]:  # also when it is not a number
        raise EngineError(
            f"the engine computes wrongly: its {precision} descriptors of {bundle.folder}'s golden "
            f"pictures have a cosine of {cosine:.4f} to the stored ones, "
            f"{LEAST_GOLDEN_COSINE[precision]} is needed: fly in another precision, or with the "
            "engine onnxruntime"
        )
