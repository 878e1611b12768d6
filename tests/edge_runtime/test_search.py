from __future__ import annotations

import logging
import sys
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
    tile = first + 13
    scores = search.scores(region_map.descriptors_of([tile])[0], 1)
    assert scores.shape == (20,)
    assert int(np.argmax(scores)) == 13


def test_a_sample_of_the_map_gives_nearly_the_scale_of_all_of_it(
    region_map: RegionMap, search: TileSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = random_query(4)
    whole = search.scores(query, 0)
    monkeypatch.setattr(search_module, "_REFERENCE_TILES", 180)
    sampled = TileSearch(region_map).scores(query, 0)
    assert not np.array_equal(sampled, whole)
    np.testing.assert_allclose(sampled, whole, atol=0.6)


def test_a_map_of_one_and_the_same_tile_scores_finite(tmp_path: Path) -> None:
    one = MapLevel(120.0, 30.0, 1, 1, 0.0, 0.0)
    region_map = load_region_map(write_small_map(tmp_path / "m.map", levels=(one,)))
    scores = TileSearch(region_map).scores(random_query(5), 0)
    np.testing.assert_allclose(scores, [0.0], atol=0.5)


def test_a_batch_of_headings_scores_as_each_alone(search: TileSearch) -> None:
    queries = np.stack([random_query(seed) for seed in range(5)])
    rows = np.array([5, 17, 400], np.int32)
    together = search.scores(queries, 0, rows)
    assert together.shape == (5, 3)
    for query, scores in zip(queries, together, strict=True):
        np.testing.assert_allclose(search.scores(query, 0, rows), scores, atol=1e-5)


def test_the_best_tiles_come_best_first_with_their_scores(search: TileSearch) -> None:
    queries = np.stack([random_query(6), random_query(7)])
    rows, scores = search.best([queries], [0], 7)
    for number, query in enumerate(queries):
        all_scores = search.scores(query, 0)
        np.testing.assert_array_equal(rows[number], np.argsort(-all_scores)[:7])
        np.testing.assert_allclose(scores[number], all_scores[rows[number]], atol=1e-5)


def test_the_best_of_several_levels_are_the_best_of_all_their_tiles(tmp_path: Path) -> None:
    small = MapLevel(60.0, 20.0, 4, 5, -20.0, 10.0)
    search = TileSearch(load_region_map(write_small_map(tmp_path / "m.map", levels=(LEVEL, small))))
    first, second = random_query(8)[None], random_query(9)[None]
    rows, scores = search.best([first, second], [0, 1], 30)
    each = np.concatenate([search.scores(first[0], 0), search.scores(second[0], 1)])
    np.testing.assert_array_equal(rows[0], np.argsort(-each)[:30])
    np.testing.assert_allclose(scores[0], np.sort(each)[::-1][:30], atol=1e-5)
    assert (rows[0] >= LEVEL.rows * LEVEL.columns).any()
    rows, _ = search.best([second], [1], 99)
    np.testing.assert_array_equal(np.sort(rows[0]), LEVEL.rows * LEVEL.columns + np.arange(20))


# With a coarse index


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TileSearch:
    """A search that takes a level of 700 tiles for a large one, and every tenth for a candidate."""
    monkeypatch.setattr(search_module, "LARGE_LEVEL_TILES", 700)
    monkeypatch.setattr(search_module, "_FEWEST_CANDIDATES", 72)
    small = MapLevel(60.0, 20.0, 4, 5, -20.0, 10.0)
    folder = write_small_map(tmp_path / "i.map", levels=(small, LEVEL), coarse_index=True)
    assert (folder / "coarse_1.faiss").is_file()
    assert not (folder / "coarse_0.faiss").exists()
    return TileSearch(load_region_map(folder))


def test_the_index_finds_what_exact_search_finds(indexed: TileSearch) -> None:
    queries = np.stack([random_query(seed) for seed in range(20)])
    rows, scores = indexed.best([queries], [1], 3)
    exact = indexed.scores(queries, 1)
    expected = 20 + np.argsort(-exact, axis=1)[:, :3]
    assert np.mean([len(set(a) & set(b)) / 3 for a, b in zip(rows, expected, strict=True)]) > 0.95
    np.testing.assert_allclose(scores, np.take_along_axis(exact, rows - 20, 1), atol=1e-5)


def test_improbable_tiles_of_a_large_window_score_as_chance(indexed: TileSearch) -> None:
    query = random_query(3)
    tiles = np.arange(20, 20 + 710)
    scores = indexed.scores_where_likely(query, 1, tiles)
    exact = indexed.scores(query, 1, tiles)
    compared = scores != search_module.CHANCE_SCORE
    assert 60 <= np.count_nonzero(compared) <= 72
    np.testing.assert_allclose(scores[compared], exact[compared], atol=1e-5)
    assert exact[~compared].max() < exact[compared].max()
    np.testing.assert_allclose(
        indexed.scores_where_likely(query, 1, tiles[:700]), exact[:700], atol=1e-5
    )


def test_asked_together_each_query_scores_its_own_candidates_alone(indexed: TileSearch) -> None:
    queries = np.stack([random_query(seed) for seed in range(12)])
    tiles = np.arange(20, 20 + 710)
    together = indexed.scores_where_likely(queries, 1, tiles)
    for query, scores in zip(queries, together, strict=True):
        alone = indexed.scores_where_likely(query, 1, tiles)
        np.testing.assert_allclose(scores, alone, atol=1e-5)


def test_candidates_are_compared_a_block_at_a_time(
    indexed: TileSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = np.stack([random_query(seed) for seed in range(4)])
    tiles = np.arange(20, 20 + 710)
    at_once = indexed.scores_where_likely(queries, 1, tiles)
    monkeypatch.setattr(search_module, "_BLOCK_TILES", 7)
    in_blocks = indexed.scores_where_likely(queries, 1, tiles)
    np.testing.assert_allclose(in_blocks, at_once, atol=1e-5)


@pytest.mark.parametrize("spoilt", ["no faiss", "garbled", "of another level"])
def test_without_a_usable_index_all_tiles_are_compared_and_one_line_says_so(
    indexed: TileSearch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    spoilt: str,
) -> None:
    path = tmp_path / "i.map" / "coarse_1.faiss"
    if spoilt == "no faiss":
        monkeypatch.setitem(sys.modules, "faiss", None)
    elif spoilt == "garbled":
        path.write_bytes(b"none" + path.read_bytes()[4:])
    else:
        import faiss

        faiss.write_index(faiss.IndexFlatIP(DESCRIPTOR_SIZE), str(path))
    queries = np.stack([random_query(seed) for seed in range(3)])
    with caplog.at_level(logging.WARNING):
        rows, _ = indexed.best([queries], [1], 3)
        indexed.best([queries], [1], 3)
    np.testing.assert_array_equal(rows, 20 + np.argsort(-indexed.scores(queries, 1))[:, :3])
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "searches without a prior compare all til"
    ]


def test_a_median_is_the_middle_one_or_the_mean_of_the_middle_two() -> None:
    values = np.array([[5.0, 1.0, 3.0, 9.0], [0.0, -2.0, 8.0, 1.0]], np.float32)
    np.testing.assert_array_equal(search_module._medians(values), [[4.0], [0.5]])
    np.testing.assert_array_equal(search_module._medians(values[:, :3]), [[3.0], [0.0]])
