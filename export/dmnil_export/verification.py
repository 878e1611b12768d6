"""Every precision's graph, run as the drone runs it, against the encoder in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from dmnil_train.encoder.model import Encoder

from dmnil_export.golden_images import Images
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
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = np.sum(found.astype(np.float64) * expected, axis=1) / lengths
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
    if precision != "fp32" and cosines.min() < REDUCED_MIN_COSINE:
        raise BundleError(
            f"the {precision} graph's worst cosine is {cosines.min():.5f}, below "
            f"{REDUCED_MIN_COSINE}: these weights do not bear it, export without --{precision}"
        )
    return measured
