"""Probability mass over hypotheses and places: a grid for each hypothesis that prefers places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.position_grid import Bounds, PositionGrid

_NEGLECTED_HYPOTHESIS = 1e-6


class PoseMass:
    """What a filter holds on its grids and beside them; nothing here normalises it."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.grids: dict[Hypothesis, PositionGrid] = {}
        self.flat: dict[Hypothesis, float] = {}
        """Hypotheses that have no grid, with their probability: no place is likelier than
        another."""

    def weights(self) -> dict[Hypothesis, float]:
        """Probability of every hypothesis that has any."""
        return {**self.flat, **{h: grid.total for h, grid in self.grids.items()}}

    def on_grids(self) -> float:
        """Mass on all grids."""
        return sum(grid.total for grid in self.grids.values())

    def beside_grids(self) -> float:
        """Mass of the hypotheses without a grid."""
        return sum(self.flat.values())

    def likeliest(self, most: int, least_share: float) -> list[Hypothesis]:
        """Hypotheses by their probability, the likeliest first; at least one.

        Args:
            least_share: Hypotheses less probable than this, beside the likeliest, are left out.
        """
        weights = self.weights()
        order = sorted(weights, key=lambda hypothesis: -weights[hypothesis])
        least = least_share * weights[order[0]]
        return [order[0], *(h for h in order[1:most] if weights[h] >= least)]

    def best(self) -> tuple[Hypothesis, FloatArray]:
        """The likeliest single state: its hypothesis, and its east and north."""
        if not self.grids:
            return next(iter(self.flat)), np.zeros(2)
        best = max(self.grids, key=lambda h: float(self.grids[h].mass.max()))
        return best, self.grids[best].peak()

    def by_axis(self, axis: int) -> tuple[list[int], FloatArray]:
        """Bins of headings (0) or heights (1) that have mass, and their shares."""
        shares: dict[int, float] = {}
        for hypothesis, mass in self.weights().items():
            shares[hypothesis[axis]] = shares.get(hypothesis[axis], 0.0) + mass
        masses = np.array(list(shares.values()))
        return list(shares), masses / max(float(masses.sum()), 1e-30)

    def positions(self, region: Bounds, cell_m: float, is_local: bool) -> PositionGrid:
        """Mass of places over all hypotheses, on the likeliest one's cells.

        Args:
            region: Where mass without a grid lies.
            is_local: Whether grids have bounds of their own, and not the region's.
        """
        flat = self.beside_grids()
        if not self.grids:
            return PositionGrid.uniform(region, cell_m, flat)
        totals = {h: grid.total for h, grid in self.grids.items()}
        base = self.grids[max(totals, key=lambda h: totals[h])]
        if len(self.grids) == 1 and not flat:
            return base
        bounds = base.bounds
        if is_local:
            for grid in self.grids.values():
                bounds = bounds.united(grid.bounds)
        union = base.reframed(bounds)
        for grid in self.grids.values():
            if grid is not base:
                union.mass += grid.on_cells_of(union)
        if flat:
            union.mass += np.float32(flat / union.mass.size)
        return union

    def place(
        self, shape: PositionGrid, certainty: float, shares: Mapping[Hypothesis, float]
    ) -> None:
        """Hold nothing but the same places for all hypotheses, by their shares.

        Args:
            shape: Unit mass.
            certainty: Mass that all hypotheses have together.
        """
        self.flat = {}
        self.grids = {
            hypothesis: PositionGrid(
                (shape.mass * np.float32(certainty * share)).astype(np.float32),
                shape.west_m,
                shape.north_m,
                shape.cell_m,
            )
            for hypothesis, share in shares.items()
            if share > _NEGLECTED_HYPOTHESIS
        }

    def spread(self, mass: float, shares: Mapping[Hypothesis, float]) -> None:
        """Add mass to every place alike, by hypotheses' shares of it."""
        for hypothesis, share in shares.items():
            self._add_flat(hypothesis, mass * share)

    def weigh(self, ratios: Mapping[Hypothesis, float]) -> None:
        """Multiply hypotheses' probabilities, their sum staying what it is."""
        before = sum(self.weights().values())
        after = sum(mass * ratios[h] for h, mass in self.weights().items())
        if after <= 0.0:
            return
        for hypothesis, grid in self.grids.items():
            grid.mass *= np.float32(ratios[hypothesis] * before / after)
        self.flat = {h: mass * ratios[h] * before / after for h, mass in self.flat.items()}

    def rename(self, names: Mapping[Hypothesis, Hypothesis]) -> None:
        """Let hypotheses be others, one to one."""
        self.grids = {names[h]: grid for h, grid in self.grids.items()}
        self.flat = {names[h]: mass for h, mass in self.flat.items()}

    def mix(self, moves: Mapping[Hypothesis, Mapping[Hypothesis, float]], may_grow: bool) -> None:
        """Move shares of hypotheses' mass to others, each place staying where it is.

        Args:
            may_grow: Whether a grid grows where mass arrives beyond it.
        """
        weights, before, flat = self.weights(), self.grids, self.flat
        worthwhile = {
            source: {
                target: share
                for target, share in targets.items()
                if share * weights[source] > _NEGLECTED_HYPOTHESIS
            }
            for source, targets in moves.items()
        }
        # All leave before any arrives: who arrives may need a grid of another extent.
        left = {source: 1.0 - sum(targets.values()) for source, targets in worthwhile.items()}
        self.flat = {h: mass * left.get(h, 1.0) for h, mass in flat.items()}
        self.grids = {h: grid.scaled(left[h]) if h in left else grid for h, grid in before.items()}
        for source, targets in worthwhile.items():
            for target, share in targets.items():
                if source in flat:
                    self._add_flat(target, flat[source] * share)
                else:
                    self._add(target, before[source], share, may_grow)

    def drop_the_improbable(self, most: int, keep_flat: bool) -> None:
        """Keep grids for the likeliest hypotheses only, and for one at least.

        Args:
            most: How many grids at most.
            keep_flat: Whether the others keep their probability.
        """
        totals = {h: grid.total for h, grid in self.grids.items()}
        order = sorted(totals, key=lambda h: -totals[h])
        least = _NEGLECTED_HYPOTHESIS * sum(totals.values())
        for rank, hypothesis in enumerate(order):
            if rank == 0 or (rank < most and totals[hypothesis] >= least):
                continue
            del self.grids[hypothesis]
            if keep_flat:
                self.flat[hypothesis] = self.flat.get(hypothesis, 0.0) + totals[hypothesis]

    def _add_flat(self, target: Hypothesis, mass: float) -> None:
        grid = self.grids.get(target)
        if grid is None:
            self.flat[target] = self.flat.get(target, 0.0) + mass
        else:
            grid.mass += np.float32(mass / grid.mass.size)

    def _add(self, target: Hypothesis, moved: PositionGrid, share: float, may_grow: bool) -> None:
        grid = self.grids.get(target)
        if grid is None:
            grid = moved.scaled(share)
            grid.mass += np.float32(self.flat.pop(target, 0.0) / grid.mass.size)
            self.grids[target] = grid
            return
        if may_grow:
            grid = grid.reframed(grid.bounds.united(moved.bounds))
            self.grids[target] = grid
        arrived = moved.on_cells_of(grid)
        arrived *= np.float32(share)
        grid.mass += arrived
