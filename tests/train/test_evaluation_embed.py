from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from dmnil_train.evaluation.embed import Embedding, embed, without_mean
from edge_runtime.contract.errors import SourceError

Image = npt.NDArray[np.uint8]


@dataclass
class PlainPool:
    """Uniform pictures whose colour is their index; some cannot be read."""

    size: int
    broken: frozenset[int] = frozenset()
    height: int = 10
    readers: set[str] = field(default_factory=set)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{index}.jpg" for index in range(self.size))

    def __len__(self) -> int:
        return self.size

    def read(self, index: int) -> Image:
        self.readers.add(threading.current_thread().name)
        if index in self.broken:
            raise SourceError(f"{index}.jpg cannot be decoded")
        return np.full((self.height, 14, 3), index, np.uint8)


def colour_of(images: Image) -> npt.NDArray[np.float32]:
    """Descriptor: angle in the plane, by the picture's colour."""
    angle = images.mean(axis=(1, 2, 3)) / 100.0
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def left_and_right(images: Image) -> npt.NDArray[np.float32]:
    middle = images.shape[2] // 2
    halves = [
        images[:, :, :middle].mean(axis=(1, 2, 3)),
        images[:, :, middle:].mean(axis=(1, 2, 3)),
    ]
    vectors = np.stack(halves, axis=1)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_descriptors_come_in_the_pools_order_whatever_the_batch(batch_size: int) -> None:
    pool = PlainPool(50)
    got = embed(colour_of, pool, 10, 14, batch_size, readers=4)
    expected = np.stack([np.cos(np.arange(50) / 100), np.sin(np.arange(50) / 100)], axis=1)
    np.testing.assert_allclose(got.features, expected, atol=1e-6)
    assert got.features.dtype == np.float32
    assert got.readable.all()
    assert threading.current_thread().name not in pool.readers


def test_the_encoder_sees_its_own_size_in_batches_no_larger_than_asked() -> None:
    shapes = []

    def encode(images: Image) -> npt.NDArray[np.float32]:
        shapes.append(images.shape)
        return colour_of(images)

    embed(encode, PlainPool(7, height=33), 8, 12, batch_size=3)
    assert shapes == [(3, 8, 12, 3), (3, 8, 12, 3), (1, 8, 12, 3)]


def test_unreadable_images_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        got = embed(colour_of, PlainPool(40, broken=frozenset({0, 17})), 10, 14, batch_size=1)
    assert got.unreadable == 2
    assert np.flatnonzero(~got.readable).tolist() == [0, 17]
    assert not got.features[[0, 17]].any()
    np.testing.assert_allclose(np.linalg.norm(got.features[got.readable], axis=1), 1.0, rtol=1e-6)
    assert "left out 2 unreadable images: 0.jpg cannot be decoded; 17.jpg" in caplog.text


def test_more_than_one_in_twenty_unreadable_images_stop_it() -> None:
    broken = frozenset({3, 11, 12})
    with pytest.raises(
        SourceError, match=r"3 of the first \d+ images of 40 cannot be read.*3\.jpg"
    ):
        embed(colour_of, PlainPool(40, broken), 10, 14, batch_size=8)


def test_a_pool_without_images_is_refused() -> None:
    with pytest.raises(SourceError, match="no images"):
        embed(colour_of, PlainPool(0), 10, 14, batch_size=8)


def test_a_failing_encoder_is_heard() -> None:
    def fail(images: Image) -> npt.NDArray[np.float32]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        embed(fail, PlainPool(100), 10, 14, batch_size=2)


def test_mirrored_images_are_described_alike() -> None:
    class HalfPool(PlainPool):
        def read(self, index: int) -> Image:
            picture = np.zeros((10, 14, 3), np.uint8)
            picture[:, :7] = 200
            return picture if index == 0 else np.ascontiguousarray(picture[:, ::-1])

    plain = embed(left_and_right, HalfPool(2), 10, 14, batch_size=2)
    np.testing.assert_allclose(plain.features, [[1, 0], [0, 1]], atol=1e-6)
    both = embed(left_and_right, HalfPool(2), 10, 14, batch_size=2, mirror=True)
    np.testing.assert_allclose(both.features, np.full((2, 2), np.sqrt(0.5)), rtol=1e-6)


def test_the_mean_that_is_removed_is_that_of_readable_images() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], np.float32)
    got = without_mean(Embedding(features, np.array([True, True, False])))
    half = np.sqrt(0.5)
    np.testing.assert_allclose(got.features, [[half, -half], [-half, half], [0, 0]], rtol=1e-6)
    assert got.unreadable == 1
