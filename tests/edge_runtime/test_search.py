from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.contract.region_map import MapLevel, RegionMap, load_region_map
from edge_runtime.localize import search as search_module
from edge_runtime.localize.search import TileSearch
from tests.small_map import DESCRIPTOR_SIZE, LEVEL, write_small_map


@pytest.fixture(scope="module")
def search(region_map: RegionMap) -> TileSearch:
    return TileSearch(region_map)


def random_query(seed: int = 0) -> np.ndarray:
    query = np.random.default_rng(seed).normal(size=DESCRIPTOR_SIZE).astype(np.float32)
    return query / np.linalg.norm(query)


def test_a_tile_finds_itself_far_above_chance(search: TileSearch, region_map: RegionMap) -> None:
    for tile in (0, 123, len(region_map.tiles) - 1):
        scores = search.scores(region_map.descriptors_of([tile])[0], 0)
        assert int(np.argmax(scores)) == tile
        # Unit descriptors of D values lie 1 / sqrt D around zero by chance.
        assert scores[tile] == pytest.approx(np.sqrt(DESCRIPTOR_SIZE), rel=0.2)


def test_chance_is_zero_and_its_spread_is_one(search: TileSearch) -> None:
    scores = search.scores(random_query(), 0)
    assert scores.dtype == np.float32
    assert np.median(scores) == pytest.approx(0.0, abs=1e-5)
    assert 1.4826 * np.median(np.abs(scores)) == pytest.approx(1.0, abs=1e-4)


def test_scores_are_in_the_order_of_similarity(search: TileSearch, region_map: RegionMap) -> None:
    query = random_query(1)
    similarity = region_map.descriptors_of(slice(None)) @ query
    np.testing.assert_array_equal(np.argsort(search.scores(query, 0)), np.argsort(similarity))


def test_a_window_scores_as_the_whole_map_does(search: TileSearch) -> None:
    query = random_query(2)
    rows = np.array([5, 17, 400, 18, 5], np.int32)
    whole = search.scores(query, 0)
    np.testing.assert_allclose(search.scores(query, 0, rows), whole[rows], atol=1e-5)
    assert search.scores(query, 0, rows[:0]).shape == (0,)


def test_reading_in_blocks_changes_nothing(
    search: TileSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = random_query(3)
    at_once = search.scores(query, 0)
    monkeypatch.setattr(search_module, "_BLOCK_TILES", 7)
    np.testing.assert_allclose(search.scores(query, 0), at_once, atol=1e-5)


def test_each_level_is_searched_on_its_own(tmp_path: Path) -> None:
    small = MapLevel(60.0, 20.0, 4, 5, -20.0, 10.0)
    region_map = load_region_map(write_small_map(tmp_path / "m.map", levels=(LEVEL, small)))
    search = TileSearch(region_map)
    first = LEVEL.rows * LEVEL.columns
    np.testing.assert_array_equal(search.level_tiles(1), first + np.arange(20))
    tile = first + 13
    scores = search.scores(region_map.descriptors_of([tile])[0], 1)
    assert scores.shape == (20,)
    assert int(np.argmax(scores)) == 13


def test_a_sample_of_the_map_gives_nearly_the_scale_of_all_of_it(
    region_map: RegionMap, search: TileSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = random_query(4)
    monkeypatch.setattr(search_module, "_REFERENCE_TILES", 180)
    sampled = TileSearch(region_map).scores(query, 0)
    whole = search.scores(query, 0)
    assert not np.array_equal(sampled, whole)
    np.testing.assert_allclose(sampled, whole, atol=0.6)


def test_a_map_of_one_and_the_same_tile_scores_finite(tmp_path: Path) -> None:
    one = MapLevel(120.0, 30.0, 1, 1, 0.0, 0.0)
    region_map = load_region_map(write_small_map(tmp_path / "m.map", levels=(one,)))
    scores = TileSearch(region_map).scores(random_query(5), 0)
    np.testing.assert_allclose(scores, [0.0], atol=0.5)
