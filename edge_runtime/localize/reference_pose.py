"""The pose that views are first rectified with: telemetry's, corrected by the likeliest hypothesis.

Odometry compares views, and so needs one pose for each; what it then finds out about the turn
between two of them is the drift of telemetry's heading, or the turn itself where there is none.
"""

from __future__ import annotations

from dataclasses import replace

from edge_runtime.localize.camera import CameraAttitude
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.motion import Motion, MotionConfig
from edge_runtime.localize.odometry import Displacement
from edge_runtime.telemetry.log import TelemetrySample

_TURN_SIGMA_DEG = 2.0
_UNSEEN_JUMP = 0.05
_SEEN_JUMP = 0.5


class ReferencePose:
    """What telemetry last said, or what is assumed in its place, and how views were taken."""

    def __init__(self, config: MotionConfig, nominal_height_m: float) -> None:
        """Assume north and a height until telemetry tells.

        Args:
            nominal_height_m: Height that multiples count from where telemetry has none.
        """
        self._config = config
        self.heading_deg = 0.0
        self.height_m = nominal_height_m
        self._heading_is_given = False
        self.height_is_given = False
        self._pitch_deg = -90.0
        self._roll_deg = 0.0
        self.offset_deg = 0.0
        self.height_multiple = 1.0
        self._last_offset_deg = 0.0

    def hear(self, sample: TelemetrySample, pose_filter: PoseFilter, is_first: bool) -> None:
        """Take a sample over, and tell the filter where telemetry has found its tongue."""
        self._pitch_deg, self._roll_deg = sample.pitch_deg, sample.roll_deg
        if sample.heading_deg is not None:
            if not self._heading_is_given and not is_first:
                turn_deg = sample.heading_deg - self.heading_deg
                pose_filter.hear_heading(turn_deg)
                self.offset_deg -= turn_deg
            self.heading_deg = sample.heading_deg
        self._heading_is_given = sample.heading_deg is not None
        if sample.height_m is not None and sample.height_m > 0.0:
            if not self.height_is_given and not is_first:
                pose_filter.hear_height(self.height_m / sample.height_m)
                self.height_multiple *= self.height_m / sample.height_m
            self.height_m = sample.height_m
        self.height_is_given = sample.height_m is not None

    def take(self, pose_filter: PoseFilter, hypothesis: Hypothesis) -> float:
        """See the next view by a hypothesis; the ratio of its height to the last view's."""
        self._last_offset_deg = self.offset_deg
        self.offset_deg = pose_filter.headings.offset_deg(hypothesis.heading)
        before, self.height_multiple = (
            self.height_multiple,
            pose_filter.heights.multiple(hypothesis.height),
        )
        return self.height_multiple / before

    def attitude(self, offset_deg: float) -> CameraAttitude:
        """The camera's attitude if telemetry's heading is off by this much."""
        return CameraAttitude(
            (self.heading_deg + offset_deg) % 360.0, self._pitch_deg, self._roll_deg
        )

    def drifted(
        self, motion: Motion, displacement: Displacement | None, elapsed_s: float
    ) -> Motion:
        """A motion with what odometry or telemetry tell about the heading's turn."""
        config = self._config
        if displacement is None:
            if self._heading_is_given:
                turn_sigma_deg = _TURN_SIGMA_DEG
            else:
                turn_sigma_deg = config.turn_rate_deg_s * elapsed_s
            return replace(motion, turn_sigma_deg=turn_sigma_deg, heading_doubt=_UNSEEN_JUMP)
        if not self.height_is_given:
            self.height_m *= displacement.height_ratio
        motion = replace(motion, heading_offset_deg=self._last_offset_deg)
        turn_deg = self.turn_of(displacement)
        if not self._heading_is_given:
            return replace(motion, turn_deg=turn_deg)
        if abs(turn_deg) <= config.inconsistent_turn_deg:
            return motion
        return replace(motion, turn_deg=turn_deg, heading_doubt=_SEEN_JUMP)

    def turn_of(self, displacement: Displacement) -> float:
        """How far the heading's offset from telemetry has changed by the pictures, degrees."""
        turn = self.offset_deg - self._last_offset_deg - displacement.rotation_deg
        return (turn + 180.0) % 360.0 - 180.0

    def is_inconsistent(self, displacement: Displacement) -> bool:
        """Whether the pictures contradict telemetry's change of heading."""
        return (
            self._heading_is_given
            and abs(self.turn_of(displacement)) > self._config.inconsistent_turn_deg
        )
