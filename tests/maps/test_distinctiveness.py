"""Which tiles stand out from their map."""

from __future__ import annotations

import numpy as np
import pytest

from dmnil_maps import distinctiveness
from dmnil_maps.distinctiveness import distinctiveness_of, texture_share
from edge_runtime.contract.region_map import MapLevel

LEVEL = MapLevel(120.0, 30.0, 30, 30, 0.0, 0.0)
ROW, COLUMN = (axis.ravel() for axis in np.mgrid[:30, :30])


def unit(descriptors: np.ndarray) -> np.ndarray:
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def at_random(count: int, size: int = 400) -> np.ndarray:
    return unit(np.random.default_rng(4).standard_normal((count, size))).astype(np.float32)


def scores(descriptors: np.ndarray, contrast: float | np.ndarray = 40.0) -> np.ndarray:
    contrasts = np.broadcast_to(np.asarray(contrast, np.float32), len(descriptors))
    return distinctiveness_of(descriptors, LEVEL, ROW, COLUMN, contrasts)


def test_places_of_their_own_stand_out_and_sea_does_not() -> None:
    descriptors = at_random(900)
    sea = ROW >= 15
    descriptors[sea] = unit(descriptors[sea] + 3.0 * descriptors[0])
    found = scores(descriptors)
    assert found[~sea & (ROW > 0)].min() > 0.9
    assert found[sea].max() < 0.05


def test_a_double_far_away_counts_and_one_that_shares_ground_does_not() -> None:
    descriptors = at_random(900)
    first = np.flatnonzero((ROW == 10) & (COLUMN == 10))[0]
    for column, expected in ((14, 1.0), (15, 0.0)):  # 120 m, and 150 m
        doubled = descriptors.copy()
        doubled[(ROW == 10) & (column == COLUMN)] = descriptors[first]
        assert scores(doubled)[first] == pytest.approx(expected, abs=1e-3)


def test_it_falls_as_the_most_similar_place_grows_alike() -> None:
    descriptors = np.eye(900, dtype=np.float32)
    for cosine, expected in ((0.3, 1.0), (0.55, 0.5), (0.7, 0.2), (0.8, 0.0), (1.0, 0.0)):
        descriptors[-1] = 0.0
        descriptors[-1, [0, 899]] = cosine, np.sqrt(1.0 - cosine**2)
        assert scores(descriptors)[[0, -1]] == pytest.approx(expected, abs=1e-5)


def test_pictures_without_texture_have_none() -> None:
    contrast = np.linspace(0.0, 9.0, 900)
    found = scores(np.eye(900, dtype=np.float32), contrast)
    np.testing.assert_allclose(found, texture_share(contrast), atol=1e-6)
    assert texture_share(np.array([0.0, 3.0, 4.5, 6.0, 90.0])).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_in_a_level_of_one_footprint_nothing_competes() -> None:
    descriptors = np.ones((4, 1), np.float32)
    near = np.arange(4)
    found = distinctiveness_of(descriptors, LEVEL, near, near, np.full(4, 40.0))
    assert found.tolist() == [1.0] * 4


def test_large_levels_are_compared_with_a_spread_of_their_tiles(monkeypatch) -> None:
    descriptors = at_random(900)
    sea = (ROW >= 10) & (ROW < 20)
    descriptors[sea] = unit(descriptors[sea] + 3.0 * descriptors[0])
    whole = scores(descriptors)
    monkeypatch.setattr(distinctiveness, "MOST_COMPARED", 90)
    monkeypatch.setattr(distinctiveness, "_ROWS_PER_CHUNK", 64)
    sampled = scores(descriptors)
    assert sampled[sea].max() < 0.05
    assert (sampled >= whole - 1e-5).all()
