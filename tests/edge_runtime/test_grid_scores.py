"""Views scored on their hypotheses' grids together: as each alone, in as few passes as can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.contract.region_map import MapLevel, RegionMap, load_region_map
from edge_runtime.localize import grid_scores
from edge_runtime.localize.grid_scores import SearchedView, scores_on_grids
from edge_runtime.localize.position_grid import Bounds, PositionGrid
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.search import TileSearch
from tests.small_map import DESCRIPTOR_SIZE, LEVEL, write_small_map

HOLE = frozenset((row, column) for row in range(9, 12) for column in range(11, 14))
SMALL = MapLevel(60.0, 20.0, 12, 15, -140.0, 110.0)


class CountedSearch(TileSearch):
    """Notes how many queries and tiles each of its passes has."""

    def __init__(self, region_map: RegionMap) -> None:
        super().__init__(region_map)
        self.passes: list[tuple[int, int]] = []

    def scores_where_likely(self, queries: np.ndarray, level: int, tiles: np.ndarray) -> np.ndarray:
        self.passes.append((len(queries), len(tiles)))
        return super().scores_where_likely(queries, level, tiles)


@pytest.fixture
def region_map(tmp_path: Path) -> RegionMap:
    return load_region_map(write_small_map(tmp_path / "m.map", levels=(LEVEL, SMALL)))


def unit_query(seed: int) -> np.ndarray:
    query = np.random.default_rng(seed).normal(size=DESCRIPTOR_SIZE).astype(np.float32)
    return query / np.linalg.norm(query)


def view(
    seed: int, bounds: Bounds, offset_m: tuple[float, float] = (0.0, 0.0), level: int = 0
) -> SearchedView:
    grid = PositionGrid.uniform(bounds, 10.0, 1.0)
    return SearchedView(level, unit_query(seed), GroundWindow(*offset_m, 120.0), grid)


def by_hand(region_map: RegionMap, view: SearchedView) -> np.ndarray:
    """Every cell's score by plain bilinear interpolation over the tiles that there are."""
    level, lattice = region_map.levels[view.level], region_map.rows_at(view.level)
    by_tile = TileSearch(region_map).scores(view.query, view.level)
    by_tile = np.append(by_tile, 0.0)
    first = region_map.rows_of_level(view.level).start
    tiles = np.where(lattice >= 0, lattice - first, len(by_tile) - 1)
    tiles = np.pad(tiles, 1, constant_values=len(by_tile) - 1)
    east = view.grid.easts_m + view.window.east_m
    north = view.grid.norths_m + view.window.north_m
    column = np.clip((east - level.first_east_m) / level.stride_m + 1, 0, tiles.shape[1] - 1.001)
    row = np.clip((level.first_north_m - north) / level.stride_m + 1, 0, tiles.shape[0] - 1.001)
    scores, known = np.zeros(view.grid.mass.shape), np.zeros(view.grid.mass.shape)
    for down in (0, 1):
        for right in (0, 1):
            near_row = 1.0 - np.abs(row - (np.floor(row) + down))
            near_column = 1.0 - np.abs(column - (np.floor(column) + right))
            weight = near_row[:, None] * near_column[None]
            tile = tiles[
                np.ix_((np.floor(row) + down).astype(int), np.floor(column).astype(int) + right)
            ]
            is_there = tile < len(by_tile) - 1
            known += weight * is_there
            scores += weight * by_tile[tile]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known >= 0.5, scores / known, np.nan)


@pytest.mark.parametrize("missing", [frozenset(), HOLE])
@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(-800.0, -700.0, 800.0, 700.0),  # beyond the map on every side
        Bounds(-204.0, -153.0, 206.0, 157.0),
        Bounds(300.0, 200.0, 700.0, 500.0),  # a corner
        Bounds(-3.0, -4.0, 5.0, 4.0),  # one cell
    ],
)
def test_cells_have_the_scores_that_interpolation_by_hand_gives(
    tmp_path: Path, missing: frozenset[tuple[int, int]], bounds: Bounds
) -> None:
    region_map = load_region_map(write_small_map(tmp_path / "h.map", missing=missing))
    seen = view(3, bounds, (17.0, -41.0))
    (scores,) = scores_on_grids(TileSearch(region_map), region_map, [seen])
    expected = by_hand(region_map, seen)
    # Interpolation may be by 32nds of a tile's distance, and so end a hair sooner or later.
    differ = np.isnan(scores) != np.isnan(expected)
    assert np.count_nonzero(differ) <= 0.02 * differ.size
    both = ~np.isnan(scores) & ~np.isnan(expected)
    assert both.any()
    np.testing.assert_allclose(scores[both], expected[both], atol=0.15)


def test_views_together_score_as_each_alone(region_map: RegionMap) -> None:
    random = np.random.default_rng(5)
    views = []
    for seed in range(40):
        middle = random.uniform(-500.0, 500.0, 2)
        bounds = Bounds.around(middle, float(random.uniform(20.0, 600.0)))
        offset = random.uniform(-150.0, 150.0, 2)
        views.append(view(seed, bounds, (float(offset[0]), float(offset[1])), level=seed % 2))
    search = TileSearch(region_map)
    together = scores_on_grids(search, region_map, views)
    for seen, scores in zip(views, together, strict=True):
        (alone,) = scores_on_grids(search, region_map, [seen])
        np.testing.assert_allclose(scores, alone, atol=1e-5)


def passes_of(region_map: RegionMap, views: Sequence[SearchedView]) -> list[tuple[int, int]]:
    search = CountedSearch(region_map)
    scores_on_grids(search, region_map, views)
    return search.passes


def test_views_of_the_whole_map_share_one_pass_over_each_level(region_map: RegionMap) -> None:
    everywhere = Bounds(-800.0, -700.0, 800.0, 700.0)
    views = [view(seed, everywhere, (10.0 * seed, -8.0 * seed), seed % 2) for seed in range(12)]
    assert sorted(passes_of(region_map, views)) == [(6, 12 * 15), (6, 24 * 30)]


def test_views_far_apart_are_not_searched_between_each_other(region_map: RegionMap) -> None:
    west, east = Bounds.around(np.array([-300.0, 200.0]), 60.0), Bounds(240.0, -200.0, 360.0, -80.0)
    passes = passes_of(region_map, [view(1, west), view(2, east), view(3, west, (10.0, 0.0))])
    assert sorted(count for count, _ in passes) == [1, 2]
    assert sum(count * tiles for count, tiles in passes) < 24 * 30 / 2


def test_over_a_very_large_map_only_some_views_share_a_pass(
    region_map: RegionMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    everywhere = Bounds(-800.0, -700.0, 800.0, 700.0)
    views = [view(seed, everywhere) for seed in range(5)]
    together = scores_on_grids(TileSearch(region_map), region_map, views)
    monkeypatch.setattr(grid_scores, "_MOST_SCORES", 2 * 24 * 30)
    assert [count for count, _ in passes_of(region_map, views)] == [2, 2, 1]
    in_parts = scores_on_grids(TileSearch(region_map), region_map, views)
    np.testing.assert_allclose(in_parts, together, atol=1e-5)


def test_a_view_off_the_map_has_no_score_beside_one_that_has(region_map: RegionMap) -> None:
    far = Bounds.around(np.array([5000.0, 5000.0]), 50.0)
    near = Bounds.around(np.array([0.0, 0.0]), 50.0)
    nothing, scores = scores_on_grids(
        TileSearch(region_map), region_map, [view(1, far), view(2, near)]
    )
    assert nothing.shape == (10, 10)
    assert np.isnan(nothing).all()
    assert np.isfinite(scores).all()
