"""The posterior carried along by what odometry and telemetry tell of the drone's motion."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from edge_runtime.contract.fix import Velocity
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.motion import MotionConfig, MotionModel
from edge_runtime.localize.odometry import Displacement
from edge_runtime.localize.reference_pose import ReferencePose
from edge_runtime.telemetry.log import TelemetrySample


class DeadReckoning:
    """Moves a filter from one view to the next, and knows the velocity meanwhile."""

    def __init__(self, config: MotionConfig, reference: ReferencePose) -> None:
        """Count headings and heights from a reference pose."""
        self._config = config
        self._reference = reference
        self._motion = MotionModel(config)

    @property
    def velocity(self) -> Velocity | None:
        """The velocity over ground at the last view; None if nothing told it then."""
        return self._motion.velocity

    def predict(
        self,
        pose_filter: PoseFilter,
        displacement: Displacement | None,
        telemetry: TelemetrySample,
        elapsed_s: float,
    ) -> None:
        """Move the posterior along the way from the last view to this one.

        Args:
            displacement: What odometry saw of it; None if it saw nothing.
        """
        reference, config = self._reference, self._config
        if displacement is None:
            motion = self._motion.unseen(elapsed_s, _velocity_of(telemetry))
        else:
            motion = self._motion.seen(
                displacement,
                elapsed_s,
                reference.height_multiple,
                reference.is_inconsistent(displacement),
            )
        motion = reference.drifted(motion, displacement, elapsed_s)
        mean_deg, deviation_deg = pose_filter.heading_offset_deg()
        moved = motion.for_hypothesis(mean_deg, pose_filter.height_multiple())
        share = float(np.hypot(config.odometry_scale_error, np.radians(deviation_deg)))
        noise_m = config.odometry_noise_m * float(np.sqrt(elapsed_s))
        self._motion.remember(
            None if displacement is None else np.array(moved), share, elapsed_s, noise_m
        )
        pose_filter.predict(motion)

    def ahead(
        self, pose_filter: PoseFilter, telemetry: TelemetrySample, unseen_s: float
    ) -> PoseFilter:
        """The posterior as it has become since the last view; the filter itself stays."""
        ahead = deepcopy(pose_filter)
        ahead.predict(self._motion.unseen(unseen_s, _velocity_of(telemetry)))
        return ahead

    def confirmed(self, weight: float) -> None:
        """A view has fixed the position as far as its weight, 0-1: errors start anew."""
        self._motion.confirmed(weight)


def _velocity_of(telemetry: TelemetrySample) -> tuple[float, float] | None:
    if telemetry.velocity_east_m_s is None or telemetry.velocity_north_m_s is None:
        return None
    return telemetry.velocity_east_m_s, telemetry.velocity_north_m_s
