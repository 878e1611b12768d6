"""Cosine similarity as rankings see it: of unit-length features, in whole steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIMILARITY_STEPS = np.float32(1 << 20)
"""Steps in a similarity of 1. Single precision rounds a cosine by up to about 1e-6: what lies
closer together is equal."""

Features = npt.NDArray[np.float32]


def unit_length(features: Features) -> Features:
    """Features (..., D) over their lengths; those without any stay zero."""
    lengths = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.where(lengths > 0, lengths, 1.0), np.float32)


def could_be_read(features: Features) -> npt.NDArray[np.bool_]:
    """Which of (N, ..., D) features are not all zero, as those of unreadable images are, (N,)."""
    return np.asarray(features.reshape(len(features), -1).any(axis=1))


def cosines(queries: Features, gallery: Features) -> Features:
    """Cosines (Q, G) of unit-length features; where images have several, the highest.

    Args:
        queries: (Q, D), or (Q, V, D) for V views of each image.
        gallery: (G, D), or (G, V, D).
    """
    size = queries.shape[-1]
    found = queries.reshape(-1, size) @ gallery.reshape(-1, size).T
    query_views, gallery_views = (
        1 if side.ndim == 2 else side.shape[1] for side in (queries, gallery)
    )
    if query_views == gallery_views == 1:
        return np.asarray(found, np.float32)
    by_view = found.reshape(len(queries), query_views, len(gallery), gallery_views)
    return np.asarray(by_view.max(axis=(1, 3)), np.float32)
