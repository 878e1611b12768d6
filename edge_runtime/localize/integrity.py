"""The integrity monitor: whether the posterior may leave the drone as a position."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import IntegrityState
from edge_runtime.localize.off_map import COMPARED, OffMapConfig, OffMapEvidence

_COLD_RADIUS_M = 100.0


@dataclass(frozen=True)
class IntegrityConfig(OffMapConfig):
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
    acquire_distant: float = 0.005
    """Largest probability, at a first fix, of a distant place that is still in question."""
    tracking_distant: float = 0.02
    """Likewise while tracking; above it, coasting."""
    consistent_score: float = 4.0
    """A view speaks for the position if it scores at least this there."""
    rival_margin: float = 1.5
    """A view does not speak for the position if another place scores this much higher."""
    confirm_radius_m: float = 150.0
    """A view confirms a position that was known this well before it; one that merely picks a
    place out of a wider area is unconfirmed, and the state is coasting until another agrees."""
    confirmations: int = 3
    """This many of the last `confirmation_views` views must speak for a first fix."""
    confirmation_views: int = 5
    """How many independent views the confirmations are counted over."""
    acquire_travel_m: float = 30.0
    """The drone must have flown this far between the views that speak for a first fix: those of a
    climb or a hover show one field, and err alike."""
    largest_speed_m_s: float = 50.0
    """No drone flies faster: a position that jumped further than this and both radii allow does not
    leave."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.acquire_radius_m <= self.tracking_radius_m <= self.lost_radius_m:
            raise ConfigError("integrity radii must grow: acquire <= tracking <= lost")
        if not 1 <= self.confirmations <= self.confirmation_views:
            raise ConfigError("integrity.confirmations must lie in 1..confirmation_views")
        if self.largest_speed_m_s <= 0.0:
            raise ConfigError("integrity.largest_speed_m_s must be above 0")
        if not 0.0 <= self.acquire_travel_m < float("inf"):
            raise ConfigError("integrity.acquire_travel_m must be 0 or more metres")


@dataclass(frozen=True)
class PosteriorSummary:
    """What integrity needs to know of the filter after a frame."""

    radius95_m: float
    """Radius that holds 95 % of the filter's mass, telemetry errors left aside."""
    elsewhere: float
    """Probability of not being near the position."""
    is_local: bool
    """Whether the filter has narrowed down to one place."""
    east_north_m: tuple[float, float] | None = None
    """The position, or the likeliest place while there is none; None if it is not known."""
    time_s: float | None = None
    """Exposure of the frame."""
    distant: float = 0.0
    """Probability of places on the grid so far from the position that it would be false."""
    off_map: float = 0.0
    """Probability, 0-1, that the ground viewed from the position has no tile."""


@dataclass(frozen=True)
class ViewEvidence:
    """What integrity needs to know of a view that was searched for."""

    score: float
    """Its score at the position estimated after it; NaN where the map has no tile."""
    prior_radius_m: float
    """The filter's 95 % radius before it; infinite while the filter is cold."""
    best_score: float = float("nan")
    """Its highest score anywhere that was in question."""
    novelty: float = 1.0
    """Share of an independent view that it is worth, 0-1."""
    compared: int = COMPARED
    """Tiles, times headings and heights, that `best_score` is the best of."""


@dataclass(frozen=True)
class _Place:
    """Where a position was, and how well it was known."""

    east_north_m: tuple[float, float]
    time_s: float
    radius95_m: float


