"""A Bayes filter over the drone's position, from knowing nothing to metres.

Mass lies on a grid of ground cells; what is not on the grid is `elsewhere`. Cold, the grid
covers the whole map and elsewhere means off the map. Once nearly all mass is near one place the
grid shrinks to it, and elsewhere means anywhere else; if elsewhere grows likely, the filter is
cold again. Evidence from views is multiplied in as a likelihood ratio against elsewhere, for
which no view speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.odometry import Displacement
from edge_runtime.localize.position_grid import Bounds, PositionGrid

_CONSISTENT_HEADING_DEG = 10.0


@dataclass(frozen=True)
class FilterConfig:
    """Motion and bookkeeping of the position filter."""

    cell_m: float = 10.0
    """Side of a grid cell."""
    margin_m: float = 300.0
    """How far beyond the map's tiles the drone itself may be while it looks at them."""
    odometry_scale_error: float = 0.15
    """Relative error of visual odometry, mostly from terrain below or above the assumed plane."""
    odometry_noise_m: float = 1.5
    """Error of visual odometry beside its scale, over one second; it grows with time's root."""
    typical_speed_m_s: float = 10.0
    """Standard deviation of the speed along each axis where odometry has nothing to say."""
    restart_probability: float = 0.01
    """Chance, per independent view, that the filter's place is wrong altogether."""
    off_map_probability: float = 0.2
    """Chance, before any view, that the drone is not over the map."""
    local_radius_m: float = 300.0
    """The grid shrinks once nearly all mass lies this near its peak."""

    def __post_init__(self) -> None:
        if min(self.cell_m, self.local_radius_m, self.typical_speed_m_s) <= 0.0:
            raise ConfigError("filter.cell_m, local_radius_m and typical_speed_m_s must be > 0")
        if not 0.0 < self.restart_probability < 0.5 or not 0.0 < self.off_map_probability < 1.0:
            raise ConfigError("filter's probabilities must lie between 0 and 1")


_LOCAL_MASS = 0.998
_COLD_AGAIN_MASS = 0.5
_NEGLECTED_MASS = 1e-7
_WIDEST_LOCAL = 1.5


class PositionFilter:
    """Posterior over the drone's east and north in the map's frame."""

    def __init__(
        self,
        tile_bounds: Bounds,
        config: FilterConfig,
        prior: tuple[FloatArray, float] | None = None,
    ) -> None:
        """Start knowing nothing, or with a prior.

        Args:
            tile_bounds: Extent of the map's tile centres.
            prior: East-north position and a radius in metres that holds the drone.
        """
        self._config = config
        self._region = tile_bounds.grown(config.margin_m)
        self.is_local = False
        self.elsewhere = config.off_map_probability
        self.grid = self._uniform(1.0 - self.elsewhere)
        if prior is not None:
            self._start_from(*prior)

    def predict(self, displacement: Displacement | None, elapsed_s: float, novelty: float) -> None:
        """Move the posterior along the drone's motion, and doubt it a little.

        Args:
            displacement: Motion since the last call, None if unknown.
            elapsed_s: Time since the last call.
            novelty: Share of an independent view that has come into sight, 0-1.
        """
        config = self._config
        if displacement is None:
            sigma_m = config.typical_speed_m_s * elapsed_s
        else:
            self.grid.move(displacement.east_m, displacement.north_m)
            scale_error = config.odometry_scale_error
            if abs(displacement.rotation_deg) > _CONSISTENT_HEADING_DEG:
                scale_error = 1.0
            noise_m = config.odometry_noise_m * np.sqrt(elapsed_s)
            sigma_m = float(np.hypot(noise_m, scale_error * displacement.length_m))
        sigma_m = min(sigma_m, self._region.diagonal_m)
        bounds = self._region
        if self.is_local:
            near = self.grid.mass_bounds(_NEGLECTED_MASS).grown(3 * sigma_m + config.cell_m)
            self.is_local = near.diagonal_m <= _WIDEST_LOCAL * self._region.diagonal_m
            bounds = near if self.is_local else self._region
        self._reframe(bounds)
        self.grid.blur(sigma_m)
        self.elsewhere = max(0.0, 1.0 - self.grid.total)
        self._doubt(config.restart_probability * novelty)

    def update(self, likelihood_ratio: npt.NDArray[np.float32], weight: float) -> None:
        """Multiply a view's evidence in.

        Args:
            likelihood_ratio: Per cell of the grid, against a place that the view does not show.
            weight: Share of an independent view that this one is worth, 0-1.
        """
        if weight <= 0.0:
            return
        self.grid.mass *= likelihood_ratio if weight == 1.0 else likelihood_ratio**weight
        total = self.grid.total + self.elsewhere
        self.grid.mass /= total
        self.elsewhere /= total
        self._focus_or_widen()

    def _uniform(self, total: float) -> PositionGrid:
        return PositionGrid.uniform(self._region, self._config.cell_m, total)

    def _start_from(self, centre: FloatArray, radius_m: float) -> None:
        east, north = self.grid.easts_m - centre[0], self.grid.norths_m - centre[1]
        inside = north[:, None] ** 2 + east**2 <= max(radius_m, self._config.cell_m) ** 2
        if not inside.any():
            raise ConfigError(
                "the prior lies outside the map: check its latitude and longitude, or fly without"
            )
        known = 1.0 - self._config.restart_probability
        self.grid.mass = (inside * (known / inside.sum())).astype(np.float32)
        self.elsewhere = self._config.restart_probability
        if radius_m <= self._config.local_radius_m:
            near = Bounds.around(centre, radius_m + self._config.cell_m)
            self.grid = self.grid.reframed(near)
            self.is_local = True

    def _doubt(self, probability: float) -> None:
        """Let a little mass change sides: from the grid to elsewhere, or back from off the map."""
        if self.is_local:
            self.grid.mass *= 1.0 - probability
            self.elsewhere += probability * (1.0 - self.elsewhere)
            return
        off_map = self._config.off_map_probability
        self.grid.mass *= 1.0 - probability
        self.grid.mass += probability * (1.0 - off_map) / self.grid.mass.size
        self.elsewhere = self.elsewhere * (1.0 - probability) + probability * off_map

    def _focus_or_widen(self) -> None:
        if self.is_local and self.elsewhere > _COLD_AGAIN_MASS:
            self.is_local = False
            self._reframe(self._region)
            spread = (1.0 - self.grid.total) * (1.0 - self._config.off_map_probability)
            self.grid.mass += spread / self.grid.mass.size
        elif not self.is_local:
            near = Bounds.around(self.grid.peak(), self._config.local_radius_m)
            candidate = self.grid.reframed(near)
            if candidate.total >= _LOCAL_MASS:
                self.grid, self.is_local = candidate, True
        self.elsewhere = max(0.0, 1.0 - self.grid.total)

    def _reframe(self, bounds: Bounds) -> None:
        self.grid = self.grid.reframed(bounds)
