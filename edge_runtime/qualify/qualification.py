"""Monte-Carlo flights over a map: views of its own picture through the localiser that flies."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.fix import Fix
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.engines import open_engine
from edge_runtime.flight.stop_signals import stop_on_signals
from edge_runtime.localize.camera import CameraPose, PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.localiser import Localiser
from edge_runtime.localize.position_grid import Bounds
from edge_runtime.localize.rectify import choose_window, rectify
from edge_runtime.opening import open_encoder_and_map
from edge_runtime.progress import progress_bar
from edge_runtime.qualify.flight_record import FlightRecord, record_of
from edge_runtime.qualify.simulated_appearance import SimulatedAppearance, shade_over
from edge_runtime.qualify.simulated_engine import RecallingEngine
from edge_runtime.qualify.simulated_ground import (
    Ground,
    ImageryGround,
    MirroredGround,
    TexturedGround,
    photographed,
    seen_ground,
)
from edge_runtime.qualify.simulated_path import even_start, simulated_path
from edge_runtime.qualify.telemetry_errors import TelemetryErrors
from edge_runtime.telemetry.log import TelemetrySample

_IMAGE_WIDTH, _IMAGE_HEIGHT = 384, 216
_FEWEST_FLIGHTS, _FEWEST_FRAMES = 5, 10


@dataclass(frozen=True)
class QualifyConfig:
    """Which map and encoder to try, by how many flights, and how hard to make it for them."""

    map: Path
    """Region map, NAME.map."""
    encoder: Path
    """Encoder bundle, NAME.encoder."""
    output: Path = Path("qualification")
    """Folder to write the report and the picture of weak areas to."""
    flights: int = 50
    """Flights to simulate, 5 or more."""
    frames: int = 80
    """Frames of each, 10 or more."""
    seed: int = 1
    """Of all that is drawn; the same seed and settings give the same figures."""
    minutes: float | None = None
    """Start no flight after so many minutes, once 5 were flown; how many were flown then depends
    on the machine."""
    foreign: Path | None = None
    """Map, with imagery, of another region, for the flights out of the map; else this map's own
    picture, mirrored."""
    foreign_share: float = 0.2
    """Share of flights that are flown elsewhere than over the map."""
    strength: float = 1.0
    """How much season, light, weather and sensor change what is seen; 0 is the map's picture."""
    view_similarity: float = 0.5
    """Of maps without a picture: cosine of a true view's descriptor to its tile's."""
    height_m: float | None = None
    """Height over ground; one and a tenth of the smallest footprint if left out."""
    pitch_deg: float = -60.0
    """Camera pitch, -90 straight down."""
    focal_length_35mm: float = 24.0
    """Full-frame equivalent focal length."""
    speed_m_s: float = 12.0
    """Speed over ground."""
    interval_s: float = 1.0
    """Time between frames."""
    precision: str = "fp32"
    """Graph of the bundle to run."""
    engine: str = "onnxruntime"
    """Inference engine, as for a flight."""
    threads: int = 0
    """Processor threads of the engine; 0 leaves it to the engine."""
    localiser: LocaliserConfig = field(default_factory=LocaliserConfig)

    def __post_init__(self) -> None:
        if self.flights < _FEWEST_FLIGHTS or self.frames < _FEWEST_FRAMES:
            raise ConfigError(
                f"--flights {self.flights} of --frames {self.frames}: fewer than "
                f"{_FEWEST_FLIGHTS} flights of {_FEWEST_FRAMES} frames tell nothing"
            )
        if self.seed < 0 or not 0.0 <= self.foreign_share < 1.0:
            raise ConfigError("seed must be 0 or more, foreign_share lie in 0..1")
        if not 0.0 <= self.strength <= 3.0 or not 0.0 < self.view_similarity <= 1.0:
            raise ConfigError("strength must lie in 0..3, view_similarity above 0, at most 1")
        motion = (self.speed_m_s, self.interval_s, self.focal_length_35mm, self.height_m or 1.0)
        if not all(0.0 < value < float("inf") for value in motion):
            raise ConfigError("height, speed, interval and focal length must be above 0 and finite")
        if not -90.0 <= self.pitch_deg <= self.localiser.quality.shallowest_pitch_deg:
            raise ConfigError(f"pitch must look down: {self.pitch_deg} degrees")
        if self.minutes is not None and not self.minutes > 0.0:
            raise ConfigError(f"minutes must be above 0: {self.minutes}")


@dataclass(frozen=True)
class Qualification:
    """What became of the flights."""

    config: QualifyConfig
    region_map: RegionMap
    records: list[FlightRecord]
    is_foreign: list[bool]
    appearances: list[SimulatedAppearance]
    has_imagery: bool
    wall_s: float


