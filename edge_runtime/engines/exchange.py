"""What goes into every engine and comes out of it, checked alike."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import EngineError

STAGES = ("h2d", "compute", "d2h")
"""Where a batch's time goes on a device: the copy in, the computation, the copy out."""


def require_pictures(images: npt.NDArray[np.uint8], picture_shape: tuple[int, int, int]) -> None:
    """Refuse pictures (N, H, W, 3) of another shape or type than the encoder takes.

    Raises:
        EngineError: Naming both.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != picture_shape:
        raise EngineError(
            f"encoder takes uint8 (N, {picture_shape[0]}, {picture_shape[1]}, 3), "
            f"got {images.dtype} {images.shape}"
        )


def require_finite(descriptors: npt.NDArray[np.float32]) -> None:
    """Refuse descriptors (N, D) that are not finite.

    Raises:
        EngineError: If any value is not.
    """
    if not np.isfinite(descriptors).all():
        raise EngineError("the encoder returned values that are not finite")
