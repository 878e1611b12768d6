"""What of a fix may leave as a position, and how uncertain it is said to be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Fix, IntegrityState, Position

RADIUS95_PER_DEVIATION = math.sqrt(-2.0 * math.log(0.05))
"""A circular normal distribution holds 95 % within so many standard deviations (Rayleigh)."""
LEAST_DEVIATION_M = 0.01
MOST_M = 1e6
_CLOCK_MARGIN_S = 0.05


@dataclass(frozen=True)
class PublicationRule:
    """When a position may leave through an output."""

    longest_age_s: float = 1.0
    """A frame exposed longer ago than this is no longer news: nothing of it is sent."""
    coasting: bool = True
    """Whether a position that odometry alone carries leaves too."""
    largest_deviation_m: float = math.inf
    """A position less certain than this standard deviation is kept back."""

    def __post_init__(self) -> None:
        if not self.longest_age_s > 0.0 or not self.largest_deviation_m > 0.0:
            raise ConfigError("outputs: longest_age_s and largest_deviation_m must be above 0")


def reason_to_withhold(fix: Fix, now_s: float, rule: PublicationRule) -> str:
    """Why no position may leave of a fix; empty if it may.

    Args:
        now_s: The moment of sending, on the clock of `fix.time_s`.
    """
    position = fix.position
    if not fix.state.publishes or position is None:
        return "no position"
    if fix.engine_fault:
        return "engine fault"
    if fix.state is IntegrityState.COASTING and not rule.coasting:
        return "coasting"
    if not _is_on_earth(position):
        return "not a place"
    age_s = now_s - fix.time_s
    if not -_CLOCK_MARGIN_S <= age_s <= rule.longest_age_s:
        return "stale" if age_s > 0.0 else "stamped in the future"
    deviation = deviation_m(position)
    if not (math.isfinite(deviation) and deviation <= rule.largest_deviation_m):
        return "too uncertain"
    return ""


def deviation_m(position: Position) -> float:
    """The standard deviation that an estimator with round errors should count with.

    The longest half axis of the filter's covariance, and no less than what the stated 95 %
    radius amounts to, which holds the telemetry's errors too. Infinite where nothing is known.
    """
    longest_m2 = longest_variance_m2(position)
    stated_m = position.radius95_m / RADIUS95_PER_DEVIATION
    if not (math.isfinite(longest_m2) and math.isfinite(stated_m)):
        return math.inf
    return max(math.sqrt(longest_m2), stated_m)


def longest_variance_m2(position: Position) -> float:
    """The variance along the longest axis of the covariance's ellipse."""
    mean = position.variance_east_m2 / 2.0 + position.variance_north_m2 / 2.0
    half_difference = position.variance_east_m2 / 2.0 - position.variance_north_m2 / 2.0
    return max(mean + math.hypot(half_difference, position.covariance_east_north_m2), 0.0)


def stated_covariance_m2(position: Position, deviation: float) -> tuple[float, float, float]:
    """Variances of east and north and their covariance, grown as a whole to a deviation.

    Whatever the filter says, they are a covariance: variances of 1 cm to 1,000 km squared.
    """
    longest = min(max(math.sqrt(longest_variance_m2(position)), LEAST_DEVIATION_M), MOST_M)
    growth = (min(max(deviation, LEAST_DEVIATION_M), MOST_M) / longest) ** 2
    east = _bounded_variance(position.variance_east_m2 * growth)
    north = _bounded_variance(position.variance_north_m2 * growth)
    limit = math.sqrt(east) * math.sqrt(north)
    both = max(-limit, min(position.covariance_east_north_m2 * growth, limit))
    return east, north, both


def _bounded_variance(variance_m2: float) -> float:
    return min(max(variance_m2, LEAST_DEVIATION_M**2), MOST_M**2)


def longitude_within_180(longitude_deg: float) -> float:
    """The same meridian in -180..180 degrees."""
    if -180.0 <= longitude_deg <= 180.0:
        return longitude_deg
    return (longitude_deg + 180.0) % 360.0 - 180.0


def _is_on_earth(position: Position) -> bool:
    return (
        math.isfinite(position.latitude_deg)
        and math.isfinite(position.longitude_deg)
        and abs(position.latitude_deg) <= 90.0
        and abs(position.longitude_deg) <= 360.0
    )
