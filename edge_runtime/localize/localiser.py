"""One frame in, one fix out: the stages in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import EngineError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.dead_reckoning import DeadReckoning
from edge_runtime.localize.fix_maker import FixMaker
from edge_runtime.localize.flight_start import FlightStart
from edge_runtime.localize.frame_record import FrameRecord
from edge_runtime.localize.hypotheses import Hypothesis
from edge_runtime.localize.hypothesis_evidence import ScoredView
from edge_runtime.localize.hypothesis_views import HypothesisViews
from edge_runtime.localize.integrity import IntegrityMonitor, ViewEvidence
from edge_runtime.localize.map_comparison import MapComparison
from edge_runtime.localize.novelty import ViewNovelty
from edge_runtime.localize.odometry import VisualOdometer
from edge_runtime.localize.position_grid import PositionGrid
from edge_runtime.localize.quality import (
    attitude_fault,
    coverage_fault,
    height_fault,
    picture_fault,
)
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.reference_pose import ReferencePose
from edge_runtime.localize.restart import place_of, state_of
from edge_runtime.localize.saved_state import LocaliserState
from edge_runtime.localize.search import TileSearch
from edge_runtime.localize.terrain import terrain_for
from edge_runtime.localize.view import ViewedGround, ViewMaker
from edge_runtime.localize.view_memory import ViewMemory
from edge_runtime.localize.viewed_matches import viewed_matches
from edge_runtime.telemetry.log import TelemetrySample

STAGES = ("rectify", "odometry", "encode", "search", "filter", "refine")


class Localiser:
    """Keeps the posterior over the drone's position from frame to frame.

    Not safe for use from several threads; one localiser flies one drone. `view`, `window`,
    `position_grid`, `matched_rows`, `best_view` and `evidence` show what the last frame came to.
    """

    def __init__(
        self,
        engine: Engine,
        region_map: RegionMap,
        input_size: int,
        camera: PinholeCamera,
        config: LocaliserConfig,
        prior: tuple[float, float, float] | None = None,
        state: LocaliserState | None = None,
    ) -> None:
        """Start knowing nothing of the position, with a prior, or where a restart left off.

        Args:
            input_size: Side of the encoder's square input in pixels.
            prior: Latitude, longitude and a radius in metres that holds the drone; it counts
                where the state knows no place.
            state: As `load_state` gives it.

        Raises:
            ConfigError: If the prior lies outside the map.
        """
        self._engine, self._map, self._config = engine, region_map, config
        self._reference = ReferencePose(config.motion, config.hypotheses.lowest_unknown_height_m)
        views = ViewMaker(camera, region_map, input_size)
        self._views = HypothesisViews(views, self._reference, config)
        self._terrain = terrain_for(region_map.terrain, config.terrain, region_map.frame)
        self._odometer = VisualOdometer()
        evidence, motion = config.evidence, config.motion
        self._novelty = ViewNovelty(evidence.independent_shift, motion.typical_speed_m_s)
        self._dead_reckoning = DeadReckoning(motion, self._reference)
        self._memory = ViewMemory(region_map, evidence.same_view_similarity)
        self._search = TileSearch(region_map)
        self._comparison = MapComparison(region_map, self._search, evidence)
        self._integrity = IntegrityMonitor(config.integrity)
        self._fixes = FixMaker(
            region_map, camera, config, self._reference, self._dead_reckoning, self._integrity
        )
        self._start = FlightStart(region_map, config, prior, state)
        self._filter = self._start.new_filter(heading_is_given=True, height_is_given=True)
        self._start.resume_beside_filter(self._memory.projector, self._integrity)
        self._has_begun = False
        self._last_time_s: float | None = None
        self._unseen_s = 0.0
        self._frame = FrameRecord("", 0.0)

    @property
    def position_grid(self) -> PositionGrid:
        """The posterior over positions, whatever the heading and height."""
        return self._filter.grid

    @property
    def view(self) -> npt.NDArray[np.uint8] | None:
        """The ground that the likeliest hypothesis sees, from straight above."""
        return self._frame.view

    @property
    def window(self) -> GroundWindow | None:
        """Where that ground lies."""
        return None if self._frame.ground is None else self._frame.ground.window

    @property
    def matched_rows(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Rows and scores of the whole map's best tiles; none unless `frame_matches` asks."""
        return self._frame.matches.rows, self._frame.matches.scores

    @property
    def best_view(self) -> ScoredView | None:
        """The view whose best place scores highest; None where none was weighed."""
        return self._frame.best_view

    @property
    def evidence(self) -> ViewEvidence | None:
        """What integrity heard of the frame; None if it was no evidence."""
        return self._frame.evidence

    def process(self, name: str, image: npt.NDArray[np.uint8], telemetry: TelemetrySample) -> Fix:
        """Localise a frame.

        Args:
            image: (H, W, 3) RGB, of the camera's size.
        """
        frame = self._begin_frame(name, telemetry.time_s)
        telemetry = self._above_ground(telemetry)
        config = self._config
        fault = attitude_fault(telemetry.pitch_deg, telemetry.roll_deg, config.quality)
        if fault is None and telemetry.height_m is not None:
            fault = height_fault(telemetry.height_m, config.quality)
        if fault is not None:
            return self._unusable(telemetry, fault)
        self._hear(telemetry)
        with frame.timed("rectify"):
            hypothesis, ground = self._views.likeliest_ground(self._filter)
            fault = coverage_fault(ground.coverage, ground.window.footprint_m, config.quality)
            if fault is not None:
                return self._unusable(telemetry, fault)
            view = self._views.picture(image, ground)
            frame.view, frame.ground = view, ground
            fault = picture_fault(view, config.quality)
        if fault is not None:
            return self._unusable(telemetry, fault)
        elapsed_s, self._unseen_s = self._unseen_s, 0.0
        with frame.timed("odometry"):
            scale = self._reference.take(self._filter, hypothesis)
            if scale != 1.0:
                self._odometer.rescale(scale)
                self._novelty.rescale(scale)
            displacement = self._odometer.update(view, ground.window)
            novelty = self._novelty.update(ground.window, displacement, elapsed_s)
            if displacement is None:
                self._integrity.lose_sight()
        with frame.timed("filter"):
            self._dead_reckoning.predict(self._filter, displacement, telemetry, elapsed_s)
        is_evidence = novelty >= config.evidence.smallest_novelty
        if is_evidence or config.frame_matches:
            with frame.timed("rectify"):
                grounds, pictures = self._views.worth_encoding(
                    self._filter, image, ground, view, is_evidence
                )
            try:
                with frame.timed("encode"):
                    encoded = self._engine.encode(np.stack(pictures))
            except EngineError as error:
                return self._fixes.fault(frame, self._filter, str(error))
            descriptors = dict(zip(grounds, encoded, strict=True))
            queries = self._memory.queries(descriptors, grounds)
            if displacement is None and self._memory.is_seen_already(descriptors):
                is_evidence = False
            if config.frame_matches:
                frame.matches = viewed_matches(
                    self._search, self._map, queries, grounds, config.frame_matches
                )
            if is_evidence:
                frame.evidence = self._weigh(queries, grounds, novelty)
                self._memory.learn(descriptors, grounds, self._filter.weights(), novelty)
                self._novelty.use(ground.window)
        with frame.timed("filter"):
            likeliest = self._views.ground(self._filter, self._filter.best()[0])
        return self._fixes.conclude(frame, self._filter, likeliest)

    def without_view(self, name: str, time_s: float, reason: str) -> Fix:
        """The fix where there is no view to judge: camera or telemetry is silent.

        The position coasts on what was known, its radius growing.
        """
        self._begin_frame(name, time_s)
        return self._unusable(TelemetrySample(time_s, None, None, 0.0), reason)

    def saved_state(self) -> LocaliserState:
        """What a restart may go on from."""
        return state_of(
            self._map,
            self._memory.projector,
            place_of(self._filter, self._reference.height_is_given),
            self._integrity.reset_counter,
            self._integrity.has_published,
        )

    def _begin_frame(self, name: str, time_s: float) -> FrameRecord:
        """Count the time since the last usable view; a step back is as unknown as one ahead."""
        if self._last_time_s is None:
            self._unseen_s += self._start.waited_s(time_s)
        else:
            self._unseen_s += abs(time_s - self._last_time_s)
        self._last_time_s = time_s
        self._frame = FrameRecord(name, time_s)
        return self._frame

    def _unusable(self, telemetry: TelemetrySample, reason: str) -> Fix:
        return self._fixes.coast(self._frame, self._filter, telemetry, self._unseen_s, reason)

    def _above_ground(self, telemetry: TelemetrySample) -> TelemetrySample:
        """Telemetry with its height above the ground viewed, where the map's elevations tell."""
        if self._terrain is None or telemetry.pose is None or not self._filter.is_local:
            return telemetry
        pose = self._terrain.pose_above(telemetry.pose, self._filter.grid.mean())
        return telemetry if pose is None else replace(telemetry, height_m=pose.height_m)

    def _hear(self, telemetry: TelemetrySample) -> None:
        heading_is_given = telemetry.heading_deg is not None
        height_is_given = telemetry.height_m is not None
        if not self._has_begun and not (heading_is_given and height_is_given):
            self._filter = self._start.new_filter(heading_is_given, height_is_given)
        self._reference.hear(telemetry, self._filter, is_first=not self._has_begun)
        self._has_begun = True

    def _weigh(
        self,
        queries: Mapping[Hypothesis, npt.NDArray[np.float32]],
        grounds: Mapping[Hypothesis, ViewedGround],
        novelty: float,
    ) -> ViewEvidence:
        """Let a frame speak."""
        evidence, weight = self._comparison.weigh(
            self._frame, self._filter, queries, grounds, novelty
        )
        self._dead_reckoning.confirmed(weight)
        return evidence
