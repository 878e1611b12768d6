"""Pictures from coded bytes."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


def decode_picture(data: bytes) -> npt.NDArray[np.uint8] | None:
    """The RGB picture (H, W, 3) in JPEG, PNG or other bytes; None if it cannot be decoded."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    if picture is None:
        return None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def decode_whole_picture(data: bytes) -> npt.NDArray[np.uint8] | None:
    """As `decode_picture`, but None for a JPEG that was cut short too."""
    return None if not data or is_cut_short(data) else decode_picture(data)


def is_cut_short(data: bytes) -> bool:
    """Whether a JPEG lacks its end; OpenCV would fill up the rest with grey."""
    return data.startswith(_JPEG_START) and data.rfind(_JPEG_END, len(data) // 2) < 0
