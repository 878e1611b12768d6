from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.region_map import TILES_FILE, RegionMap, load_region_map
from edge_runtime.localize.evidence import (
    EvidenceConfig,
    distinctiveness,
    likelihood_ratio,
    matched_distinctiveness,
    score_at,
)
from edge_runtime.localize.grid_scores import SearchedView, scores_on_grids
from edge_runtime.localize.position_grid import Bounds, PositionGrid
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.search import TileSearch
from tests.small_map import LEVEL, seal_again, write_small_map

CONFIG = EvidenceConfig(
    log_ratio_per_sigma=2.0,
    indifferent_score=3.0,
    largest_score=8.0,
    mismatch_probability=0.1,
)
ROW, COLUMN = 10, 12
TILE_EAST_M, TILE_NORTH_M = -435.0 + COLUMN * 30.0, 345.0 - ROW * 30.0


def ratio_of(score: float, config: EvidenceConfig = CONFIG) -> float:
    return float(likelihood_ratio(np.array([score], np.float32), config)[0])


# Likelihood ratio


def test_the_indifferent_score_speaks_neither_for_nor_against() -> None:
    assert ratio_of(CONFIG.indifferent_score) == pytest.approx(1.0)


def test_one_sigma_more_is_e_squared_times_the_match() -> None:
    assert ratio_of(4.0) == pytest.approx(0.1 + 0.9 * np.exp(2.0), rel=1e-5)


def test_a_place_without_tile_keeps_its_probability() -> None:
    assert ratio_of(float("nan")) == 1.0


def test_no_view_speaks_against_a_place_by_more_than_the_mismatch_probability() -> None:
    assert ratio_of(-1000.0) == pytest.approx(CONFIG.mismatch_probability)


def test_no_view_is_more_certain_than_the_largest_score() -> None:
    assert ratio_of(8.0) == ratio_of(50.0) == pytest.approx(0.1 + 0.9 * np.exp(10.0), rel=1e-5)


@given(st.lists(st.floats(-50.0, 50.0, width=32), min_size=2, max_size=20))
def test_a_higher_score_never_speaks_less(scores: list[float]) -> None:
    ratios = likelihood_ratio(np.sort(np.array(scores, np.float32)), CONFIG)
    assert ratios.dtype == np.float32
    assert (np.diff(ratios) >= 0.0).all()
    assert (ratios >= np.float32(CONFIG.mismatch_probability)).all()


