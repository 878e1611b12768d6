"""How the drone moved and turned between two views, and how well that is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.fix import Velocity
from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.odometry import Displacement


@dataclass(frozen=True)
class MotionConfig:
    """How far odometry and telemetry are trusted between views."""

    odometry_scale_error: float = 0.15
    """Relative error of visual odometry, mostly from terrain below or above the assumed plane;
    it stays the same along a straight."""
    odometry_noise_m: float = 1.5
    """Error of visual odometry beside its scale, over one second; it grows with time's root."""
    typical_speed_m_s: float = 10.0
    """Standard deviation of the speed along each axis where nothing tells it."""
    speed_memory_s: float = 10.0
    """Time over which a drone's velocity stays what it was, where nothing tells of a change."""
    velocity_error_m_s: float = 1.5
    """Standard deviation of telemetry's velocity, used where odometry has nothing to say."""
    inconsistent_turn_deg: float = 10.0
    """Telemetry's heading change is believed unless the pictures contradict it by more."""
    turn_rate_deg_s: float = 20.0
    """How fast the camera may turn unseen, where neither telemetry nor pictures tell."""
    heading_drift_deg: float = 2.0
    """How far the error of a heading drifts from one independent view to the next."""
    height_drift: float = 0.06
    """How far, relatively, the height above the viewed ground drifts from what telemetry says, from
    one independent view to the next: terrain. Other heights are tried again and again for it."""

    def __post_init__(self) -> None:
        if min(self.typical_speed_m_s, self.speed_memory_s, self.velocity_error_m_s) <= 0.0:
            raise ConfigError(
                "motion.typical_speed_m_s, speed_memory_s and velocity_error_m_s must be positive"
            )
        least = min(self.odometry_scale_error, self.odometry_noise_m, self.turn_rate_deg_s)
        drift = min(self.heading_drift_deg, self.height_drift)
        if min(least, drift, self.inconsistent_turn_deg) < 0.0:
            raise ConfigError("motion's errors must not be negative")


@dataclass(frozen=True)
class Motion:
    """The drone's motion since the last prediction."""

    east_m: float
    north_m: float
    sigma_m: float
    """Standard deviation of the displacement along each axis."""
    by_camera: bool = False
    """Whether the displacement was seen, and so turns with the heading and grows with height."""
    heading_offset_deg: float = 0.0
    """The heading offset that the displacement was seen with."""
    height_multiple: float = 1.0
    """The multiple of telemetry's height that the displacement was seen with."""
    turn_deg: float = 0.0
    """How far the heading's offset from telemetry has changed."""
    turn_sigma_deg: float = 0.0
    """Standard deviation of that."""
    heading_doubt: float = 0.0
    """Chance that the offset is now anything that telemetry allows."""

    def for_hypothesis(self, offset_deg: float, height_multiple: float) -> tuple[float, float]:
        """East and north metres moved if the camera's heading and height were these."""
        if not self.by_camera:
            return self.east_m, self.north_m
        turn = np.radians(offset_deg - self.heading_offset_deg)
        scale = height_multiple / self.height_multiple
        cosine, sine = float(np.cos(turn)) * scale, float(np.sin(turn)) * scale
        return (
            cosine * self.east_m + sine * self.north_m,
            cosine * self.north_m - sine * self.east_m,
        )


