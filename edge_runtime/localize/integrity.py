"""The integrity monitor: whether the posterior may leave the drone as a position."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import IntegrityState


@dataclass(frozen=True)
class IntegrityConfig:
    """When a position is good enough to leave, and when it no longer is."""

    acquire_radius_m: float = 75.0
    """The filter's 95 % radius must fall below this for a first fix."""
    tracking_radius_m: float = 150.0
    """Beyond this 95 % radius a position is no longer current knowledge but dead reckoning."""
    lost_radius_m: float = 500.0
    """Beyond this 95 % radius nothing is published."""
    acquire_elsewhere: float = 0.01
    """Largest probability of being somewhere else at a first fix."""
    tracking_elsewhere: float = 0.03
    """Largest probability of being somewhere else while tracking; above it, coasting."""
    lost_elsewhere: float = 0.2
    """Probability of being somewhere else at which the track is given up."""
    consistent_score: float = 4.0
    """A view speaks for the position if it scores at least this there."""
    confirm_radius_m: float = 150.0
    """A view confirms a position that was known this well before it; one that merely picks a
    place out of a wider area is unconfirmed, and the state is coasting until another agrees."""
    confirmations: int = 3
    """This many of the last `confirmation_views` views must speak for a first fix."""
    confirmation_views: int = 5
    """How many independent views the confirmations are counted over."""
    off_map_probability: float = 0.95
    """Probability of being off the map, over `confirmation_views` views, that is reported."""

    def __post_init__(self) -> None:
        if not 0.0 < self.acquire_radius_m <= self.tracking_radius_m <= self.lost_radius_m:
            raise ConfigError("integrity radii must grow: acquire <= tracking <= lost")
        if not 1 <= self.confirmations <= self.confirmation_views:
            raise ConfigError("integrity.confirmations must lie in 1..confirmation_views")


@dataclass(frozen=True)
class PosteriorSummary:
    """What integrity needs to know of the filter after a frame."""

    radius95_m: float
    """Radius that holds 95 % of the filter's mass, telemetry errors left aside."""
    elsewhere: float
    """Probability of not being near the position."""
    is_local: bool
    """Whether the filter has narrowed down to one place."""


@dataclass(frozen=True)
class ViewEvidence:
    """What integrity needs to know of a view that was searched for."""

    score: float
    """Its score at the position estimated after it; NaN where the map has no tile."""
    prior_radius_m: float
    """The filter's 95 % radius before it; infinite while the filter is cold."""


class IntegrityMonitor:
    """INIT -> ACQUIRING -> TRACKING <-> COASTING -> LOST, and OUT_OF_MAP."""

    def __init__(self, config: IntegrityConfig) -> None:
        self._config = config
        self._support: deque[bool] = deque(maxlen=config.confirmation_views)
        self._off_map: deque[bool] = deque(maxlen=config.confirmation_views)
        self._has_published = False
        self._is_confirmed = False
        self._confirmations_needed = config.confirmations
        self.state = IntegrityState.INIT
        self.reset_counter = 0

    def update(
        self, summary: PosteriorSummary, view: ViewEvidence | None
    ) -> tuple[IntegrityState, str]:
        """The state after a frame, and the reason for it.

        Args:
            view: The frame's evidence, None if it gave none.
        """
        if view is not None:
            supports = np.isfinite(view.score) and view.score >= self._config.consistent_score
            self._support.append(bool(supports))
            if supports:
                self._is_confirmed = view.prior_radius_m <= self._config.confirm_radius_m
            self._off_map.append(
                not summary.is_local and summary.elsewhere >= self._config.off_map_probability
            )
        if self.state.publishes:
            self.state, reason = self._keep(summary)
        else:
            self.state, reason = self._acquire(summary)
        return self.state, reason

    def _keep(self, summary: PosteriorSummary) -> tuple[IntegrityState, str]:
        config = self._config
        if not summary.is_local or summary.elsewhere >= config.lost_elsewhere:
            self._forget(config.confirmations)
            return IntegrityState.LOST, "recent views contradict the track"
        if summary.radius95_m > config.lost_radius_m:
            # The filter still follows the same track: one view may bring it back, unconfirmed.
            self._forget(confirmations_needed=1)
            return IntegrityState.LOST, f"95 % radius grew to {summary.radius95_m:.0f} m"
        if summary.elsewhere > config.tracking_elsewhere:
            return IntegrityState.COASTING, f"{100 * summary.elsewhere:.0f} % doubt in the track"
        if summary.radius95_m > config.tracking_radius_m:
            return IntegrityState.COASTING, f"95 % radius is {summary.radius95_m:.0f} m"
        if len(self._support) == self._support.maxlen and not any(self._support):
            return IntegrityState.COASTING, "no recent view speaks for the position"
        if not self._is_confirmed:
            return IntegrityState.COASTING, "one view's word, not yet confirmed by another"
        return IntegrityState.TRACKING, "views agree with the map"

    def _forget(self, confirmations_needed: int) -> None:
        self._confirmations_needed = confirmations_needed
        self._support.clear()
        self._is_confirmed = False

    def _acquire(self, summary: PosteriorSummary) -> tuple[IntegrityState, str]:
        config = self._config
        waiting = IntegrityState.LOST if self._has_published else IntegrityState.ACQUIRING
        if not summary.is_local:
            self._confirmations_needed = config.confirmations
        if not self._support and not self._has_published:
            return IntegrityState.INIT, "no usable view yet"
        if len(self._off_map) == self._off_map.maxlen and all(self._off_map):
            return IntegrityState.OUT_OF_MAP, f"{100 * summary.elsewhere:.0f} % off the map"
        if not summary.is_local or summary.elsewhere > config.acquire_elsewhere:
            return waiting, "no place on the map stands out yet"
        if summary.radius95_m > config.acquire_radius_m:
            return waiting, f"95 % radius is {summary.radius95_m:.0f} m"
        if sum(self._support) < self._confirmations_needed:
            return waiting, f"{sum(self._support)} of {self._confirmations_needed} confirming views"
        if self._has_published:
            self.reset_counter += 1
        self._has_published = True
        return self._keep(summary)
