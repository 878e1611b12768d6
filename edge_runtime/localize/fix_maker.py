"""From the posterior and integrity's word on it to the fix that leaves."""

from __future__ import annotations

from edge_runtime.contract.fix import Fix, IntegrityState, Position, Velocity
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.dead_reckoning import DeadReckoning
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.frame_record import FrameRecord
from edge_runtime.localize.integrity import IntegrityMonitor
from edge_runtime.localize.position_estimator import PositionEstimator
from edge_runtime.localize.reference_pose import ReferencePose
from edge_runtime.localize.refined_position import PositionRefiner
from edge_runtime.localize.view import ViewedGround
from edge_runtime.telemetry.log import TelemetrySample


class FixMaker:
    """Estimates the position, has integrity judge it, and states what may leave."""

    def __init__(
        self,
        region_map: RegionMap,
        camera: PinholeCamera,
        config: LocaliserConfig,
        reference: ReferencePose,
        dead_reckoning: DeadReckoning,
        integrity: IntegrityMonitor,
    ) -> None:
        """Refine positions where the config says so and the map has imagery."""
        self._reference = reference
        self._dead_reckoning = dead_reckoning
        self._integrity = integrity
        self._estimator = PositionEstimator(region_map, config.telemetry_error)
        self._refiner = PositionRefiner(region_map, camera, config.refine)

    def conclude(self, frame: FrameRecord, pose_filter: PoseFilter, likeliest: ViewedGround) -> Fix:
        """The fix of a frame with a usable view.

        Args:
            likeliest: What the likeliest state sees by now.
        """
        with frame.timed("filter"):
            self._estimator.see(likeliest, pose_filter)
            position, summary = self._estimator.estimate(pose_filter, frame.time_s)
            state, reason = self._integrity.update(summary, frame.evidence)
        if self._refiner.is_on and state is IntegrityState.TRACKING:
            with frame.timed("refine"):
                position = self._refined(position, frame)
        velocity = self._dead_reckoning.velocity
        return self._fix(frame, pose_filter, state, reason, position, velocity)

    def coast(
        self,
        frame: FrameRecord,
        pose_filter: PoseFilter,
        telemetry: TelemetrySample,
        unseen_s: float,
        reason: str,
    ) -> Fix:
        """Carry on without a view: the posterior itself stays as the last good view left it.

        Args:
            unseen_s: Time since that view.
        """
        position = velocity = None
        state = self._integrity.state
        if state.publishes:
            ahead = self._dead_reckoning.ahead(pose_filter, telemetry, unseen_s)
            position, summary = self._estimator.estimate(ahead, frame.time_s)
            state, _ = self._integrity.update(summary, None)
            if state is IntegrityState.TRACKING:
                state = IntegrityState.COASTING
            velocity = None if unseen_s else self._dead_reckoning.velocity
        return self._fix(frame, pose_filter, state, reason, position, velocity)

    def fault(self, frame: FrameRecord, pose_filter: PoseFilter, reason: str) -> Fix:
        """The fix of a frame that could not be judged: no position leaves."""
        return self._fix(frame, pose_filter, IntegrityState.FAULT, reason, None, None)

    def _refined(self, position: Position | None, frame: FrameRecord) -> Position | None:
        if position is None or frame.view is None or frame.ground is None:
            return position
        return self._refiner.refined(position, frame.view, frame.ground)

    def _fix(
        self,
        frame: FrameRecord,
        pose_filter: PoseFilter,
        state: IntegrityState,
        reason: str,
        position: Position | None,
        velocity: Velocity | None,
    ) -> Fix:
        published = position if state.publishes else None
        heading_deg: float | None = None
        deviation_deg: float | None = None
        if published is not None:
            offset_deg, deviation_deg = pose_filter.heading_offset_deg()
            heading_deg = (self._reference.heading_deg + offset_deg) % 360.0
        return Fix(
            frame=frame.name,
            time_s=frame.time_s,
            state=state,
            reason=reason,
            position=published,
            velocity=None if published is None else velocity,
            heading_deg=heading_deg,
            heading_standard_deviation_deg=deviation_deg,
            in_map_probability=1.0 - pose_filter.elsewhere,
            viewed_matches=frame.matches.places,
            reset_counter=self._integrity.reset_counter,
            stage_ms={stage: round(ms, 3) for stage, ms in frame.spent_ms.items()},
        )
