"""8-bit rounding by hand, and by properties."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
from hypothesis import given

from dmnil_export.precision.rounding import (
    activation_scale,
    rounded,
    rounded_weights,
    weight_scales,
)

WEIGHTS = arrays.arrays(np.float32, (3, 5), elements=st.floats(-4.0, 4.0, width=32))


def test_values_become_multiples_of_the_scale_and_are_cut_off_at_the_ends() -> None:
    values = np.array([0.2, 0.3, -1.4, 200.0, -200.0], np.float32)
    np.testing.assert_array_equal(rounded(values, 0.5), [0.0, 0.5, -1.5, 63.5, -64.0])


def test_a_few_large_values_are_cut_off_for_the_sake_of_all_others() -> None:
    random = np.random.default_rng(0)
    common = random.uniform(-1.0, 1.0, 400_000).astype(np.float32)
    assert activation_scale(common) * 127 > 0.98
    with_outlier = np.append(common, np.float32(4.0))
    assert activation_scale(with_outlier) * 127 < 2.0
    # One per cent of such values carries most of the energy, and is kept.
    with_outliers = np.append(common, np.full(4000, 4.0, np.float32))
    assert activation_scale(with_outliers) * 127 > 3.9


def test_the_scale_of_values_that_are_all_zero_is_no_zero() -> None:
    assert activation_scale(np.zeros(8, np.float32)) > 0.0


def test_each_output_channel_has_a_scale_of_its_own() -> None:
    weights = np.array([[1.27, -0.5], [-12.7, 3.0]], np.float32)
    np.testing.assert_allclose(weight_scales(weights, 0), [0.01, 0.1], rtol=1e-6)
    np.testing.assert_allclose(weight_scales(weights, 1), [0.1, 3.0 / 127], rtol=1e-6)


@given(WEIGHTS)
def test_no_weight_is_moved_by_more_than_half_a_step(weights: npt.NDArray[np.float32]) -> None:
    steps = weight_scales(weights, 0)[:, None]
    assert (np.abs(rounded_weights(weights, 0) - weights) <= 0.501 * steps).all()
