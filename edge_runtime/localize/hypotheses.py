"""What headings and heights a camera may have: bins around what telemetry says.

Telemetry's heading is off by a compass error, a mounting, or by being a course over ground; its
height by a barometer and by terrain. Both are off by something that changes slowly, so the
hypotheses are offsets from telemetry and last from frame to frame. Where telemetry has no heading
they are headings from north, where it has no height they are heights from a nominal one.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, log, sqrt
from typing import NamedTuple

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import FloatArray


@dataclass(frozen=True)
class HypothesisConfig:
    """Which headings and heights are tried, and how many views are encoded for them."""

    headings: int = 18
    """Headings around the compass; their distance must be one that the encoder bridges."""
    wrong_heading_probability: float = 0.1
    """Chance that telemetry's heading is off by anything at all, beyond its stated error."""
    heights: int = 3
    """Heights around telemetry's: an odd number; 1 believes telemetry."""
    height_step: float = 1.25
    """Ratio of neighbouring heights."""
    wrong_height_probability: float = 0.02
    """Chance that telemetry's height is off by one such step, beyond its stated error."""
    lowest_unknown_height_m: float = 50.0
    """Where telemetry has no height, the lowest that is tried."""
    highest_unknown_height_m: float = 250.0
    """Where telemetry has no height, the highest that is tried."""
    encodings_cold: int = 24
    """Views of one frame that are encoded at most while place or heading are unknown."""
    encodings_warm: int = 3
    """Views of one frame that are encoded at most once both are known."""
    least_share: float = 0.01
    """Hypotheses less probable than this, beside the likeliest, are not encoded."""

    def __post_init__(self) -> None:
        if not 1 <= self.headings <= 72:
            raise ConfigError("hypotheses.headings must lie in 1..72")
        if not 1 <= self.heights <= 9 or self.heights % 2 == 0:
            raise ConfigError("hypotheses.heights must be odd and lie in 1..9")
        if not 1.0 < self.height_step <= 2.0:
            raise ConfigError("hypotheses.height_step must be above 1 and at most 2")
        if not 0.0 < self.lowest_unknown_height_m <= self.highest_unknown_height_m < 1e5:
            raise ConfigError("hypotheses' unknown heights must grow from above 0 to below 100 km")
        if min(self.encodings_cold, self.encodings_warm) < 1:
            raise ConfigError("hypotheses.encodings_cold and encodings_warm must be at least 1")
        shares = (
            self.wrong_heading_probability,
            self.wrong_height_probability,
            self.least_share,
        )
        if not all(0.0 < share < 1.0 for share in shares):
            raise ConfigError("hypotheses' probabilities must lie between 0 and 1")

    @property
    def heading_step_deg(self) -> float:
        """Distance of neighbouring headings."""
        return 360.0 / self.headings


class Hypothesis(NamedTuple):
    """Numbers of a heading and of a height on their axes."""

    heading: int
    height: int


class HeadingAxis:
    """Offsets around the compass, evenly spaced, that drift along with telemetry's error."""

    def __init__(self, config: HypothesisConfig, spread_deg: float) -> None:
        """Centre the first on no offset.

        Args:
            spread_deg: Standard deviation of a telemetry's heading.
        """
        self.count = config.headings
        self.step_deg = config.heading_step_deg
        self._wrong = config.wrong_heading_probability
        self._spread_deg = max(spread_deg, 1e-3)
        self.first_deg = 0.0

    def offset_deg(self, number: int) -> float:
        """Offset of a bin's middle, to be added to telemetry's heading."""
        return self.first_deg + number * self.step_deg

    def drift(self, turn_deg: float) -> None:
        """Carry all bins along as telemetry's error changes."""
        self.first_deg = (self.first_deg + turn_deg + 180.0) % 360.0 - 180.0

    def prior(self, is_given: bool) -> FloatArray:
        """Probability of each bin before any view, by whether telemetry has a heading."""
        even = np.full(self.count, 1.0 / self.count)
        if not is_given or self.count == 1:
            return even
        offsets = self.first_deg + self.step_deg * np.arange(self.count)
        centres = ((offsets + 180.0) % 360.0 - 180.0) / self._spread_deg
        near = _shares(np.asarray(centres, np.float64), self.step_deg / self._spread_deg)
        return np.asarray((1.0 - self._wrong) * near / near.sum() + self._wrong * even)

    def within_deg(self, number: int, is_given: bool) -> float:
        """Standard deviation of the offset inside a bin."""
        evenly = self.step_deg / sqrt(12.0)
        offset_deg = (self.offset_deg(number) + 180.0) % 360.0 - 180.0
        # Telemetry's own spread holds around what it says alone.
        is_centred = is_given and abs(offset_deg) < self._spread_deg
        return min(evenly, self._spread_deg) if is_centred else evenly


class HeightAxis:
    """Heights as multiples of telemetry's, or of a nominal height where it has none."""

    def __init__(self, config: HypothesisConfig, spread: float, is_given: bool) -> None:
        """Lay the multiples out.

        Args:
            spread: Relative standard deviation of a telemetry's height.
            is_given: Whether telemetry has a height at the start.
        """
        self.step = config.height_step
        self._log_step = log(self.step)
        self._wrong = config.wrong_height_probability
        self._spread = max(spread, 1e-3)
        self._is_given = is_given
        self._factor = 1.0
        if is_given:
            self.first, self.count = -(config.heights // 2), config.heights
        else:
            span = log(config.highest_unknown_height_m / config.lowest_unknown_height_m)
            self.first, self.count = 0, 1 + round(span / self._log_step)

    def multiple(self, number: int) -> float:
        """A bin's height over telemetry's, or over the nominal one."""
        return float(self._factor * self.step ** (self.first + number))

    def rebase(self, factor: float) -> None:
        """Telemetry has a height from now on, the one before over it being this factor."""
        self._factor *= factor
        self._is_given = True

    def prior(self) -> FloatArray:
        """Probability of each bin before any view."""
        even = np.full(self.count, 1.0 / self.count)
        if not self._is_given:
            return even
        offsets = np.log(np.array([self.multiple(number) for number in range(self.count)]))
        near = _shares(offsets / self._spread, self._log_step / self._spread)
        return np.asarray((1.0 - self._wrong) * near / near.sum() + self._wrong * even)

    def within_share(self) -> float:
        """Relative standard deviation of the height inside a bin."""
        evenly = self._log_step / sqrt(12.0)
        return min(evenly, self._spread) if self._is_given else evenly


def _shares(centres: FloatArray, width: float) -> FloatArray:
    """Mass of a unit normal distribution in bins of a width around centres."""
    return np.array(
        [
            0.5 * (erf((centre + width / 2) / sqrt(2.0)) - erf((centre - width / 2) / sqrt(2.0)))
            for centre in centres
        ]
    ).clip(1e-12)
