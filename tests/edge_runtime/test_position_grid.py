from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.localize.position_grid import Bounds, PositionGrid

METRES = st.floats(-500.0, 500.0)


def grid_of(mass: list[list[float]], cell_m: float = 10.0) -> PositionGrid:
    """Its first cell, in the north-west, is centred at (100, 200)."""
    return PositionGrid(np.array(mass, np.float32), 100.0, 200.0, cell_m)


def point_mass(size: int = 101, cell_m: float = 10.0) -> PositionGrid:
    mass = np.zeros((size, size), np.float32)
    mass[size // 2, size // 2] = 1.0
    return PositionGrid(mass, 0.0, 0.0, cell_m)


def random_grid(seed: int = 3) -> PositionGrid:
    mass = np.random.default_rng(seed).random((12, 17)).astype(np.float32)
    return PositionGrid(mass / mass.sum(), -40.0, 75.0, 10.0)


def test_bounds_grow_on_every_side_and_contain_their_edge() -> None:
    bounds = Bounds(0.0, -10.0, 20.0, 30.0)
    assert bounds.grown(5.0) == Bounds(-5.0, -15.0, 25.0, 35.0)
    assert bounds.contains(np.array([20.0, -10.0]))
    assert not bounds.contains(np.array([20.1, 0.0]))
    assert not bounds.contains(np.array([10.0, 30.1]))


def test_a_uniform_grid_covers_its_rectangle_with_its_mass_evenly() -> None:
    grid = PositionGrid.uniform(Bounds(-20.0, 0.0, 40.0, 30.0), 10.0, total=0.8)
    assert grid.mass.shape == (3, 6)
    assert grid.total == pytest.approx(0.8)
    assert grid.mass.min() == grid.mass.max()
    assert grid.bounds == Bounds(-20.0, 0.0, 40.0, 30.0)
    np.testing.assert_allclose(grid.easts_m, [-15, -5, 5, 15, 25, 35])
    np.testing.assert_allclose(grid.norths_m, [25, 15, 5])


def test_a_rectangle_smaller_than_a_cell_has_one_cell() -> None:
    assert PositionGrid.uniform(Bounds(0.0, 0.0, 0.0, 0.0), 10.0, 1.0).mass.shape == (1, 1)


# Motion


@given(east=METRES, north=METRES)
def test_motion_moves_the_mean_exactly_and_touches_no_mass(east: float, north: float) -> None:
    grid = random_grid()
    mass, mean, spread = grid.mass.copy(), grid.mean(), grid.covariance(grid.mean())
    grid.move(east, north)
    np.testing.assert_array_equal(grid.mass, mass)
    np.testing.assert_allclose(grid.mean(), mean + np.array([east, north]), atol=1e-9)
    np.testing.assert_allclose(grid.covariance(grid.mean()), spread, atol=1e-6)


@pytest.mark.parametrize("sigma_m", [0.5, 2.0, 4.9, 5.1, 12.0, 40.0, 119.0])
def test_blur_has_the_width_asked_for_and_keeps_all_mass_inside(sigma_m: float) -> None:
    grid = point_mass()
    before = grid.covariance(grid.mean())
    grid.blur(sigma_m)
    assert grid.total == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(grid.mean(), point_mass().mean(), atol=0.01)
    added = grid.covariance(grid.mean()) - before
    # A Gaussian of half a cell, sampled on cells, is 6 % too narrow: the worst of all widths.
    np.testing.assert_allclose(np.sqrt(np.diag(added)), sigma_m, rtol=0.065)
    assert added[0, 1] == pytest.approx(0.0, abs=1e-3 * sigma_m**2)


@pytest.mark.parametrize("sigma_cells", [12.0, 13.7, 20.0, 25.5])
def test_a_wide_blur_by_running_means_is_a_gaussian_too(sigma_cells: float) -> None:
    grid = point_mass(size=301)
    grid.blur(sigma_cells * 10.0)
    along = grid.mass.sum(axis=0, dtype=np.float64)
    cells = np.arange(301) - 150
    assert np.sqrt(along @ cells**2) == pytest.approx(sigma_cells, rel=0.05)
    within_one = along[np.abs(cells) <= sigma_cells].sum()
    assert within_one == pytest.approx(0.683, abs=0.04)
    np.testing.assert_allclose(along, along[::-1], atol=1e-6)


def test_blur_by_nothing_changes_nothing() -> None:
    grid, untouched = random_grid(), random_grid()
    grid.blur(0.0)
    np.testing.assert_array_equal(grid.mass, untouched.mass)


@pytest.mark.parametrize("sigma_m", [3.0, 30.0, 150.0])
def test_what_is_blurred_over_the_edge_is_lost(sigma_m: float) -> None:
    grid = PositionGrid(np.zeros((41, 41), np.float32), 0.0, 0.0, 10.0)
    grid.mass[20, 0] = 1.0
    grid.blur(sigma_m)
    assert 0.2 < grid.total < 0.99
    assert grid.mass.min() >= 0.0


# Reframing


@settings(max_examples=60, deadline=None)
@given(
    west=st.floats(-120.0, 150.0),
    south=st.floats(-120.0, 150.0),
    width=st.floats(0.0, 300.0),
    height=st.floats(0.0, 300.0),
)
def test_reframing_keeps_every_cells_mass_at_its_place(
    west: float, south: float, width: float, height: float
) -> None:
    grid = random_grid()
    bounds = Bounds(west, south, west + width, south + height)
    reframed = grid.reframed(bounds)
    places = {
        (round(east, 6), round(north, 6)): float(grid.mass[row, column])
        for row, north in enumerate(grid.norths_m)
        for column, east in enumerate(grid.easts_m)
    }
    for row, north in enumerate(reframed.norths_m):
        for column, east in enumerate(reframed.easts_m):
            here = places.pop((round(east, 6), round(north, 6)), 0.0)
            assert float(reframed.mass[row, column]) == here
    # What is left over lies outside.
    assert not any(bounds.contains(np.array(place)) for place in places)


@settings(max_examples=60, deadline=None)
@given(
    west=st.floats(-300.0, 300.0),
    south=st.floats(-300.0, 300.0),
    width=st.floats(0.0, 300.0),
    height=st.floats(0.0, 300.0),
)
def test_a_reframed_grid_covers_the_bounds_and_hardly_more(
    west: float, south: float, width: float, height: float
) -> None:
    bounds = Bounds(west, south, west + width, south + height)
    covered = random_grid().reframed(bounds).bounds
    for inner, outer in [
        (bounds.west_m, covered.west_m),
        (bounds.south_m, covered.south_m),
        (-bounds.east_m, -covered.east_m),
        (-bounds.north_m, -covered.north_m),
    ]:
        assert -1e-6 <= inner - outer <= 10.0 + 1e-6


def test_reframing_to_its_own_bounds_changes_nothing() -> None:
    grid = random_grid()
    reframed = grid.reframed(grid.bounds)
    np.testing.assert_array_equal(reframed.mass, grid.mass)
    assert (reframed.west_m, reframed.north_m) == (grid.west_m, grid.north_m)


def test_a_grid_reframed_elsewhere_is_empty() -> None:
    assert random_grid().reframed(Bounds(1000.0, 1000.0, 1100.0, 1100.0)).total == 0.0
    assert random_grid().reframed(Bounds(-1100.0, -1100.0, -1000.0, -1000.0)).total == 0.0


# What is read off it


def test_the_mean_of_two_cells_lies_between_them_by_their_mass() -> None:
    grid = grid_of([[0.25, 0.0, 0.75]])
    np.testing.assert_allclose(grid.mean(), [115.0, 200.0])
    column = grid_of([[0.25], [0.0], [0.75]])
    np.testing.assert_allclose(column.mean(), [100.0, 185.0])


def test_the_mean_needs_no_unit_mass() -> None:
    np.testing.assert_allclose(grid_of([[0.1, 0.1]]).mean(), [105.0, 200.0])


def test_covariance_is_that_of_the_cells_and_of_their_width() -> None:
    inside_cell = 100.0 / 12.0
    grid = grid_of([[0.5, 0.0, 0.5]])
    covariance = grid.covariance(grid.mean())
    np.testing.assert_allclose(covariance, [[100.0 + inside_cell, 0.0], [0.0, inside_cell]])


def test_covariance_runs_with_the_diagonal() -> None:
    # North-west and south-east: east grows as north falls.
    grid = grid_of([[0.5, 0.0], [0.0, 0.5]])
    assert grid.covariance(grid.mean())[0, 1] == pytest.approx(-25.0)
    grid = grid_of([[0.0, 0.5], [0.5, 0.0]])
    assert grid.covariance(grid.mean())[1, 0] == pytest.approx(25.0)


def test_the_radius_reaches_the_cell_that_makes_up_the_mass_and_counts_its_own_spread() -> None:
    grid = grid_of([[0.05, 0.2, 0.5, 0.2, 0.05]])
    centre = np.array([120.0, 200.0])
    spread = 10.0**2 / 6.0
    assert grid.radius_holding(centre, 0.45) == pytest.approx(np.sqrt(spread))
    assert grid.radius_holding(centre, 0.85) == pytest.approx(np.sqrt(10.0**2 + spread))
    assert grid.radius_holding(centre, 0.99) == pytest.approx(np.sqrt(20.0**2 + spread))


def test_the_mass_beyond_a_radius_is_that_of_the_cells_further_away() -> None:
    grid = grid_of([[0.05, 0.2, 0.5, 0.2, 0.05]])
    centre = np.array([120.0, 200.0])
    assert grid.mass_beyond(centre, 9.0) == pytest.approx(0.5)
    assert grid.mass_beyond(centre, 11.0) == pytest.approx(0.1)
    assert grid.mass_beyond(centre, 21.0) == 0.0


def test_no_radius_holds_more_than_there_is() -> None:
    assert grid_of([[0.3, 0.3]]).radius_holding(np.array([100.0, 200.0]), 0.7) == float("inf")


def test_the_radius_of_a_gaussian_is_the_known_one() -> None:
    grid = point_mass()
    grid.blur(60.0)
    assert grid.radius_holding(grid.mean(), 0.95) == pytest.approx(2.448 * 60.0, abs=10.0)


def test_mass_bounds_hug_the_mass() -> None:
    grid = grid_of([[0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 0]])
    assert grid.mass_bounds(1e-7) == Bounds(105.0, 185.0, 125.0, 195.0)


def test_mass_bounds_leave_out_what_may_be_neglected() -> None:
    grid = grid_of([[1e-9, 0.5, 0.499999999, 1e-9]])
    assert grid.mass_bounds(1e-7) == Bounds(105.0, 195.0, 125.0, 205.0)
    assert grid.mass_bounds(0.0).west_m == 95.0


def test_mass_bounds_of_a_full_grid_are_its_own() -> None:
    grid = random_grid()
    assert grid.mass_bounds(1e-7) == grid.bounds


def test_the_peak_is_the_middle_of_the_fullest_cell() -> None:
    grid = grid_of([[0.1, 0.2], [0.1, 0.4], [0.1, 0.1]])
    np.testing.assert_allclose(grid.peak(), [110.0, 190.0])