def qualify(config: QualifyConfig) -> Qualification:
    """Fly simulated flights over a map; Ctrl-C ends them after the one in hand.

    Raises:
        DmnilError: If map and encoder do not fit each other, or the foreign map has no picture.
        KeyboardInterrupt: If Ctrl-C came before enough were flown to tell anything.
    """
    started = time.monotonic()
    opened = open_encoder_and_map(config.encoder, config.map)
    region_map = opened.region_map
    grounds = _grounds(config, region_map)
    engine: Any
    if region_map.imagery is None:
        engine = RecallingEngine(region_map, config.view_similarity)
    else:
        engine = open_engine(opened.bundle, config.precision, config.engine, config.threads)
    records: list[FlightRecord] = []
    foreign: list[bool] = []
    appearances: list[SimulatedAppearance] = []
    with (
        stop_on_signals() as stopped,
        progress_bar("edge_runtime qualify", config.flights, "flight") as progress,
    ):
        for number in range(config.flights):
            late = config.minutes is not None and (
                time.monotonic() - started > 60.0 * config.minutes
            )
            if stopped and number < _FEWEST_FLIGHTS:
                raise KeyboardInterrupt
            if (stopped or late) and number >= _FEWEST_FLIGHTS:
                break
            flight = _Flight(config, region_map, opened.input_size, number)
            records.append(flight.flown(engine, grounds))
            foreign.append(flight.is_foreign)
            appearances.append(flight.appearance)
            progress.update()
    return Qualification(
        config=config,
        region_map=region_map,
        records=records,
        is_foreign=foreign,
        appearances=appearances,
        has_imagery=region_map.imagery is not None,
        wall_s=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Grounds:
    """What flights over the map and elsewhere look at."""

    own: Ground
    foreign: Ground


def _grounds(config: QualifyConfig, region_map: RegionMap) -> _Grounds:
    middle_m = _middle(region_map)
    own: Ground = TexturedGround(config.seed)
    if region_map.imagery is not None:
        own = ImageryGround(region_map.imagery)
    if config.foreign is None:
        return _Grounds(own, MirroredGround(own, float(middle_m[0])))
    other = load_region_map(config.foreign)
    if region_map.imagery is None:
        raise ConfigError(
            f"{config.map} carries no imagery, so views of {config.foreign} tell nothing: build "
            "it with imagery, or qualify it without --foreign"
        )
    if other.imagery is None:
        raise MapError(f"{config.foreign} carries no imagery: build it with imagery")
    shift = _middle(other) - middle_m
    return _Grounds(own, ImageryGround(other.imagery, (float(shift[0]), float(shift[1]))))


class _Flight:
    """One simulated flight, drawn from its number alone."""

    def __init__(
        self, config: QualifyConfig, region_map: RegionMap, input_size: int, number: int
    ) -> None:
        self._config = config
        self._map = region_map
        self._input_size = input_size
        self._rng = np.random.default_rng([config.seed, number, 61])
        self._number = number
        # Spread evenly: a run that is cut short has its share of foreign flights too.
        share = config.foreign_share
        self.is_foreign = int((number + 1) * share + 1e-9) > int(number * share + 1e-9)
        self.appearance = SimulatedAppearance.drawn(self._rng, config.strength)
        self._camera = PinholeCamera.from_equivalent_focal_length(
            _IMAGE_WIDTH, _IMAGE_HEIGHT, config.focal_length_35mm
        )
        smallest_m = min(level.footprint_m for level in region_map.levels)
        self._footprint_m = smallest_m
        height_m = 1.1 * smallest_m if config.height_m is None else config.height_m
        self._positions, self._poses = simulated_path(
            _waypoint_bounds(region_map),
            config.frames,
            config.interval_s,
            config.speed_m_s,
            height_m,
            config.pitch_deg,
            self._rng,
            even_start(number, config.seed),
        )

    def flown(self, engine: Any, grounds: _Grounds) -> FlightRecord:
        """Fly it through the localiser that flies."""
        config = self._config
        recalling = engine if isinstance(engine, RecallingEngine) else None
        if recalling is not None:
            recalling.begin_flight(self._rng)
        localiser = Localiser(engine, self._map, self._input_size, self._camera, config.localiser)
        times_s = np.asarray(np.arange(config.frames) * config.interval_s, np.float64)
        errors = TelemetryErrors(config.localiser.telemetry_error, times_s, self._rng)
        fixes: list[Fix] = []
        viewed = np.zeros((config.frames, 2))
        ground = grounds.foreign if self.is_foreign else grounds.own
        for frame, pose in enumerate(self._poses):
            place = self._positions[frame]
            window, _ = choose_window(self._camera, pose.attitude, pose.height_m, self._footprint_m)
            viewed[frame] = place + window.offset_m
            image = self._photographed(ground, pose, place)
            if recalling is not None:
                truth = rectify(
                    image, self._camera, pose.attitude, pose.height_m, window, self._input_size
                )
                recalling.look_at(None if self.is_foreign else viewed[frame], truth)
            said = errors.reported(pose, frame)
            sample = TelemetrySample(
                time_s=float(times_s[frame]),
                height_m=said.height_m,
                heading_deg=said.heading_deg,
                pitch_deg=said.pitch_deg,
                roll_deg=said.roll_deg,
            )
            fixes.append(localiser.process(f"{frame:06d}", image, sample))
        return record_of(fixes, self._positions, viewed, self._map, is_foreign=self.is_foreign)

    def _photographed(
        self, ground: Ground, pose: CameraPose, place_m: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.uint8]:
        """A frame; grey, which the quality gate turns away, where there is no ground to see."""
        seen = seen_ground(ground, self._camera, pose, place_m, self._footprint_m)
        if seen is None:
            return np.full((_IMAGE_HEIGHT, _IMAGE_WIDTH, 3), 128, np.uint8)
        size = seen.picture.shape[0]
        shade = shade_over(seen.centre_m, seen.side_m, size, self._number)
        seen = type(seen)(self.appearance.shaded(seen.picture, shade), seen.centre_m, seen.side_m)
        picture = photographed(seen, self._camera, pose, place_m)
        return self.appearance.exposed(picture, self._rng)


def _waypoint_bounds(region_map: RegionMap) -> Bounds:
    """The extent of the map's tile centres."""
    corners = np.concatenate(
        [level.centre([0, level.rows - 1], [0, level.columns - 1]) for level in region_map.levels]
    )
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    return Bounds(float(west), float(south), float(east), float(north))


def _middle(region_map: RegionMap) -> npt.NDArray[np.float64]:
    bounds = _waypoint_bounds(region_map)
    return np.array([(bounds.west_m + bounds.east_m) / 2, (bounds.south_m + bounds.north_m) / 2])
