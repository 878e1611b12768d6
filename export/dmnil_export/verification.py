"""Every precision's graph, run as the drone runs it, against the encoder in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dmnil_export.golden_images import Images
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError
from edge_runtime.engines import open_engine

FP32_MAX_DIFFERENCE = 1e-5
REDUCED_MIN_COSINE = 0.999
_BATCH = 8


@torch.no_grad()
def reference_descriptors(encoder: Encoder, images: Images) -> npt.NDArray[np.float32]:
    """Descriptors (N, D) that the encoder gives in torch, in float32.

    Raises:
        BundleError: If they are not finite.
    """
    batches = [
        encoder(torch.from_numpy(images[start : start + _BATCH])).numpy()
        for start in range(0, len(images), _BATCH)
    ]
    descriptors: npt.NDArray[np.float32] = np.concatenate(batches)
    if not np.isfinite(descriptors).all():
        raise BundleError("the weights give descriptors that are not finite")
    return descriptors


def verify_precision(
    folder: Path, precision: str, images: Images, expected: npt.NDArray[np.float32]
) -> dict[str, float | int]:
    """How far a bundle's graph is from the expected descriptors.

    Raises:
        BundleError: If fp32 differs by more than 1e-5 anywhere, or another precision's cosine
            falls below 0.999 for any image.
    """
    # Batches of 5 and less: a batch size that was fixed at export shows itself here.
    engine = open_engine(load_encoder_bundle(folder), precision)
    found = np.concatenate([engine.encode(images[i : i + 5]) for i in range(0, len(images), 5)])
    cosines = _cosines(found, expected)
    difference = float(np.abs(found - expected).max())
    measured: dict[str, float | int] = {
        "images": len(images),
        "cosine_min": round(float(cosines.min()), 7),
        "cosine_mean": round(float(cosines.mean()), 7),
        "max_abs_difference": float(f"{difference:.2g}"),
    }
    if precision == "fp32" and difference > FP32_MAX_DIFFERENCE:
        raise BundleError(
            f"the fp32 graph differs from torch by {difference:.2g}, more than "
            f"{FP32_MAX_DIFFERENCE:g}: this is a defect of the export, please report it"
        )
    if precision != "fp32":
        _refuse_low_cosine(precision, cosines)
    return measured


@torch.no_grad()
def verify_half_arithmetic(
    half: Encoder, images: Images, expected: npt.NDArray[np.float32]
) -> dict[str, float | int]:
    """How far a half-precision encoder is in torch, which rounds every activation to half.

    ONNX Runtime on a processor widens fp16 operations to float32, so that it would not notice an
    activation beyond half's range; a GPU would.

    Raises:
        BundleError: If the cosine falls below 0.999 for any image, or is not a number.
    """
    found = half(torch.from_numpy(images)).numpy()
    cosines = _cosines(found, expected)
    _refuse_low_cosine("fp16", cosines)
    return {
        "half_arithmetic_images": len(images),
        "half_arithmetic_cosine_min": round(float(cosines.min()), 7),
    }


def _cosines(
    found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    a, b = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray(np.sum(a * b, axis=1) / lengths, np.float64)


def _refuse_low_cosine(precision: str, cosines: npt.NDArray[np.float64]) -> None:
    worst = cosines.min()
    if not worst >= REDUCED_MIN_COSINE:  # also when it is not a number
        raise BundleError(
            f"the {precision} encoder's worst cosine is {worst:.5f}, below {REDUCED_MIN_COSINE}: "
            f"these weights do not bear it, export without --{precision}"
        )
