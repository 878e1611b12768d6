from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.contract.region_map import MapLevel, RegionMap, load_region_map
from edge_runtime.localize.query import QueryProjector
from tests.small_map import LEVEL, write_small_map


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def random_view(seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=49)).astype(np.float32)


def test_at_the_start_a_view_is_projected_as_the_map_projected_its_tiles(
    region_map: RegionMap,
) -> None:
    view = random_view(1)
    query = QueryProjector(region_map).project(view, 0)
    expected = unit((view - region_map.descriptor_mean[0]) @ region_map.projection)
    np.testing.assert_allclose(query, expected, atol=1e-6)


def test_queries_have_unit_length(region_map: RegionMap) -> None:
    projector = QueryProjector(region_map)
    for seed in range(5):
        query = projector.project(random_view(seed), 0)
        assert query.dtype == np.float32
        assert np.linalg.norm(query) == pytest.approx(1.0, abs=1e-6)


def test_the_mean_itself_is_no_place_and_stays_finite(region_map: RegionMap) -> None:
    query = QueryProjector(region_map).project(region_map.descriptor_mean[0], 0)
    assert np.isfinite(query).all()
    assert np.linalg.norm(query) <= 1.0 + 1e-6


def test_the_maps_mean_counts_as_five_views(region_map: RegionMap) -> None:
    projector = QueryProjector(region_map)
    learnt, view = random_view(1), random_view(2)
    projector.learn(learnt, 0, novelty=1.0)
    mean = (5.0 * region_map.descriptor_mean[0] + learnt) / 6.0
    expected = unit((view - mean) @ region_map.projection)
    np.testing.assert_allclose(projector.project(view, 0), expected, atol=1e-5)


def test_hovering_cannot_fill_the_mean_with_one_place(region_map: RegionMap) -> None:
    projector, view = QueryProjector(region_map), random_view(2)
    before = projector.project(view, 0)
    for _ in range(100):
        projector.learn(random_view(1), 0, novelty=0.0)
    np.testing.assert_array_equal(projector.project(view, 0), before)


def test_a_shift_that_all_views_share_fades_as_the_flight_goes_on(region_map: RegionMap) -> None:
    season = 2.0 * random_view(9)
    mean = region_map.descriptor_mean[0]
    place = 0.5 * random_view(3)
    projector = QueryProjector(region_map)
    wanted = unit(place @ region_map.projection)

    def agreement() -> float:
        return float(projector.project(mean + place + season, 0) @ wanted)

    before = agreement()
    for seed in range(100, 300):
        projector.learn(mean + season + 0.5 * random_view(seed), 0, novelty=1.0)
    assert before < 0.6
    assert agreement() > 0.9


def test_levels_learn_apart(tmp_path: Path) -> None:
    small = MapLevel(60.0, 20.0, 2, 3, -20.0, 10.0)
    region_map = load_region_map(write_small_map(tmp_path / "m.map", levels=(LEVEL, small)))
    projector, view = QueryProjector(region_map), random_view(2)
    first, second = projector.project(view, 0), projector.project(view, 1)
    projector.learn(random_view(1), 1, novelty=1.0)
    np.testing.assert_array_equal(projector.project(view, 0), first)
    assert not np.allclose(projector.project(view, 1), second, atol=1e-3)


def test_learning_leaves_the_map_as_it_is(region_map: RegionMap) -> None:
    before = region_map.descriptor_mean.copy()
    QueryProjector(region_map).learn(random_view(1), 0, novelty=1.0)
    np.testing.assert_array_equal(region_map.descriptor_mean, before)
