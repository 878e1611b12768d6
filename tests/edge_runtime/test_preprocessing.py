from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.contract.preprocessing import resize_to_input


def test_a_picture_of_the_input_size_passes_through_unchanged() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_to_input(picture, 8, 12), picture)


def test_a_view_into_a_larger_picture_becomes_contiguous() -> None:
    picture = np.zeros((20, 20, 3), np.uint8)[::2, ::2]
    assert resize_to_input(picture, 10, 10).flags.c_contiguous


def test_shrinking_averages_areas_and_does_not_alias() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200
    np.testing.assert_allclose(resize_to_input(stripes, 8, 8), 100, atol=1)


def test_growing_interpolates_between_pixels() -> None:
    picture = np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8).repeat(2, axis=0)
    grown = resize_to_input(picture, 8, 8)[4, :, 0].astype(int)
    assert grown[0] == 0
    assert grown[-1] == 200
    assert (np.diff(grown) >= 0).all()
    assert len(set(grown.tolist())) > 3


@pytest.mark.parametrize("size", [(16, 4), (3, 40), (50, 50)])
def test_the_size_is_height_by_width_and_channels_stay_apart(size: tuple[int, int]) -> None:
    picture = np.empty((10, 20, 3), np.uint8)
    picture[:] = (10, 100, 200)
    resized = resize_to_input(picture, *size)
    assert resized.shape == (*size, 3)
    assert resized.dtype == np.uint8
    np.testing.assert_array_equal(
        resized.reshape(-1, 3), np.tile([10, 100, 200], (size[0] * size[1], 1))
    )