@pytest.mark.parametrize(
    "setting",
    [
        {"log_ratio_per_sigma": 0.0},
        {"mismatch_probability": 0.0},
        {"mismatch_probability": 1.0},
        {"independent_shift": 0.0},
        {"smallest_novelty": 0.0},
        {"smallest_novelty": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"evidence\."):
        EvidenceConfig(**setting)


# Scores on the grid


@pytest.fixture(scope="module")
def search(region_map: RegionMap) -> TileSearch:
    return TileSearch(region_map)


@pytest.fixture(scope="module")
def query(region_map: RegionMap) -> np.ndarray:
    """The view of one tile, exactly."""
    tile = region_map.rows_at(0)[ROW, COLUMN]
    descriptor = region_map.descriptors_of(tile[None])[0]
    return descriptor / np.linalg.norm(descriptor)


def grid_with_cell_at(east: float, north: float, cell_m: float = 10.0) -> PositionGrid:
    """A grid of 41 x 51 cells, the one in row 20, column 25 centred on a point."""
    mass = np.zeros((41, 51), np.float32)
    return PositionGrid(mass, east - 25 * cell_m, north + 20 * cell_m, cell_m)


def scores_on_grid(
    search: TileSearch,
    region_map: RegionMap,
    level: int,
    query: np.ndarray,
    window: GroundWindow,
    grid: PositionGrid,
) -> np.ndarray:
    (scores,) = scores_on_grids(search, region_map, [SearchedView(level, query, window, grid)])
    return scores


@pytest.mark.parametrize("offset_m", [(0.0, 0.0), (40.0, -25.0), (-61.0, 13.0)])
def test_the_peak_is_where_the_drone_sees_the_tile_at_the_windows_offset(
    search: TileSearch, region_map: RegionMap, query: np.ndarray, offset_m: tuple[float, float]
) -> None:
    window = GroundWindow(*offset_m, 120.0)
    grid = grid_with_cell_at(TILE_EAST_M - offset_m[0], TILE_NORTH_M - offset_m[1])
    scores = scores_on_grid(search, region_map, 0, query, window, grid)
    assert scores.shape == grid.mass.shape
    assert np.unravel_index(np.nanargmax(scores), scores.shape) == (20, 25)
    tile = region_map.rows_at(0)[ROW, COLUMN]
    assert scores[20, 25] == pytest.approx(search.scores(query, 0)[tile], abs=0.05)


def test_between_tiles_the_score_is_interpolated(
    search: TileSearch, region_map: RegionMap, query: np.ndarray
) -> None:
    grid = grid_with_cell_at(TILE_EAST_M, TILE_NORTH_M, cell_m=15.0)
    window = GroundWindow(0.0, 0.0, 120.0)
    scores = scores_on_grid(search, region_map, 0, query, window, grid)
    by_tile = search.scores(query, 0)
    lattice = region_map.rows_at(0)
    here, east, south = (
        by_tile[lattice[ROW + down, COLUMN + right]] for down, right in [(0, 0), (0, 1), (1, 0)]
    )
    assert scores[20, 26] == pytest.approx((here + east) / 2, abs=0.05)
    assert scores[21, 25] == pytest.approx((here + south) / 2, abs=0.05)
    assert scores[20, 27] == pytest.approx(east, abs=0.05)


def test_a_grid_cut_out_of_another_has_the_same_scores(
    search: TileSearch, region_map: RegionMap, query: np.ndarray
) -> None:
    window = GroundWindow(17.0, 4.0, 120.0)
    whole = grid_with_cell_at(TILE_EAST_M, TILE_NORTH_M)
    part = whole.reframed(Bounds(-150.0, 0.0, 0.0, 100.0))
    row = round((whole.north_m - part.north_m) / 10.0)
    column = round((part.west_m - whole.west_m) / 10.0)
    rows, columns = part.mass.shape
    by_whole = scores_on_grid(search, region_map, 0, query, window, whole)
    np.testing.assert_allclose(
        scores_on_grid(search, region_map, 0, query, window, part),
        by_whole[row : row + rows, column : column + columns],
        atol=0.05,
    )


def test_off_the_map_there_is_no_score(
    search: TileSearch, region_map: RegionMap, query: np.ndarray
) -> None:
    window = GroundWindow(0.0, 0.0, 120.0)
    far = grid_with_cell_at(5000.0, -5000.0)
    assert np.isnan(scores_on_grid(search, region_map, 0, query, window, far)).all()
    corner = grid_with_cell_at(-435.0, 345.0)
    scores = scores_on_grid(search, region_map, 0, query, window, corner)
    # Up to half the tiles' distance of 30 m beyond the outermost, it is still the nearest.
    assert np.isnan(scores[:19]).all()
    assert np.isnan(scores[:, :24]).all()
    assert np.isfinite(scores[20:, 25:]).all()
    np.testing.assert_allclose(scores[19, 25:], scores[20, 25:], atol=1e-4)


def test_a_missing_tile_leaves_its_neighbours_their_scores(
    query: np.ndarray, tmp_path: Path
) -> None:
    holed = load_region_map(write_small_map(tmp_path / "m.map", missing=frozenset({(ROW, COLUMN)})))
    window = GroundWindow(0.0, 0.0, 120.0)
    grid = grid_with_cell_at(TILE_EAST_M, TILE_NORTH_M)
    scores = scores_on_grid(TileSearch(holed), holed, 0, query, window, grid)
    assert np.isnan(scores[20, 25])
    assert np.isfinite(scores[20, 27])
    assert np.isfinite(scores[17:24, 28]).all()


def test_the_drone_beside_the_map_that_looks_onto_it_has_scores(
    search: TileSearch, region_map: RegionMap, query: np.ndarray
) -> None:
    west_of_map = grid_with_cell_at(-700.0, 0.0)
    away = GroundWindow(-120.0, 0.0, 120.0)
    onto_it = GroundWindow(300.0, 0.0, 120.0)
    assert np.isnan(scores_on_grid(search, region_map, 0, query, away, west_of_map)[:, :25]).all()
    scores = scores_on_grid(search, region_map, 0, query, onto_it, west_of_map)
    assert np.isfinite(scores[20, 25])


@pytest.mark.parametrize(
    ("east", "north"), [(0.0, 300.0), (0.0, -300.0), (300.0, 0.0), (-300.0, 0.0)]
)
def test_however_far_off_the_window_all_of_a_small_grid_is_scored(
    search: TileSearch, region_map: RegionMap, query: np.ndarray, east: float, north: float
) -> None:
    around_drone = PositionGrid.uniform(
        Bounds(-100.0 - east, -80.0 - north, 100.0 - east, 80.0 - north), 10.0, 1.0
    )
    window = GroundWindow(east, north, 120.0)
    scores = scores_on_grid(search, region_map, 0, query, window, around_drone)
    assert np.isfinite(scores).all()


def test_places_whose_tile_is_missing_have_no_score(query: np.ndarray, tmp_path: Path) -> None:
    hole = frozenset((row, column) for row in range(9, 12) for column in range(11, 14))
    region_map = load_region_map(write_small_map(tmp_path / "m.map", missing=hole))
    grid = grid_with_cell_at(TILE_EAST_M, TILE_NORTH_M)
    window = GroundWindow(0.0, 0.0, 120.0)
    scores = scores_on_grid(TileSearch(region_map), region_map, 0, query, window, grid)
    assert np.isnan(scores[18:23, 23:28]).all()
    assert np.isfinite(scores[20, 25 + 7 : 25 + 15]).all()


def test_the_whole_map_fits_a_grid_of_its_own_extent(
    search: TileSearch, region_map: RegionMap, query: np.ndarray
) -> None:
    last_east = -435.0 + 30.0 * (LEVEL.columns - 1)
    last_north = 345.0 - 30.0 * (LEVEL.rows - 1)
    bounds = Bounds(-435.0, last_north, last_east, 345.0)
    grid = PositionGrid.uniform(bounds, 10.0, 1.0)
    window = GroundWindow(0.0, 0.0, 120.0)
    scores = scores_on_grid(search, region_map, 0, query, window, grid)
    assert np.isfinite(scores).all()
    peak_row, peak_column = np.unravel_index(np.argmax(scores), scores.shape)
    assert grid.easts_m[peak_column] == pytest.approx(TILE_EAST_M, abs=10.0)
    assert grid.norths_m[peak_row] == pytest.approx(TILE_NORTH_M, abs=10.0)


# The score at a place


def test_the_score_at_a_place_is_the_best_within_a_cell() -> None:
    grid = PositionGrid(np.zeros((4, 4), np.float32), 0.0, 0.0, 10.0)
    scores = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert score_at(scores, grid, np.array([11.0, -9.0])) == 10.0
    assert score_at(scores, grid, np.array([0.0, 0.0])) == 5.0
    assert score_at(scores, grid, np.array([30.0, -30.0])) == 15.0


def test_a_place_off_the_grid_or_without_tiles_has_no_score() -> None:
    grid = PositionGrid(np.zeros((4, 4), np.float32), 0.0, 0.0, 10.0)
    scores = np.full((4, 4), np.nan, np.float32)
    scores[0, 0] = 2.0
    assert np.isnan(score_at(scores, grid, np.array([30.0, -30.0])))
    assert np.isnan(score_at(scores, grid, np.array([200.0, 0.0])))
    assert np.isnan(score_at(scores, grid, np.array([0.0, 200.0])))
    assert score_at(scores, grid, np.array([10.0, -10.0])) == 2.0


def test_a_view_counts_by_how_far_its_best_place_stands_out() -> None:
    grid = PositionGrid(np.zeros((20, 30), np.float32), 0.0, 0.0, 10.0)
    scores = np.zeros((20, 30), np.float32)
    scores[10, 5] = 6.0
    scores[10, 8] = 5.9  # 30 m away: the same ground, no rival
    scores[3, 25] = 4.0
    assert distinctiveness(scores, grid, footprint_m=60.0, margin=2.5) == pytest.approx(0.8)
    scores[3, 25] = 6.0
    assert distinctiveness(scores, grid, footprint_m=60.0, margin=2.5) == 0.0
    scores[3, 25] = np.nan
    assert distinctiveness(scores, grid, footprint_m=60.0, margin=2.5) == 1.0


def test_a_view_without_any_tile_counts_nothing() -> None:
    grid = PositionGrid(np.zeros((4, 4), np.float32), 0.0, 0.0, 10.0)
    scores = np.full((4, 4), np.nan, np.float32)
    assert distinctiveness(scores, grid, footprint_m=60.0, margin=2.5) == 0.0


@pytest.mark.parametrize("offset_m", [(0.0, 0.0), (40.0, -25.0)])
def test_the_matched_tile_says_how_much_it_stands_out_of_its_map(
    search: TileSearch, query: np.ndarray, tmp_path: Path, offset_m: tuple[float, float]
) -> None:
    folder = write_small_map(tmp_path / "m.map")
    tiles = np.load(folder / TILES_FILE)
    at = (tiles["lattice_row"] == ROW) & (tiles["lattice_column"] == COLUMN)
    tiles["distinctiveness"][at] = 0.25
    np.save(folder / TILES_FILE, tiles)
    seal_again(folder)
    region_map = load_region_map(folder)
    window = GroundWindow(*offset_m, 120.0)
    grid = grid_with_cell_at(TILE_EAST_M - offset_m[0], TILE_NORTH_M - offset_m[1])
    scores = scores_on_grid(search, region_map, 0, query, window, grid)
    assert matched_distinctiveness(scores, grid, region_map, 0, window) == 0.25
    scores[15:26, 20:31] = np.nan  # what matches best now is another tile
    assert matched_distinctiveness(scores, grid, region_map, 0, window) == 1.0


def test_a_view_that_matches_no_tile_stands_out_from_none(region_map: RegionMap) -> None:
    window = GroundWindow(0.0, 0.0, 120.0)
    grid = grid_with_cell_at(5000.0, 5000.0)
    nothing = np.full(grid.mass.shape, np.nan, np.float32)
    assert matched_distinctiveness(nothing, grid, region_map, 0, window) == 0.0
