"""Retrieval examples as one picture, for TensorBoard."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_train.data.pool import ImagePool, RetrievalTask
from dmnil_train.evaluation.similarity import Features
from dmnil_train.reporting.retrieval_examples import (
    GalleryImage,
    RetrievalExample,
    sample_retrieval,
)
from dmnil_train.reporting.thumbnails import thumbnail

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_SIDE = 128
_FRAME = 4
_GAP = 8
_CAPTION = 20
_WIDTH = _SIDE + 2 * _FRAME + _GAP
_HEIGHT = _SIDE + 2 * _FRAME + _CAPTION + _GAP
_BACKGROUND: Colour = (24, 26, 30)
_EMPTY: Colour = (58, 62, 70)
_INK: Colour = (236, 238, 242)
_QUERY: Colour = (140, 150, 166)
_RELEVANT: Colour = (46, 176, 92)
_WRONG: Colour = (224, 72, 66)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SIZE = 0.42
_BADGE = 11


def retrieval_sheet(
    task: RetrievalTask,
    query_features: Features,
    gallery_features: Features,
    *,
    count: int = 10,
    best: int = 5,
    seed: int,
) -> Picture:
    """One row a query: the query, its first results, and the first relevant one if it is lower.

    Results carry their similarity, a green frame and a tick if relevant, else red and a cross.

    Args:
        query_features: (Q, D); a row of zeros is an image that could not be read.
        gallery_features: (G, D).
        count: Queries, half of them misses where there are any.
        best: Results of each.
        seed: Which queries are shown.
    Returns:
        (H, W, 3) RGB.
    Raises:
        SourceError: If no query, or nothing in the gallery, can take part.
    """
    sample = sample_retrieval(
        task, query_features, gallery_features, count=count, best=best, seed=seed
    )
    examples = (*sample.missed, *sample.found)
    columns = 1 + sample.columns
    sheet = np.full((len(examples) * _HEIGHT + _GAP, columns * _WIDTH + _GAP, 3), 0, np.uint8)
    sheet[:] = _BACKGROUND
    for row, example in enumerate(examples):
        _draw_example(sheet, row, example, task)
    return sheet


def _draw_example(sheet: Picture, row: int, example: RetrievalExample, task: RetrievalTask) -> None:
    first = example.first_relevant
    caption = f"rank {first.rank}" if first is not None else "no match"
    _draw_cell(sheet, (row, 0), task.queries, example.query, _QUERY, f"query, {caption}")
    for column, image in enumerate(example.best, start=1):
        _draw_result(sheet, (row, column), task.gallery, image, f"{image.similarity:.3f}")
    if (lower := example.lower) is not None:
        place = row, 1 + len(example.best)
        caption = f"#{lower.rank}  {lower.similarity:.3f}"
        _draw_result(sheet, place, task.gallery, lower, caption)


def _draw_result(
    sheet: Picture, place: tuple[int, int], gallery: ImagePool, image: GalleryImage, caption: str
) -> None:
    colour = _RELEVANT if image.is_relevant else _WRONG
    left, top = _draw_cell(sheet, place, gallery, image.index, colour, caption)
    centre = left + _FRAME + _BADGE + 2, top + _FRAME + _BADGE + 2
    cv2.circle(sheet, centre, _BADGE, colour, -1, cv2.LINE_AA)
    strokes = (
        [[(-5, 0), (-2, 4), (5, -4)]]
        if image.is_relevant
        else [[(-4, -4), (4, 4)], [(-4, 4), (4, -4)]]
    )
    for stroke in strokes:
        points = np.array(stroke, np.int32) + np.array(centre, np.int32)
        cv2.polylines(sheet, [points], False, _INK, 2, cv2.LINE_AA)


def _draw_cell(
    sheet: Picture,
    place: tuple[int, int],
    pool: ImagePool,
    index: int,
    colour: Colour,
    caption: str,
) -> tuple[int, int]:
    """Draw a framed image with its caption; returns its left and top edge in pixels."""
    row, column = place
    left, top = _GAP + column * _WIDTH, _GAP + row * _HEIGHT
    inner_left, inner_top, outer = left + _FRAME, top + _FRAME, _SIDE + 2 * _FRAME
    sheet[top : top + outer, left : left + outer] = colour
    sheet[inner_top : inner_top + _SIDE, inner_left : inner_left + _SIDE] = _EMPTY
    picture = thumbnail(pool, index, _SIDE)
    if picture is None:
        caption = f"{caption}, unreadable"
    else:
        height, width = picture.shape[:2]
        y, x = inner_top + (_SIDE - height) // 2, inner_left + (_SIDE - width) // 2
        sheet[y : y + height, x : x + width] = picture
    origin = left + 2, top + outer + _CAPTION - 6
    cv2.putText(sheet, caption, origin, _FONT, _FONT_SIZE, _INK, 1, cv2.LINE_AA)
    return left, top
