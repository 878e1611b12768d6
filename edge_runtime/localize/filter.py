"""A Bayes filter over the drone's position, heading and height, from knowing nothing to metres.

For every hypothesis of the camera's heading and height, mass lies on a grid of ground cells; what
is on no grid is `elsewhere`. Cold, the grids cover the whole map and elsewhere means off the map.
Once nearly all mass is near one place the grids shrink to it, and elsewhere means anywhere else; if
elsewhere grows likely, the filter is cold again. Evidence from views is multiplied in as a
likelihood ratio against elsewhere, for which no view speaks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.heading_moves import (
    Moves,
    onward_moves,
    redrawn_moves,
    spread_moves,
)
from edge_runtime.localize.height_moves import drift_moves
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, Hypothesis
from edge_runtime.localize.motion import Motion
from edge_runtime.localize.pose_mass import PoseMass
from edge_runtime.localize.position_grid import Bounds, PositionGrid
from edge_runtime.localize.start_shapes import disc, gaussian


@dataclass(frozen=True)
class FilterConfig:
    """Bookkeeping of the filter."""

    cell_m: float = 10.0
    """Side of a grid cell."""
    margin_m: float = 300.0
    """How far beyond the map's tiles the drone itself may be while it looks at them."""
    restart_probability: float = 0.01
    """Chance, per independent view, that the filter's place is wrong altogether."""
    off_map_probability: float = 0.2
    """Chance, before any view, that the drone is not over the map."""
    local_radius_m: float = 300.0
    """The grid shrinks once nearly all mass lies this near its peak."""

    def __post_init__(self) -> None:
        if min(self.cell_m, self.local_radius_m) <= 0.0:
            raise ConfigError("filter.cell_m and local_radius_m must be > 0")
        if not 0.0 < self.restart_probability < 0.5 or not 0.0 < self.off_map_probability < 1.0:
            raise ConfigError("filter's probabilities must lie between 0 and 1")


_LOCAL_MASS = 0.998
_COLD_AGAIN_MASS = 0.5
_NEGLECTED_MASS = 1e-7
_MOST_GRIDS = 24
_WIDEST_LOCAL = 1.5


