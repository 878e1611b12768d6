"""Does an engine compute what the encoder computes? Asked at every start of a GPU engine."""

from __future__ import annotations

import numpy as np

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import EngineError
from edge_runtime.engines import Engine

LEAST_GOLDEN_COSINE = 0.999
"""Of a descriptor in fp32 or fp16 to the one that the exporter stored."""

_FURTHER_THAN_MEASURED = 0.005
_UNMEASURED_LEAST = 0.98


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
    cosine, least = golden_cosine(engine, bundle), least_golden_cosine(bundle, precision)
    if not cosine >= least:  # also when it is not a number
        raise EngineError(
            f"the engine computes wrongly: its {precision} descriptors of {bundle.folder}'s golden "
            f"pictures have a cosine of {cosine:.4f} to the stored ones, {least:.4g} is needed: "
            "fly in another precision, or with the engine onnxruntime"
        )


def least_golden_cosine(bundle: EncoderBundle, precision: str) -> float:
    """What a precision must reach: coarser ones nearly what the exporter measured in them."""
    if precision in ("fp32", "fp16"):
        return LEAST_GOLDEN_COSINE
    try:
        measured = float(bundle.manifest["verification"][precision]["cosine_min"])
    except (KeyError, TypeError, ValueError):
        return _UNMEASURED_LEAST
    return min(measured - _FURTHER_THAN_MEASURED, LEAST_GOLDEN_COSINE)
