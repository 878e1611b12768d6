"""Queries in a coarser precision, in a gallery in float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dmnil_export.golden_images import generate_images
from dmnil_export.retrieval_agreement import (
    OWN_PICTURES,
    RetrievalComparison,
    own_pictures_task,
)
from dmnil_train.data.pool import PreparedPool, RetrievalTask


class Lookup:
    """An engine that reads the index of a direction off a picture's first pixel."""

    def __init__(self, directions: dict[int, int]) -> None:
        self._directions = directions

    def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        rows = [self._directions[int(value)] for value in images[:, 0, 0, 0]]
        return np.eye(4, dtype=np.float32)[rows]


def pool(*values: int) -> PreparedPool:
    pictures = np.zeros((len(values), 2, 2, 3), np.uint8)
    pictures[:, 0, 0, 0] = values
    return PreparedPool(pictures, tuple(map(str, values)), np.arange(len(values)))


def test_a_query_that_finds_another_place_counts_as_changed_and_as_lost() -> None:
    # Query 10 shows place 0 and so on; gallery picture 20 is place 0's.
    task = RetrievalTask(
        "drone->satellite", pool(10, 11, 12, 13), pool(20, 21, 22), np.arange(4), np.arange(3)
    )
    gallery = {20: 0, 21: 1, 22: 2}
    exact = Lookup({10: 0, 11: 1, 12: 2, 13: 2, **gallery})
    # The second is lost, the fourth goes from one wrong place to another.
    coarse = Lookup({10: 0, 11: 0, 12: 2, 13: 1, **gallery})
    (agreement,) = RetrievalComparison([task], exact, 2, 2).of(coarse)
    assert (agreement.queries, agreement.gallery) == (4, 3)
    assert agreement.recall_at_1_fp32 == pytest.approx(3 / 4)
    assert agreement.recall_at_1 == pytest.approx(2 / 4)
    assert agreement.top1_changed == pytest.approx(2 / 4)


def test_the_gallery_stays_as_float32_describes_it() -> None:
    task = RetrievalTask("t", pool(10), pool(20), np.arange(1), np.arange(1))
    exact = Lookup({10: 0, 20: 0})
    coarse = Lookup({10: 0, 20: 3})  # would not find it, were the gallery described by this one
    (agreement,) = RetrievalComparison([task], exact, 2, 2).of(coarse)
    assert agreement.recall_at_1 == 1.0


def test_without_a_map_every_picture_is_looked_for_among_all() -> None:
    images = generate_images(5, 40, 60, seed=1)
    task = own_pictures_task(images)
    assert task.name == OWN_PICTURES
    np.testing.assert_array_equal(task.query_places, task.gallery_places)
    for index in range(5):
        query = task.queries.read(index).astype(np.float64)
        np.testing.assert_array_equal(task.gallery.read(index), images[index])
        # Darker, and no copy: yet still more like its own picture than like any other.
        assert query.mean() < 0.95 * images[index].mean()
        likeness = [np.corrcoef(query.ravel(), image.ravel())[0, 1] for image in images]
        assert int(np.argmax(likeness)) == index
        assert max(likeness) < 0.98
