"""One frame in, one fix out: the stages in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError, EngineError
from edge_runtime.contract.fix import Fix, IntegrityState, MatchedPlace, Position
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine
from edge_runtime.localize.camera import (
    CameraAttitude,
    CameraPose,
    FloatArray,
    PinholeCamera,
    centre_ground_point,
)
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.evidence import (
    distinctiveness,
    likelihood_ratio,
    matched_distinctiveness,
    score_at,
    scores_on_grid,
)
from edge_runtime.localize.filter import PositionFilter
from edge_runtime.localize.integrity import IntegrityMonitor, PosteriorSummary, ViewEvidence
from edge_runtime.localize.novelty import ViewNovelty
from edge_runtime.localize.odometry import VisualOdometer
from edge_runtime.localize.position_grid import Bounds
from edge_runtime.localize.quality import picture_fault, pose_fault
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.rectify import GroundWindow, choose_window, rectify
from edge_runtime.localize.search import TileSearch
from edge_runtime.localize.uncertainty import radius95_of, view_offset_covariance
from edge_runtime.telemetry.log import TelemetrySample

STAGES = ("rectify", "odometry", "encode", "search", "filter")
FULL_COVERAGE = 0.98


class Localiser:
    """Keeps the posterior over the drone's position from frame to frame.

    Not safe for use from several threads; one localiser flies one drone.
    """

    def __init__(
        self,
        engine: Engine,
        region_map: RegionMap,
        input_size: int,
        camera: PinholeCamera,
        config: LocaliserConfig,
        prior: tuple[float, float, float] | None = None,
    ) -> None:
        """Start knowing nothing of the position, or with a prior.

        Args:
            input_size: Side of the encoder's square input in pixels.
            prior: Latitude, longitude and a radius in metres that holds the drone.

        Raises:
            ConfigError: If the prior lies outside the map.
        """
        self._engine = engine
        self._map = region_map
        self._input_size = input_size
        self._camera = camera
        self._config = config
        self._search = TileSearch(region_map)
        self._query = QueryProjector(region_map)
        self._odometer = VisualOdometer()
        self._novelty = ViewNovelty(
            config.evidence.independent_shift, config.filter.typical_speed_m_s
        )
        self._filter = PositionFilter(
            _tile_bounds(region_map), config.filter, self._local_prior(prior)
        )
        self._integrity = IntegrityMonitor(config.integrity)
        self._offset_covariance: FloatArray = np.zeros((2, 2))
        self._last_time_s: float | None = None
        self._unseen_s = 0.0
        self._used_descriptor: npt.NDArray[np.float32] | None = None
        self._stage_ms: dict[str, float] = {}

    def process(self, name: str, image: npt.NDArray[np.uint8], telemetry: TelemetrySample) -> Fix:
        """Localise a frame.

        Args:
            image: (H, W, 3) RGB, of the camera's size.
        """
        self._stage_ms = {}
        self._advance_clock(telemetry.time_s)
        config = self._config
        pose = telemetry.pose
        if pose is None:
            return self._unusable(name, telemetry.time_s, "height or heading is unknown")
        fault = pose_fault(pose, config.quality)
        if fault is not None:
            return self._unusable(name, telemetry.time_s, fault)
        attitude = pose.attitude
        with self._timed("rectify"):
            level, window, coverage = self._choose_level(attitude, pose.height_m)
            if coverage < config.quality.smallest_coverage:
                return self._unusable(
                    name,
                    telemetry.time_s,
                    f"camera sees {coverage:.0%} of a {window.footprint_m:.0f} m map footprint",
                )
            view = rectify(image, self._camera, attitude, pose.height_m, window, self._input_size)
            fault = picture_fault(view, config.quality)
        if fault is not None:
            return self._unusable(name, telemetry.time_s, fault)
        elapsed_s, self._unseen_s = self._unseen_s, 0.0
        with self._timed("odometry"):
            displacement = self._odometer.update(view, window)
            novelty = self._novelty.update(window, displacement, elapsed_s)
        is_evidence = novelty >= config.evidence.smallest_novelty
        with self._timed("filter"):
            self._filter.predict(displacement, elapsed_s, novelty if is_evidence else 0.0)
        evidence: ViewEvidence | None = None
        matches: tuple[MatchedPlace, ...] = ()
        if is_evidence or config.frame_matches:
            try:
                with self._timed("encode"):
                    descriptor = self._engine.encode(view[None])[0]
            except EngineError as error:
                return self._fix(name, telemetry.time_s, IntegrityState.FAULT, str(error))
            if displacement is None and self._is_seen_already(descriptor):
                is_evidence = False
            query = self._query.project(descriptor, level)
            if config.frame_matches:
                matches = self._best_tiles(query, level, window, attitude, pose.height_m)
            if is_evidence:
                evidence = self._weigh(query, level, window, novelty)
                self._query.learn(descriptor, level, novelty)
                self._novelty.use(window)
                self._used_descriptor = descriptor
        return self._conclude(name, telemetry, pose, window, evidence, matches)

    def without_view(self, name: str, time_s: float, reason: str) -> Fix:
        """The fix where there is no view to judge: camera or telemetry is silent.

        The position coasts on what was known, its radius growing.
        """
        self._stage_ms = {}
        self._advance_clock(time_s)
        return self._unusable(name, time_s, reason)

    def _weigh(
        self, query: npt.NDArray[np.float32], level: int, window: GroundWindow, novelty: float
    ) -> ViewEvidence:
        """Let a view speak."""
        grid = self._filter.grid
        prior_radius_m = float("inf")
        if self._filter.is_local:
            prior_radius_m = radius95_of(grid.covariance(grid.mean()))
        with self._timed("search"):
            scores = scores_on_grid(self._search, self._map, level, query, window, grid)
            distinct = distinctiveness(
                scores, grid, window.footprint_m, self._config.evidence.distinct_margin
            )
            of_map = matched_distinctiveness(scores, grid, self._map, level, window)
        with self._timed("filter"):
            ratio = likelihood_ratio(scores, self._config.evidence)
            self._filter.update(ratio, novelty * min(distinct, of_map))
            score = score_at(scores, grid, self._filter.grid.peak())
        return ViewEvidence(score, prior_radius_m)

    def _is_seen_already(self, descriptor: npt.NDArray[np.float32]) -> bool:
        """Whether the view is the last used one again, for where odometry cannot tell."""
        if self._used_descriptor is None:
            return False
        similarity = float(descriptor @ self._used_descriptor)
        return similarity > self._config.evidence.same_view_similarity

    def _choose_level(
        self, attitude: CameraAttitude, height_m: float
    ) -> tuple[int, GroundWindow, float]:
        """The level with the largest footprint that is seen whole, else the one seen best."""
        best: tuple[int, GroundWindow, float] | None = None
        by_size = np.argsort([-level.footprint_m for level in self._map.levels])
        for number in by_size:
            footprint_m = self._map.levels[number].footprint_m
            window, coverage = choose_window(self._camera, attitude, height_m, footprint_m)
            if best is None or coverage > best[2]:
                best = int(number), window, coverage
            if coverage >= FULL_COVERAGE:
                break
        if best is None:
            raise ConfigError(f"{self._map.folder} has no levels")
        return best

    def _best_tiles(
        self,
        query: npt.NDArray[np.float32],
        level: int,
        window: GroundWindow,
        attitude: CameraAttitude,
        height_m: float,
    ) -> tuple[MatchedPlace, ...]:
        """The whole map's best tiles, moved to where the image centre meets flat ground."""
        rows, scores = self._search.best([query[None]], [level], self._config.frame_matches)
        tiles = self._map.tiles[rows[0]]
        centres = self._map.levels[level].centre(tiles["lattice_row"], tiles["lattice_column"])
        to_image_centre = centre_ground_point(attitude, height_m) - window.offset_m
        latitude, longitude = self._map.frame.to_geodetic(centres + to_image_centre)
        return tuple(
            MatchedPlace(float(lat), float(lon), round(float(score), 3))
            for lat, lon, score in zip(latitude, longitude, scores[0], strict=True)
        )

    def _conclude(
        self,
        name: str,
        telemetry: TelemetrySample,
        pose: CameraPose,
        window: GroundWindow,
        evidence: ViewEvidence | None,
        matches: tuple[MatchedPlace, ...],
    ) -> Fix:
        with self._timed("filter"):
            self._offset_covariance = view_offset_covariance(
                pose.attitude, pose.height_m, window.offset_m, self._config.telemetry_error
            )
            position, summary = self._estimate(self._filter)
            state, reason = self._integrity.update(summary, evidence)
        return self._fix(name, telemetry.time_s, state, reason, position, matches)

    def _unusable(self, name: str, time_s: float, reason: str) -> Fix:
        """Carry on without a view: the posterior itself stays as the last good view left it."""
        position = None
        state = self._integrity.state
        if state.publishes:
            ahead = deepcopy(self._filter)
            ahead.predict(None, self._unseen_s, 0.0)
            position, summary = self._estimate(ahead)
            state, _ = self._integrity.update(summary, None)
            if state is IntegrityState.TRACKING:
                state = IntegrityState.COASTING
        return self._fix(name, time_s, state, reason, position)

    def _estimate(
        self, position_filter: PositionFilter
    ) -> tuple[Position | None, PosteriorSummary]:
        """Position and its uncertainty; no position while the filter has not narrowed down."""
        elsewhere = position_filter.elsewhere
        if not position_filter.is_local or elsewhere >= 1.0:
            return None, PosteriorSummary(float("inf"), elsewhere, is_local=False)
        grid = position_filter.grid
        mean = grid.mean()
        covariance = grid.covariance(mean) + self._offset_covariance
        held = grid.radius_holding(mean, min(0.95, 0.99 * grid.total))
        radius95_m = float(np.hypot(held, radius95_of(self._offset_covariance)))
        latitude, longitude = self._map.frame.to_geodetic(mean)
        position = Position(
            latitude_deg=float(latitude),
            longitude_deg=float(longitude),
            variance_east_m2=float(covariance[0, 0]),
            variance_north_m2=float(covariance[1, 1]),
            covariance_east_north_m2=float(covariance[0, 1]),
            radius95_m=radius95_m,
        )
        return position, PosteriorSummary(held, elsewhere, is_local=True)

    def _fix(
        self,
        name: str,
        time_s: float,
        state: IntegrityState,
        reason: str,
        position: Position | None = None,
        matches: tuple[MatchedPlace, ...] = (),
    ) -> Fix:
        return Fix(
            frame=name,
            time_s=time_s,
            state=state,
            reason=reason,
            position=position if state.publishes else None,
            in_map_probability=1.0 - self._filter.elsewhere,
            viewed_matches=matches,
            reset_counter=self._integrity.reset_counter,
            stage_ms={stage: round(ms, 3) for stage, ms in self._stage_ms.items()},
        )

    def _advance_clock(self, time_s: float) -> None:
        """Count the time since the last usable view; a step back is as unknown as one ahead."""
        if self._last_time_s is not None:
            self._unseen_s += abs(time_s - self._last_time_s)
        self._last_time_s = time_s

    def _local_prior(
        self, prior: tuple[float, float, float] | None
    ) -> tuple[FloatArray, float] | None:
        if prior is None:
            return None
        latitude_deg, longitude_deg, radius_m = prior
        return self._map.frame.to_local(latitude_deg, longitude_deg), radius_m

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent_ms = (time.perf_counter() - start) * 1e3
            self._stage_ms[stage] = self._stage_ms.get(stage, 0.0) + spent_ms


def _tile_bounds(region_map: RegionMap) -> Bounds:
    """Extent of all tile centres in the map's frame."""
    corners = np.concatenate(
        [level.centre([0, level.rows - 1], [0, level.columns - 1]) for level in region_map.levels]
    )
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    return Bounds(float(west), float(south), float(east), float(north))
