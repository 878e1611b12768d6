"""How positions are spread where something is known of them before any view."""

from __future__ import annotations

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.position_grid import Bounds, PositionGrid


def disc(region: Bounds, cell_m: float, centre: FloatArray, radius_m: float) -> PositionGrid:
    """Unit mass spread evenly on a disc of at least a cell's radius, on a grid of the region.

    Raises:
        ConfigError: If no cell of the region is in it.
    """
    grid = PositionGrid.uniform(region, cell_m, 1.0)
    east, north = grid.easts_m - centre[0], grid.norths_m - centre[1]
    inside = north[:, None] ** 2 + east**2 <= max(radius_m, cell_m) ** 2
    if not inside.any():
        raise ConfigError(
            "the prior lies outside the map: check its latitude and longitude, or fly without"
        )
    grid.mass = (inside / inside.sum()).astype(np.float32)
    return grid


def gaussian(
    bounds: Bounds, cell_m: float, mean: FloatArray, covariance: FloatArray
) -> PositionGrid | None:
    """Unit mass of a Gaussian that is a cell wider than stated; None if the bounds hold none.

    Args:
        mean: East and north.
        covariance: (2, 2) square metres.
    """
    grid = PositionGrid.uniform(bounds, cell_m, 1.0)
    away = np.stack(np.meshgrid(grid.easts_m - mean[0], grid.norths_m - mean[1]), axis=-1)
    exponent = np.sum(away @ np.linalg.inv(covariance + cell_m**2 * np.eye(2)) * away, axis=-1)
    mass = np.exp(-0.5 * exponent)
    if mass.sum() <= 0.0:
        return None
    grid.mass = (mass / mass.sum()).astype(np.float32)
    return grid
