"""Where a picture lies within a larger one, by features (h, w, channels) of both."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.localize.orientation_features import FloatPicture


@dataclass(frozen=True)
class PictureMatch:
    """The best place of a picture's corner.

    Args:
        column: Of the larger picture, with its fraction; likewise row.
        similarity: Normalised correlation there, -1 to 1.
        margin: By how much it exceeds the best one further away.
        is_at_edge: The true place may lie outside of what was searched.
    """

    column: float
    row: float
    similarity: float
    margin: float
    is_at_edge: bool


def match_picture(part: FloatPicture, within: FloatPicture, apart_px: float) -> PictureMatch:
    """Find a picture in a larger one by normalised correlation, to a fraction of a pixel.

    Args:
        part: (h, w, channels), each channel's mean removed.
        within: (H, W, channels), at least as large.
        apart_px: How far the next best place has to lie to count as another one.
    """
    similarity = _correlation(part, within)
    row, column = np.unravel_index(int(similarity.argmax()), similarity.shape)
    rows, columns = (np.arange(side) for side in similarity.shape)
    elsewhere = np.hypot(rows[:, None] - row, columns - column) > apart_px
    best = float(similarity[row, column])
    height, width = similarity.shape
    is_at_edge = not (0 < row < height - 1 and 0 < column < width - 1)
    exact_row, exact_column = float(row), float(column)
    if not is_at_edge:
        exact_row += _vertex(similarity[row - 1 : row + 2, column])
        exact_column += _vertex(similarity[row, column - 1 : column + 2])
    return PictureMatch(
        exact_column,
        exact_row,
        best,
        best - float(similarity[elsewhere].max()) if elsewhere.any() else 0.0,
        is_at_edge,
    )


def _correlation(part: FloatPicture, within: FloatPicture) -> npt.NDArray[np.float32]:
    height, width = part.shape[:2]
    products = cv2.matchTemplate(
        np.ascontiguousarray(within), np.ascontiguousarray(part), cv2.TM_CCORR
    )
    energy = cv2.boxFilter(
        np.einsum("hwc,hwc->hw", within, within),
        -1,
        (width, height),
        anchor=(0, 0),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )[: products.shape[0], : products.shape[1]]
    own = max(float(np.einsum("hwc,hwc->", part, part)), 1e-9)
    return np.asarray(products / np.sqrt(np.maximum(energy, 1e-9) * own), np.float32)


def _vertex(three: npt.NDArray[np.float32]) -> float:
    """Where a parabola through values at -1, 0 and 1 is highest, the middle one being largest."""
    before, middle, after = (float(value) for value in three)
    bend = before - 2.0 * middle + after
    return 0.0 if bend >= -1e-9 else 0.5 * (before - after) / bend
