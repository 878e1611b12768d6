"""One frame in, one fix out: the stages in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import EngineError
from edge_runtime.contract.fix import Fix, IntegrityState, MatchedPlace, Position
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine
from edge_runtime.localize.camera import FloatArray, PinholeCamera, centre_ground_point
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.estimate import estimate_position
from edge_runtime.localize.evidence import (
    likelihood_ratio,
    matched_distinctiveness,
    score_at,
    scores_on_grid,
)
from edge_runtime.localize.filter import PoseFilter
from edge_runtime.localize.hypotheses import HeadingAxis, HeightAxis, Hypothesis
from edge_runtime.localize.hypothesis_evidence import (
    ScoredView,
    best_view,
    joint_distinctiveness,
)
from edge_runtime.localize.integrity import IntegrityMonitor, PosteriorSummary, ViewEvidence
from edge_runtime.localize.motion import MotionModel
from edge_runtime.localize.novelty import ViewNovelty
from edge_runtime.localize.odometry import Displacement, VisualOdometer
from edge_runtime.localize.position_grid import Bounds, PositionGrid
from edge_runtime.localize.quality import attitude_fault, height_fault, picture_fault
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.rectify import GroundWindow
from edge_runtime.localize.reference_pose import ReferencePose
from edge_runtime.localize.refined_position import PositionRefiner
from edge_runtime.localize.restart import place_of, resume, state_of
from edge_runtime.localize.saved_state import LONGEST_AGE_S, LocaliserState
from edge_runtime.localize.search import TileSearch
from edge_runtime.localize.terrain import terrain_for
from edge_runtime.localize.uncertainty import radius95_of, view_offset_covariance
from edge_runtime.localize.view import ViewedGround, ViewMaker
from edge_runtime.telemetry.log import TelemetrySample

STAGES = ("rectify", "odometry", "encode", "search", "filter", "refine")
_SAME_PICTURE_DEG = 3.0
_HEADING_KNOWN_DEG = 30.0
_NO_ROWS: npt.NDArray[np.int64] = np.zeros(0, np.int64)
_NO_SCORES: npt.NDArray[np.float32] = np.zeros(0, np.float32)


class Localiser:
    """Keeps the posterior over the drone's position from frame to frame.

    Not safe for use from several threads; one localiser flies one drone. `view`, `window`,
    `position_grid` and `matched_rows` show what the last frame came to.
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
        self._engine = engine
        self._map = region_map
        self._config = config
        self._views = ViewMaker(camera, region_map, input_size)
        self._refiner = PositionRefiner(region_map, camera, config.refine)
        self._terrain = terrain_for(region_map.terrain, config.terrain, region_map.frame)
        self._search = TileSearch(region_map)
        self._query = QueryProjector(region_map)
        self._odometer = VisualOdometer()
        self._motion = MotionModel(config.motion)
        self._novelty = ViewNovelty(
            config.evidence.independent_shift, config.motion.typical_speed_m_s
        )
        self._reference = ReferencePose(config.motion, config.hypotheses.lowest_unknown_height_m)
        self._prior = prior
        self._state = state
        self._filter = self._new_filter(heading_is_given=True, height_is_given=True)
        self._has_begun = False
        self._integrity = IntegrityMonitor(config.integrity)
        if state is not None:
            self._query.resume(np.array(state.view_sums), np.array(state.view_weights))
            knows_place = state.place is not None and state.has_published
            self._integrity.resume(state.reset_counter, state.has_published, knows_place)
        self._offset_covariance: FloatArray = np.zeros((2, 2))
        self._viewed_offset_m: FloatArray = np.zeros(2)
        self._last_time_s: float | None = None
        self._unseen_s = 0.0
        self._used_descriptors: dict[Hypothesis, npt.NDArray[np.float32]] = {}
        self._stage_ms: dict[str, float] = {}
        self.view: npt.NDArray[np.uint8] | None = None
        self.window: GroundWindow | None = None
        self.best_view: ScoredView | None = None
        self.matched_rows = _NO_ROWS, _NO_SCORES

    @property
    def position_grid(self) -> PositionGrid:
        """The posterior over positions, whatever the heading and height."""
        return self._filter.grid

    def process(self, name: str, image: npt.NDArray[np.uint8], telemetry: TelemetrySample) -> Fix:
        """Localise a frame.

        Args:
            image: (H, W, 3) RGB, of the camera's size.
        """
        self._begin_frame(telemetry.time_s)
        telemetry = self._above_ground(telemetry)
        config = self._config
        fault = attitude_fault(telemetry.pitch_deg, telemetry.roll_deg, config.quality)
        if fault is None and telemetry.height_m is not None:
            fault = height_fault(telemetry.height_m, config.quality)
        if fault is not None:
            return self._unusable(name, telemetry, fault)
        self._hear(telemetry)
        with self._timed("rectify"):
            hypothesis, ground = self._choose_ground()
            if ground.coverage < config.quality.smallest_coverage:
                return self._unusable(
                    name,
                    telemetry,
                    f"camera sees {ground.coverage:.0%} of a "
                    f"{ground.window.footprint_m:.0f} m map footprint",
                )
            view = self._views.picture(image, ground)
            self.view, self.window = view, ground.window
            fault = picture_fault(view, config.quality)
        if fault is not None:
            return self._unusable(name, telemetry, fault)
        elapsed_s, self._unseen_s = self._unseen_s, 0.0
        with self._timed("odometry"):
            displacement, novelty = self._follow(view, ground.window, hypothesis, elapsed_s)
        with self._timed("filter"):
            self._predict(displacement, telemetry, elapsed_s)
        is_evidence = novelty >= config.evidence.smallest_novelty
        evidence: ViewEvidence | None = None
        matches: tuple[MatchedPlace, ...] = ()
        if is_evidence or config.frame_matches:
            with self._timed("rectify"):
                grounds, pictures = self._look(image, ground, view, is_evidence)
            try:
                with self._timed("encode"):
                    encoded = self._engine.encode(np.stack(pictures))
            except EngineError as error:
                return self._fix(name, telemetry.time_s, IntegrityState.FAULT, str(error))
            descriptors = dict(zip(grounds, encoded, strict=True))
            queries = {
                key: self._query.project(descriptor, grounds[key].level)
                for key, descriptor in descriptors.items()
            }
            if displacement is None and self._is_seen_already(descriptors):
                is_evidence = False
            if config.frame_matches:
                matches = self._best_tiles(queries, grounds)
            if is_evidence:
                evidence = self._weigh(queries, grounds, novelty)
                self._learn(descriptors, grounds, novelty)
                self._novelty.use(ground.window)
                self._used_descriptors = descriptors
        return self._conclude(name, telemetry, evidence, matches, ground)

    def without_view(self, name: str, time_s: float, reason: str) -> Fix:
        """The fix where there is no view to judge: camera or telemetry is silent.

        The position coasts on what was known, its radius growing.
        """
        self._begin_frame(time_s)
        return self._unusable(name, TelemetrySample(time_s, None, None, 0.0), reason)

    def saved_state(self) -> LocaliserState:
        """What a restart may go on from."""
        return state_of(
            self._map,
            self._query,
            place_of(self._filter, self._reference.height_is_given),
            self._integrity.reset_counter,
            self._integrity.has_published,
        )

    # The stages

    def _begin_frame(self, time_s: float) -> None:
        """Count the time since the last usable view; a step back is as unknown as one ahead."""
        self._stage_ms = {}
        self.view, self.window = None, None
        self.best_view = None
        self.matched_rows = _NO_ROWS, _NO_SCORES
        if self._last_time_s is None and self._state is not None:
            # The place was as old as it was when the state was read; live frames share its clock.
            read_at_s = self._state.read_at_monotonic_s
            waited_s = 0.0 if read_at_s is None else time_s - read_at_s
            self._unseen_s += waited_s if 0.0 < waited_s < LONGEST_AGE_S else 0.0
        if self._last_time_s is not None:
            self._unseen_s += abs(time_s - self._last_time_s)
        self._last_time_s = time_s

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
            self._filter = self._new_filter(heading_is_given, height_is_given)
        self._reference.hear(telemetry, self._filter, is_first=not self._has_begun)
        self._has_begun = True

    def _choose_ground(self) -> tuple[Hypothesis, ViewedGround]:
        """What the likeliest hypothesis sees, or the likeliest that sees enough of a footprint."""
        least = self._config.quality.smallest_coverage
        first: tuple[Hypothesis, ViewedGround] | None = None
        for hypothesis in self._filter.likeliest(self._config.hypotheses.encodings_cold, 0.0):
            ground = self._ground(hypothesis)
            if first is None:
                first = hypothesis, ground
            if ground.coverage >= least:
                return hypothesis, ground
        if first is None:
            raise RuntimeError("the filter has no hypothesis")
        return first

    def _ground(self, hypothesis: Hypothesis) -> ViewedGround:
        offset_deg = self._filter.headings.offset_deg(hypothesis.heading)
        height_m = self._reference.height_m * self._filter.heights.multiple(hypothesis.height)
        return self._views.ground(self._reference.attitude(offset_deg), height_m)

    def _follow(
        self,
        view: npt.NDArray[np.uint8],
        window: GroundWindow,
        hypothesis: Hypothesis,
        elapsed_s: float,
    ) -> tuple[Displacement | None, float]:
        """The way since the last view, and how much new ground this one shows."""
        factor = self._reference.take(self._filter, hypothesis)
        if factor != 1.0:
            self._odometer.rescale(factor)
            self._novelty.rescale(factor)
        displacement = self._odometer.update(view, window)
        return displacement, self._novelty.update(window, displacement, elapsed_s)

    def _predict(
        self, displacement: Displacement | None, telemetry: TelemetrySample, elapsed_s: float
    ) -> None:
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
        mean_deg, deviation_deg = self._filter.heading_offset_deg()
        moved = motion.for_hypothesis(mean_deg, self._filter.height_multiple())
        share = float(np.hypot(config.motion.odometry_scale_error, np.radians(deviation_deg)))
        noise_m = config.motion.odometry_noise_m * float(np.sqrt(elapsed_s))
        self._motion.remember(
            None if displacement is None else np.array(moved), share, elapsed_s, noise_m
        )
        self._filter.predict(motion)

    def _look(
        self,
        image: npt.NDArray[np.uint8],
        ground: ViewedGround,
        view: npt.NDArray[np.uint8],
        is_evidence: bool,
    ) -> tuple[dict[Hypothesis, ViewedGround], list[npt.NDArray[np.uint8]]]:
        """The views worth encoding; the one that odometry saw serves where it fits."""
        config = self._config
        limits = config.hypotheses
        _, deviation_deg = self._filter.heading_offset_deg()
        is_warm = self._filter.is_local and deviation_deg <= _HEADING_KNOWN_DEG
        most = limits.encodings_warm if is_warm else limits.encodings_cold
        if is_evidence:
            keys = self._filter.look(config.motion.heading_drift_deg, most, limits.least_share)
        else:
            keys = self._filter.likeliest(most, limits.least_share)
        grounds: dict[Hypothesis, ViewedGround] = {}
        pictures: list[npt.NDArray[np.uint8]] = []
        for key in keys:
            seen = self._ground(key)
            turn = seen.attitude.heading_deg - ground.attitude.heading_deg
            turn = abs((turn + 180.0) % 360.0 - 180.0)
            if turn <= _SAME_PICTURE_DEG and abs(seen.height_m / ground.height_m - 1.0) < 0.01:
                grounds[key] = ground
                pictures.append(view)
            elif seen.coverage >= config.quality.smallest_coverage:
                grounds[key] = seen
                pictures.append(self._views.picture(image, seen))
        if not grounds:
            grounds[keys[0]] = ground
            pictures.append(view)
        return grounds, pictures

    def _weigh(
        self,
        queries: Mapping[Hypothesis, npt.NDArray[np.float32]],
        grounds: Mapping[Hypothesis, ViewedGround],
        novelty: float,
    ) -> ViewEvidence:
        """Let a frame speak."""
        config = self._config
        prior_radius_m = float("inf")
        if self._filter.is_local:
            marginal = self._filter.grid
            prior_radius_m = radius95_of(marginal.covariance(marginal.mean()))
        with self._timed("search"):
            scored = [
                self._scored(hypothesis, ground, queries[hypothesis])
                for hypothesis, ground in grounds.items()
            ]
            distinct = joint_distinctiveness(scored, config.evidence.distinct_margin)
            best = best_view(scored)
            self.best_view = best
            of_map = matched_distinctiveness(
                best.scores, best.grid, self._map, best.ground.level, best.ground.window
            )
        with self._timed("filter"):
            weight = novelty * min(distinct, of_map)
            ratios = {
                view.hypothesis: likelihood_ratio(view.scores, config.evidence) for view in scored
            }
            self._filter.update(ratios, weight, novelty)
            self._motion.confirmed(weight)
            score = self._score_of_position(scored)
        return ViewEvidence(
            score,
            prior_radius_m,
            best_score=best.best_score,
            novelty=novelty,
            compared=self._compared(best.ground.level) * len(scored),
        )

    def _compared(self, level: int) -> int:
        """Tiles of a level: as many as a cold filter compares a view with."""
        return self._map.tiles_per_level[level]

    def _scored(
        self, hypothesis: Hypothesis, ground: ViewedGround, query: npt.NDArray[np.float32]
    ) -> ScoredView:
        grid = self._filter.grid_of(hypothesis)
        scores = scores_on_grid(self._search, self._map, ground.level, query, ground.window, grid)
        # The filter goes on with other grids: keep where this one lay.
        return ScoredView(hypothesis, ground, replace(grid), scores)

    def _score_of_position(self, scored: Sequence[ScoredView]) -> float:
        """The score of the likeliest state; NaN where no view was made for it."""
        hypothesis, place = self._filter.best()
        for view in scored:
            if view.hypothesis == hypothesis:
                return score_at(view.scores, view.grid, place)
        return float("nan")

    def _learn(
        self,
        descriptors: Mapping[Hypothesis, npt.NDArray[np.float32]],
        grounds: Mapping[Hypothesis, ViewedGround],
        novelty: float,
    ) -> None:
        """Let the views count towards the flight's mean, each by its hypothesis' probability."""
        weights = self._filter.weights()
        masses = np.array([weights.get(hypothesis, 0.0) for hypothesis in descriptors])
        shares = masses / max(float(masses.sum()), 1e-30)
        for (hypothesis, descriptor), share in zip(descriptors.items(), shares, strict=True):
            self._query.learn(descriptor, grounds[hypothesis].level, novelty * float(share))

    def _is_seen_already(self, descriptors: Mapping[Hypothesis, npt.NDArray[np.float32]]) -> bool:
        """Whether the view is the last used one again, for where odometry cannot tell."""
        return any(
            float(descriptor @ self._used_descriptors[hypothesis])
            > self._config.evidence.same_view_similarity
            for hypothesis, descriptor in descriptors.items()
            if hypothesis in self._used_descriptors
        )

    def _best_tiles(
        self,
        queries: Mapping[Hypothesis, npt.NDArray[np.float32]],
        grounds: Mapping[Hypothesis, ViewedGround],
    ) -> tuple[MatchedPlace, ...]:
        """The whole map's best tiles, moved to where the image centre meets flat ground."""
        found = {
            hypothesis: self._search.best(
                [query[None]], [grounds[hypothesis].level], self._config.frame_matches
            )
            for hypothesis, query in queries.items()
        }
        best = max(found, key=lambda hypothesis: float(found[hypothesis][1][0, 0]))
        ground, (rows, scores) = grounds[best], found[best]
        self.matched_rows = rows[0], scores[0]
        tiles = self._map.tiles[rows[0]]
        level = self._map.levels[ground.level]
        centres = level.centre(tiles["lattice_row"], tiles["lattice_column"])
        to_image_centre = (
            centre_ground_point(ground.attitude, ground.height_m) - ground.window.offset_m
        )
        latitude, longitude = self._map.frame.to_geodetic(centres + to_image_centre)
        return tuple(
            MatchedPlace(float(lat), float(lon), round(float(score), 3))
            for lat, lon, score in zip(latitude, longitude, scores[0], strict=True)
        )

    # The fix

    def _conclude(
        self,
        name: str,
        telemetry: TelemetrySample,
        evidence: ViewEvidence | None,
        matches: tuple[MatchedPlace, ...],
        seen: ViewedGround,
    ) -> Fix:
        with self._timed("filter"):
            ground = self._ground(self._filter.best()[0])
            self._viewed_offset_m = ground.window.offset_m
            errors = replace(
                self._config.telemetry_error,
                heading_deg=self._filter.heading_within_deg(),
                height_share=max(
                    self._filter.heights.within_share(), self._config.telemetry_error.height_share
                ),
            )
            self._offset_covariance = view_offset_covariance(
                ground.attitude, ground.height_m, ground.window.offset_m, errors
            )
            position, summary = self._estimate(self._filter)
            state, reason = self._integrity.update(summary, evidence)
        if self._refiner.is_on and state is IntegrityState.TRACKING:
            with self._timed("refine"):
                position = self._refined(position, seen)
        return self._fix(name, telemetry.time_s, state, reason, position, matches)

    def _refined(self, position: Position | None, seen: ViewedGround) -> Position | None:
        if position is None or self.view is None:
            return position
        return self._refiner.refined(position, self.view, seen)

    def _unusable(self, name: str, telemetry: TelemetrySample, reason: str) -> Fix:
        """Carry on without a view: the posterior itself stays as the last good view left it."""
        position = None
        state = self._integrity.state
        if state.publishes:
            ahead = deepcopy(self._filter)
            ahead.predict(self._motion.unseen(self._unseen_s, _velocity_of(telemetry)))
            position, summary = self._estimate(ahead)
            state, _ = self._integrity.update(summary, None)
            if state is IntegrityState.TRACKING:
                state = IntegrityState.COASTING
        return self._fix(name, telemetry.time_s, state, reason, position)

    def _estimate(self, pose_filter: PoseFilter) -> tuple[Position | None, PosteriorSummary]:
        position, summary = estimate_position(pose_filter, self._map.frame, self._offset_covariance)
        beyond = summary.is_local and not self._shows(summary.east_north_m)
        return position, replace(summary, time_s=self._last_time_s, off_map=float(beyond))

    def _shows(self, east_north_m: tuple[float, float] | None) -> bool:
        """Whether the map has a tile where a drone at a place looks."""
        if east_north_m is None:
            return True
        east, north = np.array(east_north_m) + self._viewed_offset_m
        for number, level in enumerate(self._map.levels):
            row = round((level.first_north_m - north) / level.stride_m)
            column = round((east - level.first_east_m) / level.stride_m)
            if min(row, column) < 0:
                continue
            at = self._map.rows_at(number, slice(row, row + 1), slice(column, column + 1))
            if at.size and at[0, 0] >= 0:
                return True
        return False

    def _fix(
        self,
        name: str,
        time_s: float,
        state: IntegrityState,
        reason: str,
        position: Position | None = None,
        matches: tuple[MatchedPlace, ...] = (),
    ) -> Fix:
        published = position if state.publishes else None
        heading_deg: float | None = None
        deviation_deg: float | None = None
        if published is not None:
            offset_deg, deviation_deg = self._filter.heading_offset_deg()
            heading_deg = (self._reference.heading_deg + offset_deg) % 360.0
        return Fix(
            frame=name,
            time_s=time_s,
            state=state,
            reason=reason,
            position=published,
            velocity=None if published is None or self._unseen_s else self._motion.velocity,
            heading_deg=heading_deg,
            heading_standard_deviation_deg=deviation_deg,
            in_map_probability=1.0 - self._filter.elsewhere,
            viewed_matches=matches,
            reset_counter=self._integrity.reset_counter,
            stage_ms={stage: round(ms, 3) for stage, ms in self._stage_ms.items()},
        )

    def _new_filter(self, heading_is_given: bool, height_is_given: bool) -> PoseFilter:
        config = self._config
        errors = config.telemetry_error
        pose_filter = PoseFilter(
            _tile_bounds(self._map),
            config.filter,
            HeadingAxis(config.hypotheses, errors.heading_deg),
            HeightAxis(config.hypotheses, errors.height_share, height_is_given),
            heading_is_given,
        )
        if self._state is not None and self._state.place is not None:
            state, speed_m_s = self._state, config.motion.typical_speed_m_s
            resume(pose_filter, self._state.place, state.age_s, speed_m_s, height_is_given)
        elif self._prior is not None:
            latitude_deg, longitude_deg, radius_m = self._prior
            centre = self._map.frame.to_local(latitude_deg, longitude_deg)
            pose_filter.start_from(centre, radius_m, 1.0 - config.filter.restart_probability)
        return pose_filter

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent_ms = (time.perf_counter() - start) * 1e3
            self._stage_ms[stage] = self._stage_ms.get(stage, 0.0) + spent_ms


def _velocity_of(telemetry: TelemetrySample) -> tuple[float, float] | None:
    if telemetry.velocity_east_m_s is None or telemetry.velocity_north_m_s is None:
        return None
    return telemetry.velocity_east_m_s, telemetry.velocity_north_m_s


def _tile_bounds(region_map: RegionMap) -> Bounds:
    """Extent of all tile centres in the map's frame."""
    corners = np.concatenate(
        [level.centre([0, level.rows - 1], [0, level.columns - 1]) for level in region_map.levels]
    )
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    return Bounds(float(west), float(south), float(east), float(north))
