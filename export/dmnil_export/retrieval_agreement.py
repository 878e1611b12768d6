"""Does a coarser encoder still find the same places? In a map whose tiles are in float32.

Where there is neither a map nor truth, pictures find themselves: each is shifted and darkened, as
a drone sees a tile, and looked for among all as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_export.golden_images import Images
from dmnil_train.data.pool import PreparedPool, RetrievalTask
from dmnil_train.evaluation.embed import Embedding, embed
from dmnil_train.evaluation.evaluate import score_task
from edge_runtime.engines import Engine

OWN_PICTURES = "shifted pictures->pictures"
_SHIFT = 0.08
_TURN_DEG = 4.0
_CONTRAST = 0.85
_BATCH = 16


@dataclass(frozen=True)
class RetrievalAgreement:
    """One task in a coarser precision, the gallery in float32.

    Args:
        recall_at_1_fp32: Share of queries found first, all in float32.
        recall_at_1: The same with queries in the coarser precision.
        top1_changed: Share of queries whose first result is another one.
    """

    task: str
    queries: int
    gallery: int
    recall_at_1_fp32: float
    recall_at_1: float
    top1_changed: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            name: round(value, 5) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


class RetrievalComparison:
    """Tasks whose queries and galleries are described in float32 once."""

    def __init__(
        self, tasks: Sequence[RetrievalTask], exact: Engine, height: int, width: int
    ) -> None:
        self._size = height, width
        self._tasks = [
            (task, self._described(exact, task, "queries"), self._described(exact, task, "gallery"))
            for task in tasks
        ]

    def of(self, coarse: Engine) -> list[RetrievalAgreement]:
        """How each task goes with queries by another engine."""
        found = []
        for task, exact_queries, gallery in self._tasks:
            queries = self._described(coarse, task, "queries")
            before = score_task(task, exact_queries, gallery).retrieval
            after = score_task(task, queries, gallery).retrieval
            changed = _first_results(queries, gallery) != _first_results(exact_queries, gallery)
            found.append(
                RetrievalAgreement(
                    task=task.name,
                    queries=after.queries,
                    gallery=after.gallery,
                    recall_at_1_fp32=before.recall_at_1,
                    recall_at_1=after.recall_at_1,
                    top1_changed=float(changed.mean()),
                )
            )
        return found

    def _described(self, engine: Engine, task: RetrievalTask, side: str) -> Embedding:
        pool = task.queries if side == "queries" else task.gallery
        return embed(engine.encode, pool, *self._size, _BATCH, label=f"{side} of {task.name}")


def own_pictures_task(images: Images) -> RetrievalTask:
    """Every picture (N, H, W, 3), shifted, turned and darkened, is to be found among all."""
    names = tuple(str(index) for index in range(len(images)))
    places = np.arange(len(images))
    moved = np.stack([_moved(image, index) for index, image in enumerate(images)])
    return RetrievalTask(
        name=OWN_PICTURES,
        queries=PreparedPool(moved, names, places),
        gallery=PreparedPool(images, names, places),
        query_places=places,
        gallery_places=places,
    )


def _moved(image: Images, index: int) -> Images:
    height, width = image.shape[:2]
    direction = 2.4 * index  # radians: neighbours go different ways
    turn = _TURN_DEG if index % 2 else -_TURN_DEG
    motion = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0), np.float64)
    motion[:, 2] += _SHIFT * np.array([width * np.cos(direction), height * np.sin(direction)])
    moved = cv2.warpAffine(image, motion, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(np.rint(moved * _CONTRAST), np.uint8)


def _first_results(queries: Embedding, gallery: Embedding) -> npt.NDArray[np.int64]:
    similarities = queries.features[queries.readable] @ gallery.features[gallery.readable].T
    return np.asarray(similarities.argmax(axis=1), np.int64)
