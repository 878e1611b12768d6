"""Every precision's graph, run as the drone runs it, against the encoder in torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dmnil_export.config import Thresholds
from dmnil_export.golden_images import Images
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import BundleError
from edge_runtime.engines import Engine
from edge_runtime.engines.onnx_runtime import OnnxRuntimeEngine

FP32_MAX_DIFFERENCE = 1e-5
Descriptors = npt.NDArray[np.float32]
Figures = dict[str, Any]
"""What was measured of one precision, as JSON takes it."""
_ALL = slice(None)
_BATCH = 8
_ODD_BATCH = 5
_ROUNDING = 2e-5
"""Shares of queries are kept to five digits."""


def open_for_verification(bundle: EncoderBundle, precision: str) -> Engine:
    """The engine that flies where there is no GPU; what it computes is not judged yet."""
    return OnnxRuntimeEngine(bundle, precision)


@torch.no_grad()
def reference_descriptors(encoder: Encoder, images: Images) -> Descriptors:
    """Descriptors (N, D) that the encoder gives in torch, in float32.

    Raises:
        BundleError: If they are not finite.
    """
    batches = [
        encoder(torch.from_numpy(images[start : start + _BATCH])).numpy()
        for start in range(0, len(images), _BATCH)
    ]
    descriptors: Descriptors = np.concatenate(batches)
    if not np.isfinite(descriptors).all():
        raise BundleError("the weights give descriptors that are not finite")
    return descriptors


def agreement_in_engine(
    engine: Engine, images: Images, expected: Descriptors, judged: slice = _ALL
) -> Figures:
    """How far an engine's descriptors are from the expected ones.

    Args:
        judged: Which pictures the mean and the percentile are about; extremes are about all.
    """
    # Batches of 5 and less: a batch size that was fixed at export shows itself here.
    starts = range(0, len(images), _ODD_BATCH)
    found = np.concatenate([engine.encode(images[at : at + _ODD_BATCH]) for at in starts])
    cosines = cosines_of(found, expected)
    return {
        "images": len(images[judged]),
        "cosine_min": _rounded(cosines.min()),
        "cosine_p1": _rounded(np.percentile(cosines[judged], 1)),
        "cosine_mean": _rounded(cosines[judged].mean()),
        "max_abs_difference": float(f"{np.abs(found - expected).max():.2g}"),
    }


@torch.no_grad()
def agreement_in_half_arithmetic(half: Encoder, images: Images, expected: Descriptors) -> Figures:
    """How far a half-precision encoder is in torch, which rounds every activation to half.

    ONNX Runtime on a processor widens fp16 operations to float32, so that it would not notice an
    activation beyond half's range; a GPU would.
    """
    cosines = cosines_of(half(torch.from_numpy(images)).numpy(), expected)
    return {
        "half_arithmetic_images": len(images),
        "half_arithmetic_cosine_min": _rounded(cosines.min()),
    }


def cosines_of(found: Descriptors, expected: Descriptors) -> npt.NDArray[np.float64]:
    """Cosine (N,) of each row; not a number where a descriptor is not finite."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.sum(a * b, axis=1) / lengths, np.float64)


def require_thresholds(measured: Mapping[str, Figures], thresholds: Thresholds) -> None:
    """Refuse a bundle with a graph that departs too far from the encoder.

    Args:
        measured: Figures by precision.
    Raises:
        BundleError: Naming every threshold that is missed, and how to get on.
    """
    difference = measured["fp32"]["max_abs_difference"]
    if not difference <= FP32_MAX_DIFFERENCE:
        raise BundleError(
            f"the fp32 graph differs from torch by {difference:g}, more than "
            f"{FP32_MAX_DIFFERENCE:g}: this is a defect of the export, please report it"
        )
    misses = {name: _misses(name, figures, thresholds) for name, figures in measured.items()}
    told = "; ".join(f"{name}: {', '.join(words)}" for name, words in misses.items() if words)
    if told:
        flags = " ".join(f"--{name}" for name, words in misses.items() if words)
        raise BundleError(
            f"these weights do not bear every precision: {told}; nothing was written: export "
            f"without {flags}, or set the threshold by its name"
        )


def _misses(precision: str, figures: Figures, thresholds: Thresholds) -> list[str]:
    found = []
    if precision == "fp16":
        wanted = thresholds.fp16_min_cosine
        for name in ("cosine_min", "half_arithmetic_cosine_min"):
            if not figures.get(name, 1.0) >= wanted:  # also when it is not a number
                found.append(f"{name} {figures[name]:.5f} (thresholds.fp16_min_cosine {wanted:g})")
    elif precision.startswith("int8"):
        wanted = thresholds.int8_mean_cosine
        if not figures["cosine_mean"] >= wanted:
            found.append(
                f"cosine_mean {figures['cosine_mean']:.5f} (thresholds.int8_mean_cosine {wanted:g})"
            )
    for agreement in figures.get("retrieval", []):
        lost = agreement["recall_at_1_fp32"] - agreement["recall_at_1"]
        allowed = max(thresholds.recall_drop_points / 100.0, 1.0 / agreement["queries"])
        if lost > allowed + _ROUNDING:
            found.append(
                f"R@1 falls by {100.0 * lost:.1f} points on {agreement['task']} "
                f"(thresholds.recall_drop_points {thresholds.recall_drop_points:g})"
            )
    return found


def _rounded(value: Any) -> float:
    return round(float(value), 7)
