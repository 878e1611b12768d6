"""The map's own axes: a projection fitted on its tiles, without labels.

Descriptors of one region share most of their content. Removing the mean, keeping the principal
components and damping the strong ones (a partial whitening) makes the rest count, and a quarter
to an eighth of the values suffice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import MapError
from edge_runtime.contract.row_sample import evenly_spread

WHITENING_POWER = 0.5
"""0 keeps all variances, 1 evens them out; full whitening makes noise as loud as places."""
_MOST_SAMPLES = 4096
_TILES_PER_COMPONENT = 2
_OVERSAMPLING = 32
_POWER_ITERATIONS = 2


def fit_projection(centred: npt.NDArray[np.float32], components: int) -> npt.NDArray[np.float32]:
    """Principal axes of descriptors, scaled by a power of their deviations.

    Args:
        centred: (N, D) descriptors, means removed, of unit length; N of at most a few thousand.
        components: How many axes to keep at most; fewer where there are few tiles.

    Returns:
        (D, K) projection, its axes by falling variance; K is at least 1.
    Raises:
        MapError: If the descriptors do not differ at all.
    """
    count = min(components, centred.shape[1], max(1, len(centred) // _TILES_PER_COMPONENT))
    deviations, axes = _strongest_axes(centred, count)
    count = min(count, int(np.sum(deviations > 1e-6 * deviations[0])))
    if count < 1 or deviations[0] <= 0.0:
        raise MapError("all tiles look the same to the encoder: is the imagery empty?")
    scale = (deviations[:count] / deviations[0]) ** -WHITENING_POWER
    # The sign of an axis is arbitrary; fixing it gives the same bytes on every machine.
    largest = np.abs(axes[:count]).argmax(axis=1)
    signs = np.sign(axes[np.arange(count), largest])
    return np.asarray(axes[:count].T * (scale * signs), np.float32)


def _strongest_axes(
    centred: npt.NDArray[np.float32], count: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Singular values (K,) and right singular vectors (K, D) by a randomised range finder.

    Subspace iteration with oversampling (Halko, Martinsson and Tropp 2011, algorithm 4.4): seconds
    less than a full decomposition, and the same axes where the spectrum falls as it does here.
    """
    random = np.random.default_rng(0)
    width = min(count + _OVERSAMPLING, *centred.shape)
    start = random.standard_normal((centred.shape[1], width)).astype(np.float32)
    basis = np.linalg.qr(centred @ start)[0]
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(centred @ np.linalg.qr(centred.T @ basis)[0])[0]
    _, deviations, axes = np.linalg.svd(basis.T @ centred, full_matrices=False)
    return deviations, axes


def sample_rows(count: int) -> npt.NDArray[np.intp]:
    """Rows to fit on: all, or an even spread over many."""
    return evenly_spread(count, _MOST_SAMPLES)


def project(
    descriptors: npt.NDArray[np.float32],
    mean: npt.NDArray[np.float32],
    projection: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Unit-length map descriptors (N, K) of an encoder's descriptors (N, D).

    In 64 bits: products of matrices round by how many rows they have, and a tile's bytes must not
    depend on the tiles that it is projected with.
    """
    projected = (np.asarray(descriptors, np.float64) - mean) @ projection.astype(np.float64)
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    return np.asarray(projected / np.maximum(lengths, 1e-12), np.float32)
