"""Cosine similarity as rankings see it: of unit-length features, in whole steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIMILARITY_STEPS = np.float32(1 << 20)
"""Steps in a similarity of 1. Single precision rounds a cosine by up to about 1e-6: what lies
closer together is equal."""

Features = npt.NDArray[np.float32]


def unit_length(features: Features) -> Features:
    """Features (N, D) over their lengths; those without any stay zero."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.where(lengths > 0, lengths, 1.0), np.float32)