class PoseFilter:
    """Posterior over east and north in the map's frame, the heading's offset and the height."""

    def __init__(
        self,
        tile_bounds: Bounds,
        config: FilterConfig,
        headings: HeadingAxis,
        heights: HeightAxis,
        heading_is_given: bool = True,
    ) -> None:
        """Start knowing nothing of the position.

        Args:
            tile_bounds: Extent of the map's tile centres.
            heading_is_given: Whether telemetry has a heading.
        """
        self._config = config
        self._region = tile_bounds.grown(config.margin_m)
        self.headings = headings
        self.heights = heights
        self.heading_is_given = heading_is_given
        self.is_local = False
        self.elsewhere = config.off_map_probability
        self._mass = PoseMass()
        self._pending_variance_m2 = 0.0
        self._pending_turn_deg2 = 0.0
        self._pending_climb2 = 0.0
        self._worth_a_view: list[Hypothesis] = []
        self._mass.spread(1.0 - self.elsewhere, self._priors())

    # Before a view

    def predict(self, motion: Motion) -> None:
        """Move the posterior along the drone's motion."""
        for hypothesis, grid in self._mass.grids.items():
            grid.move(
                *motion.for_hypothesis(
                    self.headings.offset_deg(hypothesis.heading),
                    self.heights.multiple(hypothesis.height),
                )
            )
        self._carry_headings(motion.turn_deg)
        self._pending_variance_m2 += min(motion.sigma_m, self._region.diagonal_m) ** 2
        self._pending_turn_deg2 += motion.turn_sigma_deg**2
        if motion.heading_doubt > 0.0:
            prior = self.headings.prior(self.heading_is_given)
            self._mix(redrawn_moves(prior, self._mass.weights(), motion.heading_doubt))
        if self.is_local:
            self._settle()

    def look(
        self, heading_drift_deg: float, height_drift: float, most: int, least_share: float
    ) -> list[Hypothesis]:
        """The hypotheses worth a view, the likeliest first; at least one.

        Args:
            heading_drift_deg: Standard deviation of the heading's drift since the last view.
            height_drift: Relative standard deviation of the height's.
            most: How many at most.
            least_share: Hypotheses less probable than this, beside the likeliest, are left out.
        """
        self._pending_turn_deg2 += heading_drift_deg**2
        self._settle()
        sigma_deg = float(np.sqrt(self._pending_turn_deg2))
        self._mix(spread_moves(self.headings, self._mass.weights(), sigma_deg))
        self._pending_turn_deg2 = 0.0
        if self.is_local:  # until then, views are for headings
            self._let_heights_drift(height_drift, least_share)
        self._worth_a_view = self.likeliest(most, least_share)
        return self._worth_a_view

    def likeliest(self, most: int, least_share: float) -> list[Hypothesis]:
        """Hypotheses by their probability, the likeliest first; at least one."""
        return self._mass.likeliest(most, least_share)

    def grid_of(self, hypothesis: Hypothesis) -> PositionGrid:
        """The grid of one hypothesis, made if it has none yet."""
        if hypothesis not in self._mass.grids:
            flat = self._mass.flat.pop(hypothesis, 0.0)
            bounds = self.grid.bounds if self.is_local else self._region
            self._mass.grids[hypothesis] = PositionGrid.uniform(bounds, self._config.cell_m, flat)
        return self._mass.grids[hypothesis]

    # A view

    def update(
        self,
        likelihood_ratios: Mapping[Hypothesis, npt.NDArray[np.float32]],
        weight: float,
        novelty: float = 1.0,
    ) -> None:
        """Doubt the posterior a little, then multiply a view's evidence in.

        A view under few of the hypotheses that were worth one counts by their share: low over the
        ground, only heights above the likeliest see enough of it, and whatever place such views
        resemble would prove those heights.

        Args:
            likelihood_ratios: Per cell of the hypotheses' grids, against a place that the view
                does not show; hypotheses without one keep their probability.
            weight: Share of an independent view that this one is worth, 0-1.
            novelty: Share of an independent view that has come into sight, 0-1.
        """
        weight *= self._share_of(likelihood_ratios)
        self._doubt(self._config.restart_probability * novelty)
        if weight <= 0.0:
            return
        mass = self._mass
        for hypothesis, ratio in likelihood_ratios.items():
            mass.grids[hypothesis].mass *= ratio if weight == 1.0 else ratio**weight
        total = mass.on_grids() + mass.beside_grids() + self.elsewhere
        for grid in mass.grids.values():
            grid.mass /= total
        mass.flat = {hypothesis: flat / total for hypothesis, flat in mass.flat.items()}
        self.elsewhere /= total
        self._focus_or_widen()
        mass.drop_the_improbable(_MOST_GRIDS, keep_flat=not self.is_local)
        self._count_elsewhere()

    # What it knows

    def weights(self) -> dict[Hypothesis, float]:
        """Probability of every hypothesis that has any."""
        return self._mass.weights()

    @property
    def grid(self) -> PositionGrid:
        """The position alone: mass over all hypotheses, on the likeliest one's cells."""
        self._settle()
        return self._mass.positions(self._region, self._config.cell_m, self.is_local)

    def best(self) -> tuple[Hypothesis, FloatArray]:
        """The likeliest single state: its hypothesis, and its east and north."""
        return self._mass.best()

    def heading_offset_deg(self) -> tuple[float, float]:
        """Mean and standard deviation of the heading's offset from telemetry."""
        numbers, masses = self._mass.by_axis(0)
        angles = np.radians([self.headings.offset_deg(number) for number in numbers])
        mean = float(np.degrees(np.angle(np.sum(masses * np.exp(1j * angles)))))
        away = (np.degrees(angles) - mean + 180.0) % 360.0 - 180.0
        return mean, float(np.hypot(np.sqrt(np.sum(masses * away**2)), self.heading_within_deg()))

    def heading_within_deg(self) -> float:
        """Standard deviation of the heading that no hypothesis tells: inside the bins."""
        numbers, masses = self._mass.by_axis(0)
        within = [self.headings.within_deg(n, self.heading_is_given) for n in numbers]
        return float(np.sqrt(np.sum(masses * np.square(within))))

    def height_multiple(self) -> float:
        """Mean of the height, as a multiple of telemetry's."""
        numbers, masses = self._mass.by_axis(1)
        logs = np.log([self.heights.multiple(number) for number in numbers])
        return float(np.exp(np.sum(masses * logs)))

    # Starting from something

    def start_from(self, centre: FloatArray, radius_m: float, certainty: float) -> None:
        """Put the mass evenly on a disc.

        Args:
            certainty: Probability that the drone is in it.
        Raises:
            ConfigError: If no cell of the map and its margin is in it.
        """
        whole = disc(self._region, self._config.cell_m, centre, radius_m)
        self.is_local = radius_m <= self._config.local_radius_m
        if self.is_local:
            whole = whole.reframed(Bounds.around(centre, radius_m + self._config.cell_m))
        self.place(whole, certainty, self._priors())

    def start_near(
        self,
        mean: FloatArray,
        covariance: FloatArray,
        certainty: float,
        shares: Mapping[Hypothesis, float],
    ) -> None:
        """Put the mass on a Gaussian, and what is not certain of it everywhere else.

        Args:
            mean: East and north.
            covariance: (2, 2) square metres.
            shares: Probability of every hypothesis.
        """
        cell_m = self._config.cell_m
        reach_m = 3.0 * float(np.sqrt(max(covariance[0, 0], covariance[1, 1]))) + cell_m
        self.is_local = reach_m <= self._config.local_radius_m
        bounds = Bounds.around(mean, reach_m) if self.is_local else self._region
        shape = gaussian(bounds, cell_m, mean, covariance)
        if shape is None:
            return
        self.place(shape, certainty, shares)
        if not self.is_local:
            off_map = self._config.off_map_probability
            self._mass.spread(self.elsewhere * (1.0 - off_map), self._priors())
            self._count_elsewhere()

    def place(
        self, shape: PositionGrid, certainty: float, shares: Mapping[Hypothesis, float]
    ) -> None:
        """Put the same mass of positions on all hypotheses, by their shares."""
        self._pending_variance_m2 = self._pending_turn_deg2 = self._pending_climb2 = 0.0
        self._mass.place(shape, certainty, shares)
        self.elsewhere = max(0.0, 1.0 - self._mass.on_grids())

    def hear_heading(self, offset_deg: float) -> None:
        """Telemetry has a heading from now on, this far from where offsets were counted from."""
        self.heading_is_given = True
        self._carry_headings(self.headings.first_deg - offset_deg)
        prior = self.headings.prior(is_given=True)
        self._mass.weigh({h: float(prior[h.heading]) for h in self.weights()})

    def hear_height(self, factor: float) -> None:
        """Telemetry has a height from now on, the one assumed so far over it being this factor."""
        self.heights.rebase(factor)
        prior = self.heights.prior()
        self._mass.weigh({h: float(prior[h.height]) for h in self.weights()})

    # Within

    def _share_of(self, seen: Collection[Hypothesis]) -> float:
        """Probability of hypotheses over that of all that were last worth a view, at most 1."""
        worth, self._worth_a_view = self._worth_a_view, []
        if not set(worth).difference(seen):
            return 1.0  # as mostly: over a large map, summing its grids takes long
        weights = self._mass.weights()
        asked = sum(weights.get(hypothesis, 0.0) for hypothesis in worth)
        if asked <= 0.0:
            return 1.0
        return min(1.0, sum(weights.get(hypothesis, 0.0) for hypothesis in seen) / asked)

    def _priors(self) -> dict[Hypothesis, float]:
        """Probability of each hypothesis before any view."""
        of_heading = self.headings.prior(self.heading_is_given)
        of_height = self.heights.prior()
        return {
            Hypothesis(heading, height): float(of_heading[heading] * of_height[height])
            for heading in range(self.headings.count)
            for height in range(self.heights.count)
        }

    def _count_elsewhere(self) -> None:
        self.elsewhere = max(0.0, 1.0 - self._mass.on_grids() - self._mass.beside_grids())

    def _settle(self) -> None:
        """Spread the grids by the motion's error so far, onto the bounds that they now need."""
        variance = self._pending_variance_m2
        if variance <= 0.0:
            return
        self._pending_variance_m2 = 0.0
        sigma_m = min(float(np.sqrt(variance)), self._region.diagonal_m)
        config = self._config
        if self.is_local:
            widest = _WIDEST_LOCAL * self._region.diagonal_m
            near = {
                hypothesis: grid.mass_bounds(_NEGLECTED_MASS).grown(3 * sigma_m + config.cell_m)
                for hypothesis, grid in self._mass.grids.items()
            }
            self.is_local = all(bounds.diagonal_m <= widest for bounds in near.values())
        for hypothesis, grid in self._mass.grids.items():
            grid = grid.reframed(near[hypothesis] if self.is_local else self._region)
            grid.blur(sigma_m)
            self._mass.grids[hypothesis] = grid
        self._count_elsewhere()

    def _carry_headings(self, turn_deg: float) -> None:
        """Let telemetry's error change by as much.

        Offsets from a given heading stay where they are, centred on none: the mass moves. Where
        there is none the offsets themselves move along, which loses nothing.
        """
        if not self.heading_is_given:
            self.headings.drift(turn_deg)
            return
        self.headings.first_deg = 0.0
        if turn_deg == 0.0:
            return
        steps, count = turn_deg / self.headings.step_deg, self.headings.count
        whole = int(np.floor(steps))
        nearer = 1.0 - (steps - whole)
        self._mass.rename(
            {h: h._replace(heading=(h.heading + whole) % count) for h in self._mass.weights()}
        )
        self._mix(onward_moves(self.headings, self._mass.weights(), 1.0 - nearer))

    def _let_heights_drift(self, drift: float, least_share: float) -> None:
        """Let heights become their neighbours once those would be worth a view.

        A share too small for that would be lost: what is not looked at loses to what is.
        """
        self._pending_climb2 += drift**2
        weights = self._mass.weights()
        moves = drift_moves(self.heights, weights, float(np.sqrt(self._pending_climb2)))
        leaving = moves[max(weights, key=lambda hypothesis: weights[hypothesis])]
        if leaving and max(leaving.values()) >= least_share:
            self._mix(moves)
            self._pending_climb2 = 0.0

    def _mix(self, moves: Moves) -> None:
        # Cold, all grids cover the region alike.
        self._mass.mix(moves, may_grow=self.is_local)

    def _doubt(self, probability: float) -> None:
        """Let a little mass change sides: from the grid to elsewhere, or back from off the map."""
        for grid in self._mass.grids.values():
            grid.mass *= np.float32(1.0 - probability)
        if self.is_local:
            self.elsewhere += probability * (1.0 - self.elsewhere)
            return
        off_map = self._config.off_map_probability
        mass = self._mass
        mass.flat = {h: flat * (1.0 - probability) for h, flat in mass.flat.items()}
        mass.spread(probability * (1.0 - off_map), self._priors())
        self.elsewhere = self.elsewhere * (1.0 - probability) + probability * off_map

    def _focus_or_widen(self) -> None:
        mass = self._mass
        if self.is_local and self.elsewhere > _COLD_AGAIN_MASS:
            self.is_local = False
            mass.grids = {h: grid.reframed(self._region) for h, grid in mass.grids.items()}
            off_grids = 1.0 - mass.on_grids()
            mass.spread(off_grids * (1.0 - self._config.off_map_probability), self._priors())
        elif not self.is_local and mass.grids:
            near = Bounds.around(self.best()[1], self._config.local_radius_m)
            candidates = {h: grid.reframed(near) for h, grid in mass.grids.items()}
            if sum(grid.total for grid in candidates.values()) >= _LOCAL_MASS:
                mass.grids, self.is_local, mass.flat = candidates, True, {}
        self._count_elsewhere()
