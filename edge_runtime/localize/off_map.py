"""Whether the drone is over the map at all, from how well its views fit anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.errors import ConfigError

COMPARED = 4000
"""Tiles that the views were compared with on which `even_best_score` was measured."""


@dataclass(frozen=True)
class OffMapConfig:
    """What a view's best score over the whole map says about being over it."""

    off_map_probability: float = 0.98
    """Probability of being off the map from which on it is reported."""
    off_map_prior: float = 0.2
    """Chance, before any view, that the drone is not over the map."""
    even_best_score: float = 5.5
    """Best score over a map of 4,000 tiles that views on and off the map have equally often; over
    larger maps it rises as the best of more chances does."""
    off_map_log_ratio_per_sigma: float = 0.6
    """Growth of the log likelihood ratio, off the map over on it, as the best score falls."""
    largest_off_map_log_ratio: float = 0.5
    """The most that a single view counts for being off the map."""

    def __post_init__(self) -> None:
        if not 0.0 < self.off_map_prior < self.off_map_probability < 1.0:
            raise ConfigError(
                "integrity.off_map_prior must lie between 0 and off_map_probability, below 1"
            )
        if min(self.off_map_log_ratio_per_sigma, self.largest_off_map_log_ratio) <= 0.0:
            raise ConfigError("integrity's log ratios must be above 0")


class OffMapEvidence:
    """Adds up views of new ground that were compared with the whole map.

    Off the map a view's best tile is chance, but chance among thousands of tiles scores high too:
    no single view tells, a dozen do. What a view says is bounded, so that fog or one odd place
    cannot decide alone; and the odds never fall below the prior's, so that a drone that leaves
    the map is not believed to be over it for long.
    """

    def __init__(self, config: OffMapConfig) -> None:
        self._config = config
        self._prior = float(np.log(config.off_map_prior / (1.0 - config.off_map_prior)))
        self._log_odds = self._prior
        self.views = 0

    @property
    def probability(self) -> float:
        """Of being off the map."""
        return float(1.0 / (1.0 + np.exp(-self._log_odds)))

    def add(self, best_score: float, novelty: float, compared: int = COMPARED) -> None:
        """Let a view count, as far as it shows new ground.

        Args:
            best_score: Its best score over the whole map; NaN counts for nothing.
            novelty: Share of an independent view, 0-1.
            compared: Tiles, times headings and heights, that the best one is the best of.
        """
        if not np.isfinite(best_score):
            return
        config = self._config
        limit = config.largest_off_map_log_ratio
        even = config.even_best_score + _expected_best(compared) - _expected_best(COMPARED)
        ratio = config.off_map_log_ratio_per_sigma * (even - best_score)
        self._log_odds = max(
            self._prior, self._log_odds + novelty * float(np.clip(ratio, -3.0 * limit, limit))
        )
        self.views = self.views + 1 if self._log_odds > self._prior else 0

    def forget(self) -> None:
        """A position is known: the drone is over the map."""
        self._log_odds = self._prior
        self.views = 0


def _expected_best(count: int) -> float:
    """About the largest of so many draws from a unit Gaussian."""
    return float(np.sqrt(2.0 * np.log(max(2, count))))
