"""What a season, another sensor and other light leave of a picture: where its edges run."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

CHANNELS = 6
_QUIET = 0.3
"""Gradients weaker than this share of the picture's typical ones count less and less."""
_OUTLIER_FREE = 75.0

FloatPicture = npt.NDArray[np.float32]


def orientation_features(rgb: npt.NDArray[np.uint8], blur_px: float) -> FloatPicture:
    """How strongly a picture's edges run in each of six directions, (h, w, 6).

    Channel features of orientated gradients (Ye et al. 2019): strengths of the gradient along
    each direction whatever its sign, smoothed, and brought to unit length at every pixel, so that
    a shadow's edge and a road's count alike and light and dark may change places.

    Args:
        rgb: (h, w, 3).
        blur_px: Standard deviation of the smoothing in pixels.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    right, down = (
        cv2.Scharr(grey, cv2.CV_32F, *axes, borderType=cv2.BORDER_REPLICATE)
        for axes in ((1, 0), (0, 1))
    )
    angles = np.arange(CHANNELS) * np.pi / CHANNELS
    strengths = np.abs(
        right[..., None] * np.cos(angles, dtype=np.float32)
        + down[..., None] * np.sin(angles, dtype=np.float32)
    )
    # OpenCV filters up to four channels at a time.
    smooth = np.concatenate(
        [
            cv2.GaussianBlur(strengths[..., part], (0, 0), blur_px)
            for part in (slice(0, 3), slice(3, 6))
        ],
        axis=-1,
    )
    length = np.linalg.norm(smooth, axis=-1, keepdims=True)
    typical = max(float(np.percentile(length[::2, ::2], _OUTLIER_FREE)), 1e-6)
    return np.asarray(smooth / (length + _QUIET * typical), np.float32)
