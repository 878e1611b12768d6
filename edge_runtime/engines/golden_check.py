"""Does an engine compute what the encoder computes? Asked whenever one is opened."""

from __future__ import annotations

import logging

import numpy as np

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import BundleError, EngineError
from edge_runtime.engines import Engine

_LOG = logging.getLogger(__name__)

LEAST_GOLDEN_COSINE = 0.999
"""Of a descriptor in fp32 to the one that the exporter stored; in fp16 too, by default."""

FLOOR_COSINE = 0.95
"""What nothing can lower. On a real flight a frame's most similar other had a cosine of 0.78 on
average, an angle of 39 degrees: a descriptor that is off by less than half of it, down to a cosine
of 0.944, is still nearer to its own place than to that one, whichever way it errs."""

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
    cosine, wanted = golden_cosine(engine, bundle), least_golden_cosine(bundle, precision)
    least = max(wanted, FLOOR_COSINE)
    found = (
        f"its {precision} descriptors of {bundle.folder}'s golden pictures have a cosine of "
        f"{cosine:.4f} to the stored ones"
    )
    if not cosine >= least:  # also when it is not a number
        lowered = f", however low the bundle's own limit ({wanted:.4g})" if wanted < least else ""
        return f"{found}, {least:.4g} is needed{lowered}"
    if precision == "fp16" and cosine < LEAST_GOLDEN_COSINE:
        _LOG.warning("%s: accepted, as the export lowered its threshold to %.4g", found, wanted)
    return ""


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
    """What a bundle asks of a precision: the export's threshold, or nearly what it measured.

    Raises:
        BundleError: If the recorded threshold is no number.
    """
    if precision == "fp32":
        return LEAST_GOLDEN_COSINE
    if precision == "fp16":
        return _recorded_threshold(bundle, "fp16_min_cosine")
    try:
        measured = float(bundle.manifest["verification"][precision]["cosine_min"])
    except (KeyError, TypeError, ValueError):
        return _UNMEASURED_LEAST
    return min(measured - _FURTHER_THAN_MEASURED, LEAST_GOLDEN_COSINE)


def _recorded_threshold(bundle: EncoderBundle, name: str) -> float:
    """What `dmnil-export --thresholds` was given; of bundles that record none, the usual one."""
    thresholds = bundle.manifest.get("thresholds", {})
    recorded = thresholds.get(name, LEAST_GOLDEN_COSINE) if isinstance(thresholds, dict) else None
    if isinstance(recorded, bool) or not isinstance(recorded, (int, float)):
        raise BundleError(
            f"{bundle.folder}: manifest field 'thresholds.{name}' is no number: export it again"
        )
    return float(recorded)
