"""Pictures as the log holds them, decoded the same way in flight and in a replay."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import SourceError

_SIGNATURES = {b"\xff\xd8": "jpeg", b"\x89PNG": "png", b"RIFF": "webp"}


def encode_jpeg(image: npt.NDArray[np.uint8], quality: int) -> bytes:
    """An RGB picture (H, W, 3) as JPEG.

    Raises:
        SourceError: If OpenCV cannot code it.
    """
    try:
        coded, data = cv2.imencode(
            ".jpg",
            cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, quality],
        )
    except cv2.error as error:
        raise SourceError(f"a frame cannot be coded as JPEG: {error.err}") from error
    if not coded:
        raise SourceError("a frame cannot be coded as JPEG")
    return data.tobytes()


def picture_kind(data: bytes) -> str:
    """jpeg, png or webp, by the first bytes; other kinds are called unknown."""
    for signature, kind in _SIGNATURES.items():
        if data.startswith(signature):
            return kind
    return "unknown"
