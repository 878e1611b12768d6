"""Principal components of an encoder's vectors, fitted without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch

from dmnil_train.encoder.heads import unit_length
from dmnil_train.encoder.model import Encoder, build_encoder
from edge_runtime.contract.errors import ConfigError

FloatArray = npt.NDArray[np.float32]


def principal_components(
    vectors: FloatArray, size: int, whitening_power: float = 0.0
) -> tuple[FloatArray, FloatArray]:
    """Mean (D,) and components (size, D) of vectors (N, D), strongest first.

    Args:
        vectors: (N, D), of any length.
        size: Components to keep, at most N - 1 and D.
        whitening_power: Each component is divided by its standard deviation to this power: 0
            rotates only, 1 whitens.
    Raises:
        ConfigError: If there are too few vectors for that many components.
    """
    if size >= len(vectors) or size > vectors.shape[1]:
        raise ConfigError(
            f"{size} components need more than {size} images and at least {size} values a vector; "
            f"there are {len(vectors)} images of {vectors.shape[1]} values"
        )
    if not 0.0 <= whitening_power <= 1.0:
        raise ConfigError(f"whitening_power is {whitening_power}: choose 0 (none) to 1 (full)")
    mean = vectors.mean(axis=0, dtype=np.float64)
    _, lengths, rows = np.linalg.svd(vectors - mean, full_matrices=False)
    deviations = np.maximum(lengths[:size] / np.sqrt(len(vectors) - 1), 1e-12)
    # A component's sign is arbitrary: its largest entry is made positive, on every machine alike.
    largest = np.argmax(np.abs(rows[:size]), axis=1)
    signs = np.sign(rows[np.arange(size), largest])
    components = rows[:size] * (signs / deviations**whitening_power)[:, None]
    return mean.astype(np.float32), components.astype(np.float32)


@torch.no_grad()
def fit_projection(
    encoder: Encoder,
    image_batches: Iterable[npt.NDArray[np.uint8]],
    descriptor_size: int,
    whitening_power: float = 0.0,
) -> Encoder:
    """A new encoder, in evaluation mode, that keeps the principal components of these images.

    Args:
        encoder: Its projection, if it has one, is replaced.
        image_batches: uint8 batches (N, H, W, 3) at input size; none needs a label.
        descriptor_size: Components to keep.
        whitening_power: See `principal_components`.
    Raises:
        ConfigError: If there are too few images.
    """
    encoder.eval()
    batches = [unit_length(encoder.head_vectors(torch.from_numpy(b))) for b in image_batches]
    if not batches:
        raise ConfigError("principal components need images, and there are none")
    vectors = torch.cat(batches).numpy()
    mean, components = principal_components(vectors, descriptor_size, whitening_power)
    weights = encoder.state_dict()
    weights["projection.mean"] = torch.from_numpy(mean)
    weights["projection.components"] = torch.from_numpy(components)
    config = dataclasses.replace(encoder.config, descriptor_size=descriptor_size)
    return build_encoder(config, weights).eval()