class MotionModel:
    """Makes motions of odometry and telemetry, and remembers the velocity."""

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._travelled_m: FloatArray = np.zeros(2)
        self._velocity: Velocity | None = None
        self._velocity_age_s = 0.0

    @property
    def velocity(self) -> Velocity | None:
        """The velocity over ground at the last motion; None if nothing told it then."""
        return self._velocity if self._velocity_age_s == 0.0 else None

    def seen(
        self,
        displacement: Displacement,
        elapsed_s: float,
        height_multiple: float = 1.0,
        is_inconsistent: bool = False,
    ) -> Motion:
        """Motion by odometry.

        Args:
            height_multiple: Multiple of telemetry's height with which the view was rectified.
            is_inconsistent: Whether telemetry's turn contradicts the pictures: the direction of
                the displacement is then as doubtful as the heading was.
        """
        config = self._config
        step = np.array([displacement.east_m, displacement.north_m])
        error = config.odometry_scale_error
        if is_inconsistent:
            scale_variance = displacement.length_m**2
        else:
            # One scale error runs through a straight: its variance grows with the square of it.
            before = float(self._travelled_m @ self._travelled_m)
            self._travelled_m = self._travelled_m + step
            after = float(self._travelled_m @ self._travelled_m)
            scale_variance = error**2 * max(after - before, displacement.length_m**2)
        noise_m = config.odometry_noise_m * np.sqrt(elapsed_s)
        return Motion(
            displacement.east_m,
            displacement.north_m,
            float(np.sqrt(noise_m**2 + scale_variance)),
            by_camera=True,
            height_multiple=height_multiple,
        )

    def confirmed(self, weight: float) -> None:
        """A view has fixed the position as far as its weight, 0-1: errors start anew."""
        self._travelled_m = self._travelled_m * (1.0 - weight)

    def unseen(self, elapsed_s: float, telemetry: tuple[float, float] | None) -> Motion:
        """Motion where odometry has nothing to say.

        Args:
            telemetry: Velocity east and north in metres a second, where telemetry has one.
        """
        config = self._config
        if telemetry is not None:
            sigma_m = config.velocity_error_m_s * elapsed_s
            return Motion(telemetry[0] * elapsed_s, telemetry[1] * elapsed_s, sigma_m)
        if self._velocity is None:
            return Motion(0.0, 0.0, config.typical_speed_m_s * elapsed_s)
        memory_s, age_s = config.speed_memory_s, self._velocity_age_s
        fading_s = memory_s * (1.0 - float(np.exp(-elapsed_s / memory_s)))
        kept_s = float(np.exp(-age_s / memory_s)) * fading_s
        # What the velocity has become since it was known, and what becomes of it meanwhile.
        forgotten = 1.0 - float(np.exp(-2.0 * age_s / memory_s))
        variance_s2 = forgotten * fading_s**2 + _unseen_variance(elapsed_s, memory_s)
        sigma_m = float(
            np.hypot(
                config.typical_speed_m_s * np.sqrt(min(variance_s2, elapsed_s**2)),
                self._velocity.standard_deviation_m_s * kept_s,
            )
        )
        return Motion(self._velocity.east_m_s * kept_s, self._velocity.north_m_s * kept_s, sigma_m)

    def remember(
        self, moved_m: FloatArray | None, sigma_share: float, elapsed_s: float, noise_m: float
    ) -> None:
        """Keep the velocity of a motion just made, or let the last one age.

        Args:
            moved_m: East and north metres, None where the motion was not measured.
            sigma_share: Relative error of the motion, of scale and of direction.
            noise_m: Error of the motion beside that.
        """
        if moved_m is None or elapsed_s <= 0.0:
            self._velocity_age_s += elapsed_s
            return
        velocity = moved_m / elapsed_s
        deviation = float(np.hypot(sigma_share * np.linalg.norm(velocity), noise_m / elapsed_s))
        last = self._velocity
        if last is not None and self._velocity_age_s == 0.0:
            # Pictures in quick succession each tell little: the last second together tells more.
            share = 1.0 - float(np.exp(-elapsed_s))
            velocity = velocity * share + (1.0 - share) * np.array([last.east_m_s, last.north_m_s])
            deviation = float(
                np.hypot(share * deviation, (1.0 - share) * last.standard_deviation_m_s)
            )
        self._velocity = Velocity(float(velocity[0]), float(velocity[1]), deviation)
        self._velocity_age_s = 0.0


def _unseen_variance(time_s: float, memory_s: float) -> float:
    """Variance of the way of a drone whose velocity of unit variance wanders off from a known one.

    An Ornstein-Uhlenbeck velocity's integral, given its start; far beyond the memory no less than
    for a velocity that was never known, less what the known one accounts for.
    """
    ratio = time_s / memory_s
    if ratio < 1e-2:
        return memory_s**2 * 2.0 * ratio**3 / 3.0
    kept = 1.0 - float(np.exp(-ratio))
    wandering = 2.0 * ratio - 2.0 * kept - kept**2
    return memory_s**2 * max(wandering, (ratio - kept) ** 2)