class IntegrityMonitor:
    """INIT -> ACQUIRING -> TRACKING <-> COASTING -> LOST, and OUT_OF_MAP."""

    def __init__(self, config: IntegrityConfig) -> None:
        self._config = config
        self._support: deque[bool] = deque(maxlen=config.confirmation_views)
        self._support_places: deque[_Place | None] = deque(maxlen=config.confirmation_views)
        self._off_map = OffMapEvidence(config)
        self._has_published = False
        self._has_left_map = False
        self._is_confirmed = False
        self._moved_unseen = False
        self._confirmations_needed = config.confirmations
        self._supported: _Place | None = None
        self._published: _Place | None = None
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
            self._weigh(summary, view)
        if self.state.publishes:
            self.state, reason = self._keep(summary)
        else:
            self.state, reason = self._acquire(summary)
        if self.state.publishes:
            self._off_map.forget()
            self._published = _place_of(summary)
        else:
            self._published = None
        return self.state, reason

    def lose_sight(self) -> None:
        """The drone has moved and no view saw how: earlier views say nothing of where it is now."""
        self._moved_unseen = True

    def resume(self, reset_counter: int, has_published: bool, knows_place: bool) -> None:
        """Go on after a restart: the first position from now on is a relocalisation.

        Args:
            knows_place: Whether the filter starts from where the drone was: one view that agrees
                confirms it, as after dead reckoning.
        """
        self.reset_counter = reset_counter
        self._has_published = has_published
        if knows_place:
            self._confirmations_needed = 1

    @property
    def has_published(self) -> bool:
        """Whether a position has left, since the start or before a restart."""
        return self._has_published

    def _weigh(self, summary: PosteriorSummary, view: ViewEvidence) -> None:
        """Count a view for or against the position, and for or against the map."""
        config = self._config
        supports = bool(np.isfinite(view.score) and view.score >= config.consistent_score)
        if supports and np.isfinite(view.best_score):
            supports = view.score >= view.best_score - config.rival_margin
        if supports and not self.state.publishes:
            # Views that picked places which no drone could fly between never agreed.
            place = _place_of(summary)
            if not self._is_feasible(self._supported, place):
                self._support.clear()
                self._support_places.clear()
            self._supported = place
        self._support.append(supports)
        self._support_places.append(_place_of(summary) if supports and summary.is_local else None)
        if supports:
            self._is_confirmed = view.prior_radius_m <= config.confirm_radius_m
            self._moved_unseen = False
        if not np.isfinite(view.prior_radius_m):
            self._off_map.add(view.best_score, view.novelty, view.compared)

    def _keep(self, summary: PosteriorSummary) -> tuple[IntegrityState, str]:
        config = self._config
        if not summary.is_local or summary.elsewhere >= config.lost_elsewhere:
            self._forget(config.confirmations)
            return IntegrityState.LOST, "recent views contradict the track"
        if not self._is_feasible(self._published, _place_of(summary)):
            self._forget(config.confirmations)
            return IntegrityState.LOST, "the position jumped further than a drone can fly"
        if summary.radius95_m > config.lost_radius_m:
            # The filter still follows the same track: one view may bring it back, unconfirmed.
            self._forget(confirmations_needed=1)
            return IntegrityState.LOST, f"95 % radius grew to {summary.radius95_m:.0f} m"
        if summary.off_map >= config.off_map_probability and (
            summary.radius95_m > config.tracking_radius_m
        ):
            self._forget(confirmations_needed=1)
            self._has_left_map = True
            return IntegrityState.OUT_OF_MAP, "the track has left the map"
        if summary.elsewhere > config.tracking_elsewhere:
            return IntegrityState.COASTING, f"{100 * summary.elsewhere:.0f} % doubt in the track"
        if summary.distant > config.tracking_distant:
            return IntegrityState.COASTING, f"{100 * summary.distant:.0f} % for a distant place"
        if summary.radius95_m > config.tracking_radius_m:
            return IntegrityState.COASTING, f"95 % radius is {summary.radius95_m:.0f} m"
        if len(self._support) == self._support.maxlen and not any(self._support):
            return IntegrityState.COASTING, "no recent view speaks for the position"
        if not self._is_confirmed:
            return IntegrityState.COASTING, "one view's word, not yet confirmed by another"
        if self._moved_unseen:
            return IntegrityState.COASTING, "moved unseen, not yet confirmed by a view"
        return IntegrityState.TRACKING, "views agree with the map"

    def _forget(self, confirmations_needed: int) -> None:
        self._confirmations_needed = confirmations_needed
        self._support.clear()
        self._support_places.clear()
        self._supported = None
        self._is_confirmed = False

    def _acquire(self, summary: PosteriorSummary) -> tuple[IntegrityState, str]:
        config = self._config
        waiting = IntegrityState.LOST if self._has_published else IntegrityState.ACQUIRING
        if not summary.is_local:
            self._confirmations_needed = config.confirmations
            self._has_left_map = False
        if not self._support and not self._has_published:
            return IntegrityState.INIT, "no usable view yet"
        if not summary.is_local and self._off_map.probability >= config.off_map_probability:
            return IntegrityState.OUT_OF_MAP, (
                f"the last {self._off_map.views} views fit nothing of the map"
            )
        if self._has_left_map and summary.off_map >= config.off_map_probability:
            return IntegrityState.OUT_OF_MAP, "the track has left the map"
        if not summary.is_local or summary.elsewhere > config.acquire_elsewhere:
            return waiting, "no place on the map stands out yet"
        if summary.distant > config.acquire_distant:
            return waiting, f"{100 * summary.distant:.1f} % for a distant place"
        if summary.radius95_m > config.acquire_radius_m:
            return waiting, f"95 % radius is {summary.radius95_m:.0f} m"
        if sum(self._support) < self._confirmations_needed:
            return waiting, f"{sum(self._support)} of {self._confirmations_needed} confirming views"
        if self._confirmations_needed > 1 and summary.east_north_m is not None:
            travel_m = self._travel_m()
            if travel_m < config.acquire_travel_m:
                return waiting, f"only {travel_m:.0f} m flown between the confirming views"
        if self._has_published:
            self.reset_counter += 1
        self._has_published = True
        self._has_left_map = False
        return self._keep(summary)

    def _travel_m(self) -> float:
        """How far apart the positions at the confirming views lie; 0 where none was known yet."""
        places = [place.east_north_m for place in self._support_places if place is not None]
        if not places:
            return 0.0
        between = np.array(places)[:, None] - np.array(places)
        return float(np.hypot(between[..., 0], between[..., 1]).max())

    def _is_feasible(self, before: _Place | None, now: _Place | None) -> bool:
        """Whether a drone can have flown from one place to the other, as well as they are known."""
        if before is None or now is None:
            return True
        distance_m = float(
            np.hypot(
                now.east_north_m[0] - before.east_north_m[0],
                now.east_north_m[1] - before.east_north_m[1],
            )
        )
        flown_m = self._config.largest_speed_m_s * abs(now.time_s - before.time_s)
        return distance_m <= flown_m + before.radius95_m + now.radius95_m


def _place_of(summary: PosteriorSummary) -> _Place | None:
    if summary.east_north_m is None or summary.time_s is None:
        return None
    # A cold filter has no radius; what is then its peak may lie a view's width beside the truth.
    radius_m = summary.radius95_m if np.isfinite(summary.radius95_m) else _COLD_RADIUS_M
    return _Place(summary.east_north_m, summary.time_s, radius_m)
