"""Does an engine compute what the encoder computes? Asked whenever one is opened."""

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


def golden_fault(engine: Engine, bundle: EncoderBundle, precision: str) -> str:
    """What is wrong with an engine's descriptors of the golden pictures; empty if nothing is.

    Raises:
        BundleError: If the stored pictures cannot be read.
        EngineError: If the engine fails on them.
    """
    cosine, least = golden_cosine(engine, bundle), least_golden_cosine(bundle, precision)
    if cosine >= least:  # false also when it is not a number
        return ""
    return (
        f"its {precision} descriptors of {bundle.folder}'s golden pictures have a cosine of "
        f"{cosine:.4f} to the stored ones, {least:.4g} is needed"
    )


def require_golden(engine: Engine, bundle: EncoderBundle, precision: str) -> None:
    """Refuse an engine that computes something else, as half precision on GPUs silently can.

    Raises:
        BundleError: If the stored pictures cannot be read.
        EngineError: If any descriptor is further from the stored one than the precision explains.
    """
    if fault := golden_fault(engine, bundle, precision):
        raise EngineError(
            f"the engine computes wrongly: {fault}: fly in another precision, or with the engine "
            "onnxruntime"
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
