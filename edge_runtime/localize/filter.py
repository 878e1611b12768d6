"""A Bayes filter over the drone's position, heading and height, from knowing nothing to metres.

For every hypothesis of the camera's heading and height, mass lies on a grid of ground cells; what
is on no grid is `elsewhere`. Cold, the grids cover the whole map and elsewhere means off the map.
Once nearly all mass is near one place the grids shrink to it, and elsewhere means anywhere else; if
elsewhere grows likely, the filter is cold again. Evidence from views is multiplied in as a
likelihood ratio against elsewhere, for which no view speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, Hypothesis
from edge_runtime.localize.motion import Motion
from edge_runtime.localize.position_grid import Bounds, PositionGrid


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
_NEGLECTED_HYPOTHESIS = 1e-6
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
        self._grids: dict[Hypothesis, PositionGrid] = {}
        # Hypotheses that have no grid, with their probability: no place is likelier than another.
        self._flat: dict[Hypothesis, float] = {}
        self._pending_variance_m2 = 0.0
        self._pending_turn_deg2 = 0.0
        self._spread(1.0 - self.elsewhere)

    # Before a view

    def predict(self, motion: Motion) -> None:
        """Move the posterior along the drone's motion."""
        for hypothesis, grid in self._grids.items():
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
            self._redraw_heading(motion.heading_doubt)
        if self.is_local:
            self._settle()

    def look(self, drift_deg: float, most: int, least_share: float) -> list[Hypothesis]:
        """The hypotheses worth a view, the likeliest first; at least one.

        Args:
            drift_deg: Standard deviation of the heading's drift since the last view.
            most: How many at most.
            least_share: Hypotheses less probable than this, beside the likeliest, are left out.
        """
        self._pending_turn_deg2 += drift_deg**2
        self._settle()
        self._turn(float(np.sqrt(self._pending_turn_deg2)))
        self._pending_turn_deg2 = 0.0
        return self.likeliest(most, least_share)

    def likeliest(self, most: int, least_share: float) -> list[Hypothesis]:
        """Hypotheses by their probability, the likeliest first; at least one."""
        weights = self.weights()
        order = sorted(weights, key=lambda hypothesis: -weights[hypothesis])
        least = least_share * weights[order[0]]
        return [order[0], *(h for h in order[1:most] if weights[h] >= least)]

    def grid_of(self, hypothesis: Hypothesis) -> PositionGrid:
        """The grid of one hypothesis, made if it has none yet."""
        if hypothesis not in self._grids:
            flat = self._flat.pop(hypothesis, 0.0)
            bounds = self.grid.bounds if self.is_local else self._region
            self._grids[hypothesis] = PositionGrid.uniform(bounds, self._config.cell_m, flat)
        return self._grids[hypothesis]

    # A view

    def update(
        self,
        likelihood_ratios: Mapping[Hypothesis, npt.NDArray[np.float32]],
        weight: float,
        novelty: float = 1.0,
    ) -> None:
        """Doubt the posterior a little, then multiply a view's evidence in.

        Args:
            likelihood_ratios: Per cell of the hypotheses' grids, against a place that the view
                does not show; hypotheses without one keep their probability.
            weight: Share of an independent view that this one is worth, 0-1.
            novelty: Share of an independent view that has come into sight, 0-1.
        """
        self._doubt(self._config.restart_probability * novelty)
        if weight <= 0.0:
            return
        for hypothesis, ratio in likelihood_ratios.items():
            self._grids[hypothesis].mass *= ratio if weight == 1.0 else ratio**weight
        total = self._on_grids() + sum(self._flat.values()) + self.elsewhere
        for grid in self._grids.values():
            grid.mass /= total
        self._flat = {hypothesis: mass / total for hypothesis, mass in self._flat.items()}
        self.elsewhere /= total
        self._focus_or_widen()
        self._drop_the_improbable()

    # What it knows

    def weights(self) -> dict[Hypothesis, float]:
        """Probability of every hypothesis that has any."""
        return {**self._flat, **{h: grid.total for h, grid in self._grids.items()}}

    @property
    def grid(self) -> PositionGrid:
        """The position alone: mass over all hypotheses, on the likeliest one's cells."""
        self._settle()
        flat = sum(self._flat.values())
        if not self._grids:
            return PositionGrid.uniform(self._region, self._config.cell_m, flat)
        totals = {h: grid.total for h, grid in self._grids.items()}
        base = self._grids[max(totals, key=lambda h: totals[h])]
        if len(self._grids) == 1 and not flat:
            return base
        bounds = base.bounds
        if self.is_local:
            for grid in self._grids.values():
                bounds = bounds.united(grid.bounds)
        union = base.reframed(bounds)
        for grid in self._grids.values():
            if grid is not base:
                union.mass += grid.on_cells_of(union)
        if flat:
            union.mass += np.float32(flat / union.mass.size)
        return union

    def best(self) -> tuple[Hypothesis, FloatArray]:
        """The likeliest single state: its hypothesis, and its east and north."""
        if not self._grids:
            return next(iter(self._flat)), np.zeros(2)
        best = max(self._grids, key=lambda h: float(self._grids[h].mass.max()))
        return best, self._grids[best].peak()

    def heading_offset_deg(self) -> tuple[float, float]:
        """Mean and standard deviation of the heading's offset from telemetry."""
        numbers, masses = self._by_axis(0)
        angles = np.radians([self.headings.offset_deg(number) for number in numbers])
        mean = float(np.degrees(np.angle(np.sum(masses * np.exp(1j * angles)))))
        away = (np.degrees(angles) - mean + 180.0) % 360.0 - 180.0
        return mean, float(np.hypot(np.sqrt(np.sum(masses * away**2)), self.heading_within_deg()))

    def heading_within_deg(self) -> float:
        """Standard deviation of the heading that no hypothesis tells: inside the bins."""
        numbers, masses = self._by_axis(0)
        within = [self.headings.within_deg(n, self.heading_is_given) for n in numbers]
        return float(np.sqrt(np.sum(masses * np.square(within))))

    def height_multiple(self) -> float:
        """Mean of the height, as a multiple of telemetry's."""
        numbers, masses = self._by_axis(1)
        logs = np.log([self.heights.multiple(number) for number in numbers])
        return float(np.exp(np.sum(masses * logs)))

    def _by_axis(self, axis: int) -> tuple[list[int], FloatArray]:
        """Bins of headings (0) or heights (1) that have mass, and their shares."""
        shares: dict[int, float] = {}
        for hypothesis, mass in self.weights().items():
            shares[hypothesis[axis]] = shares.get(hypothesis[axis], 0.0) + mass
        masses = np.array(list(shares.values()))
        return list(shares), masses / max(float(masses.sum()), 1e-30)

    # Starting from something

    def start_from(self, centre: FloatArray, radius_m: float, certainty: float) -> None:
        """Put the mass evenly on a disc.

        Args:
            certainty: Probability that the drone is in it.
        Raises:
            ConfigError: If no cell of the map and its margin is in it.
        """
        whole = PositionGrid.uniform(self._region, self._config.cell_m, 1.0)
        east, north = whole.easts_m - centre[0], whole.norths_m - centre[1]
        inside = north[:, None] ** 2 + east**2 <= max(radius_m, self._config.cell_m) ** 2
        if not inside.any():
            raise ConfigError(
                "the prior lies outside the map: check its latitude and longitude, or fly without"
            )
        whole.mass = (inside / inside.sum()).astype(np.float32)
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
        shape = PositionGrid.uniform(bounds, cell_m, 1.0)
        away = np.stack(np.meshgrid(shape.easts_m - mean[0], shape.norths_m - mean[1]), axis=-1)
        exponent = np.sum(away @ np.linalg.inv(covariance + cell_m**2 * np.eye(2)) * away, axis=-1)
        mass = np.exp(-0.5 * exponent)
        if mass.sum() <= 0.0:
            return
        shape.mass = (mass / mass.sum()).astype(np.float32)
        self.place(shape, certainty, shares)
        if not self.is_local:
            self._spread(self.elsewhere * (1.0 - self._config.off_map_probability))
            self._count_elsewhere()

    def place(
        self, shape: PositionGrid, certainty: float, shares: Mapping[Hypothesis, float]
    ) -> None:
        """Put the same mass of positions on all hypotheses, by their shares."""
        self._flat = {}
        self._pending_variance_m2 = self._pending_turn_deg2 = 0.0
        self._grids = {
            hypothesis: PositionGrid(
                (shape.mass * np.float32(certainty * share)).astype(np.float32),
                shape.west_m,
                shape.north_m,
                shape.cell_m,
            )
            for hypothesis, share in shares.items()
            if share > _NEGLECTED_HYPOTHESIS
        }
        self.elsewhere = max(0.0, 1.0 - self._on_grids())

    def hear_heading(self, offset_deg: float) -> None:
        """Telemetry has a heading from now on, this far from where offsets were counted from."""
        self.heading_is_given = True
        self._carry_headings(self.headings.first_deg - offset_deg)
        prior = self.headings.prior(is_given=True)
        self._weigh_hypotheses({h: float(prior[h.heading]) for h in self.weights()})

    def hear_height(self, factor: float) -> None:
        """Telemetry has a height from now on, the one assumed so far over it being this factor."""
        self.heights.rebase(factor)
        prior = self.heights.prior()
        self._weigh_hypotheses({h: float(prior[h.height]) for h in self.weights()})

    # Within

    def _priors(self) -> dict[Hypothesis, float]:
        """Probability of each hypothesis before any view."""
        of_heading = self.headings.prior(self.heading_is_given)
        of_height = self.heights.prior()
        return {
            Hypothesis(heading, height): float(of_heading[heading] * of_height[height])
            for heading in range(self.headings.count)
            for height in range(self.heights.count)
        }

    def _spread(self, mass: float) -> None:
        """Add mass to every place alike."""
        for hypothesis, share in self._priors().items():
            grid = self._grids.get(hypothesis)
            if grid is None:
                self._flat[hypothesis] = self._flat.get(hypothesis, 0.0) + mass * share
            else:
                grid.mass += np.float32(mass * share / grid.mass.size)

    def _weigh_hypotheses(self, ratios: Mapping[Hypothesis, float]) -> None:
        """Multiply hypotheses' probabilities, that of being on the map staying what it is."""
        before = sum(self.weights().values())
        after = sum(mass * ratios[h] for h, mass in self.weights().items())
        if after <= 0.0:
            return
        for hypothesis, grid in self._grids.items():
            grid.mass *= np.float32(ratios[hypothesis] * before / after)
        self._flat = {h: mass * ratios[h] * before / after for h, mass in self._flat.items()}

    def _on_grids(self) -> float:
        return sum(grid.total for grid in self._grids.values())

    def _count_elsewhere(self) -> None:
        self.elsewhere = max(0.0, 1.0 - self._on_grids() - sum(self._flat.values()))

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
                for hypothesis, grid in self._grids.items()
            }
            self.is_local = all(bounds.diagonal_m <= widest for bounds in near.values())
        for hypothesis, grid in self._grids.items():
            grid = grid.reframed(near[hypothesis] if self.is_local else self._region)
            grid.blur(sigma_m)
            self._grids[hypothesis] = grid
        self._count_elsewhere()

    def _turn(self, sigma_deg: float) -> None:
        """Let headings become their neighbours."""
        step = self.headings.step_deg
        if self.headings.count < 3 or sigma_deg <= 0.0:
            return
        if sigma_deg < 0.5 * step:
            # As for a narrow blur: match the variance.
            side = sigma_deg**2 / (2.0 * step**2)
            shares = {-1: side, 1: side}
        else:
            reach = (self.headings.count - 1) // 2
            steps = np.arange(-reach, reach + 1)
            taps = np.exp(-0.5 * (steps * step / sigma_deg) ** 2)
            taps /= taps.sum()
            shares = {int(n): float(tap) for n, tap in zip(steps, taps, strict=True) if n}
        self._mix({h: self._neighbours(h, shares) for h in self.weights()})

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
        moved = {h: h._replace(heading=(h.heading + whole) % count) for h in self.weights()}
        self._grids = {moved[h]: grid for h, grid in self._grids.items()}
        self._flat = {moved[h]: mass for h, mass in self._flat.items()}
        self._mix({h: self._neighbours(h, {1: 1.0 - nearer}) for h in self.weights()})

    def _neighbours(
        self, hypothesis: Hypothesis, shares: Mapping[int, float]
    ) -> dict[Hypothesis, float]:
        count = self.headings.count
        return {
            Hypothesis((hypothesis.heading + steps) % count, hypothesis.height): share
            for steps, share in shares.items()
        }

    def _redraw_heading(self, doubt: float) -> None:
        """With some probability the heading is anything that telemetry allows, here as before."""
        prior = self.headings.prior(self.heading_is_given)
        self._mix(
            {
                hypothesis: {
                    Hypothesis(heading, hypothesis.height): doubt * float(prior[heading])
                    for heading in range(self.headings.count)
                    if heading != hypothesis.heading
                }
                for hypothesis in self.weights()
            }
        )

    def _mix(self, moves: Mapping[Hypothesis, Mapping[Hypothesis, float]]) -> None:
        """Move shares of hypotheses' mass to others, each place staying where it is."""
        weights = self.weights()
        arriving: list[tuple[Hypothesis, PositionGrid | float]] = []
        for source, targets in moves.items():
            worthwhile = {
                target: share
                for target, share in targets.items()
                if share * weights[source] > _NEGLECTED_HYPOTHESIS
            }
            left = 1.0 - sum(worthwhile.values())
            if source in self._flat:
                mass = self._flat[source]
                self._flat[source] = mass * left
                arriving += [(target, mass * share) for target, share in worthwhile.items()]
                continue
            grid = self._grids[source]
            arriving += [
                (
                    target,
                    PositionGrid(
                        grid.mass * np.float32(share), grid.west_m, grid.north_m, grid.cell_m
                    ),
                )
                for target, share in worthwhile.items()
            ]
            grid.mass *= np.float32(left)
        # All leave before any arrives: who arrives may need a grid of another extent.
        for target, moved in arriving:
            if isinstance(moved, PositionGrid):
                self._add(target, moved)
            else:
                self._add_flat(target, moved)

    def _add_flat(self, target: Hypothesis, mass: float) -> None:
        grid = self._grids.get(target)
        if grid is None:
            self._flat[target] = self._flat.get(target, 0.0) + mass
        else:
            grid.mass += np.float32(mass / grid.mass.size)

    def _add(self, target: Hypothesis, moved: PositionGrid) -> None:
        grid = self._grids.get(target)
        if grid is None:
            flat = self._flat.pop(target, 0.0)
            moved.mass += np.float32(flat / moved.mass.size)
            self._grids[target] = moved
            return
        if self.is_local:
            grid = grid.reframed(grid.bounds.united(moved.bounds))
            self._grids[target] = grid
        grid.mass += moved.on_cells_of(grid)

    def _doubt(self, probability: float) -> None:
        """Let a little mass change sides: from the grid to elsewhere, or back from off the map."""
        for grid in self._grids.values():
            grid.mass *= np.float32(1.0 - probability)
        if self.is_local:
            self.elsewhere += probability * (1.0 - self.elsewhere)
            return
        off_map = self._config.off_map_probability
        self._flat = {h: mass * (1.0 - probability) for h, mass in self._flat.items()}
        self._spread(probability * (1.0 - off_map))
        self.elsewhere = self.elsewhere * (1.0 - probability) + probability * off_map

    def _focus_or_widen(self) -> None:
        if self.is_local and self.elsewhere > _COLD_AGAIN_MASS:
            self.is_local = False
            self._grids = {h: grid.reframed(self._region) for h, grid in self._grids.items()}
            self._spread((1.0 - self._on_grids()) * (1.0 - self._config.off_map_probability))
        elif not self.is_local and self._grids:
            near = Bounds.around(self.best()[1], self._config.local_radius_m)
            candidates = {h: grid.reframed(near) for h, grid in self._grids.items()}
            if sum(grid.total for grid in candidates.values()) >= _LOCAL_MASS:
                self._grids, self.is_local, self._flat = candidates, True, {}
        self._count_elsewhere()

    def _drop_the_improbable(self) -> None:
        """Keep grids for the likeliest hypotheses only."""
        totals = {h: grid.total for h, grid in self._grids.items()}
        order: Iterable[Hypothesis] = sorted(totals, key=lambda h: -totals[h])
        least = _NEGLECTED_HYPOTHESIS * sum(totals.values())
        for rank, hypothesis in enumerate(order):
            if rank == 0 or (rank < _MOST_GRIDS and totals[hypothesis] >= least):
                continue
            del self._grids[hypothesis]
            if not self.is_local:
                self._flat[hypothesis] = self._flat.get(hypothesis, 0.0) + totals[hypothesis]
        self._count_elsewhere()
