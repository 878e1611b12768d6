"""Finding out how a camera is really mounted, from a recorded flight over a mapped region.

Views rectified with the wrong angles show the wrong ground, turned and sheared: the angles at
which a whole flight's views agree best with the map under them are the camera's. Those that are
not the telemetry's are the mounting's.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from itertools import product as every
from pathlib import Path

import numpy as np

from edge_runtime.camera_info import read_camera_info
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import ConfigError, SourceError, TelemetryError
from edge_runtime.contract.region_map import RegionMap, load_region_map
from edge_runtime.engines import open_engine
from edge_runtime.flight_camera import CAMERA_FILE_NAME, CameraConfig, open_flight_camera
from edge_runtime.localize.camera import FloatArray, PinholeCamera
from edge_runtime.mount_agreement import CalibrationView, MapAgreement, Turn, shrunk
from edge_runtime.mounting import GIMBAL, Mounting
from edge_runtime.outputs.fix_log import read_fixes
from edge_runtime.progress import progress_bar
from edge_runtime.sources.open import open_source
from edge_runtime.telemetry.orientation import product, quaternion_of_angles

_POSITION_COLUMNS = ("drone_latitude_deg", "drone_longitude_deg")
_LARGEST_WIDTH = 960
_FEWEST_VIEWS = 12
_METRES_PER_DEGREE = 1.0
_NEAR_NADIR_DEG = -75.0
_LEAST_AGREEMENT = 1.5
_RESAMPLES = 200
_QUIET_S = 1.0
_FLAT_SHARE = 0.05
_WIDEST_DEVIATION_DEG = 5.0
_SLACK_OF_FOOTPRINT = 1.0
_STEP_SHARES = (1.0, 1.0, 2.0)  # a roll changes views less than heading and pitch do


@dataclass(frozen=True)
class MountCalibrationConfig:
    """A recorded flight, what it was flown over, and how far to look."""

    encoder: Path
    """Encoder bundle, NAME.encoder."""
    map: Path
    """Region map built with that encoder, NAME.map."""
    frames: Path
    """Folder of pictures, or a video file."""
    telemetry: Path
    """The flight's CSV or DJI SRT file."""
    positions: Path | None = None
    """CSV with the drone's true place by frame: frame, drone_latitude_deg, drone_longitude_deg."""
    fixes: Path | None = None
    """Where there is no such file: the flight directory, whose own fixes tell about where."""
    every_s: float = 0.0
    """Take one video frame each so many seconds; 0 takes all."""
    telemetry_offset_s: float = 0.0
    """Added to a video's time to find its telemetry."""
    views: int = 60
    """Frames to compare, spread over the track."""
    heading_range_deg: float = 30.0
    """Look this far to both sides for the heading's offset."""
    pitch_range_deg: float = 12.0
    """Look this far up and down for the pitch's."""
    rounds: int = 3
    """Rounds of refinement."""
    threads: int = 0
    """Processor threads of the engine; 0 leaves it to the engine."""
    camera: CameraConfig = field(default_factory=CameraConfig)

    def __post_init__(self) -> None:
        if (self.positions is None) == (self.fixes is None):
            raise ConfigError(
                "give the drone's true places (positions, a CSV), or else fixes: the directory "
                "that edge_runtime run wrote of this flight"
            )
        if self.views < _FEWEST_VIEWS or not 1 <= self.rounds <= 20:
            raise ConfigError(f"views must be {_FEWEST_VIEWS} or more, rounds 1 to 20")
        if not (0.0 <= self.heading_range_deg <= 180.0 and 0.0 <= self.pitch_range_deg <= 45.0):
            raise ConfigError("heading_range_deg must be 0 to 180, pitch_range_deg 0 to 45")


@dataclass(frozen=True)
class Offset:
    """One angle of the mounting that was found, in degrees, with its standard deviation."""

    name: str
    degrees: float
    standard_deviation_deg: float

    @property
    def is_determined(self) -> bool:
        """Whether this flight tells it at all."""
        return self.standard_deviation_deg <= _WIDEST_DEVIATION_DEG


@dataclass(frozen=True)
class MountCalibration:
    """What a flight tells about its camera's mounting."""

    offsets: tuple[Offset, ...]
    """What is to be added to the camera's angles of the telemetry."""
    mounting: Mounting
    """The mounting with them."""
    camera: PinholeCamera
    """What the flight's pictures are taken for."""
    views: int
    agreement_before: float
    agreement_after: float
    """Mean standard deviations above chance of the views' likeness to the map."""
    positions_are_true: bool

    def report(self) -> str:
        """The result for people."""
        lines = [
            f"{offset.name:8} {offset.degrees:+7.2f} deg +- {offset.standard_deviation_deg:.2f}"
            if offset.is_determined
            else f"{offset.name:8} not determined by this flight, left as it is"
            for offset in self.offsets
        ]
        lines.append(
            f"agreement of {self.views} views with the map: {self.agreement_before:.2f} before, "
            f"{self.agreement_after:.2f} with these (standard deviations above chance)"
        )
        if not self.positions_are_true:
            lines.append(
                "positions were the flight's own fixes, which lean towards the angles they were "
                "made with: expect 2 degrees more than stated, or give true ones (--positions)"
            )
        return "\n".join(lines)


def calibrate(config: MountCalibrationConfig) -> MountCalibration:
    """Estimate the camera's mounting from a recorded flight.

    Raises:
        DmnilError: If an input cannot be used, or the flight does not show the map.
    """
    bundle = load_encoder_bundle(config.encoder)
    region_map = load_region_map(config.map)
    region_map.require_encoder(bundle)
    engine = open_engine(bundle, "fp32", "onnxruntime", config.threads)
    recording = _Recording(config)
    slack_m = 0.0
    if config.positions is None:
        slack_m = _SLACK_OF_FOOTPRINT * max(level.footprint_m for level in region_map.levels)
    agreement = MapAgreement(engine, region_map, bundle.input_width, slack_m)
    views, levels = [], []
    for view in recording.spread_views(region_map):
        level = agreement.level_for(view, lambda quaternion: quaternion)
        if level is not None:
            views.append(view)
            levels.append(level)
    if len(views) < _FEWEST_VIEWS:
        raise SourceError(
            f"{config.frames}: only {len(views)} frames have telemetry, a position and a view of "
            f"a map footprint; a calibration needs {_FEWEST_VIEWS} at least"
        )
    tries = len(_grid(config.heading_range_deg)) * len(_grid(config.pitch_range_deg))
    tries += 2 + 7 * config.rounds
    with progress_bar("calibrate-mount", tries, "try", _QUIET_S) as progress:
        search = _Search(agreement, views, levels, recording.mounting, progress.update)
        before = search.agreement((0.0, 0.0, 0.0))
        best = search.coarse(config.heading_range_deg, config.pitch_range_deg)
        for step_deg in search.steps_deg(config.rounds, is_slack=slack_m > 0.0):
            best = search.refine(best, step_deg)
        after = search.agreement(best)
    if after < _LEAST_AGREEMENT:
        raise TelemetryError(
            f"the flight's views agree with the map at no angle ({after:.1f} standard deviations "
            "above chance): do its positions, its heights and this map belong together?"
        )
    return search.result(best, before, after, recording.camera, config.positions is not None)


class _Search:
    """Turns (heading, pitch, lean) in degrees; lean is a roll, or sideways where it looks down."""

    def __init__(
        self,
        agreement: MapAgreement,
        views: Sequence[CalibrationView],
        levels: Sequence[int],
        mounting: Mounting,
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        self._agreement, self._views, self._levels = agreement, views, levels
        self._tell = tell
        self._mounting = mounting
        pitch_deg = float(np.median([view.sample.pitch_deg for view in views]))
        self._looks_down = pitch_deg < _NEAR_NADIR_DEG
        self._known: dict[tuple[float, float, float], FloatArray] = {}
        self._deviations_deg = np.full(3, np.inf)

    @property
    def _axes(self) -> tuple[int, ...]:
        """A gimbal that looks down has no angle of its own for a lean to the side."""
        return (0, 1) if self._looks_down and self._mounting.kind == GIMBAL else (0, 1, 2)

    def turn(self, offsets: tuple[float, float, float]) -> Turn:
        heading = quaternion_of_angles(offsets[0], 0.0, 0.0)
        tilt = self._tilt(offsets)
        return lambda quaternion: product(heading, product(quaternion, tilt))

    def _tilt(self, offsets: tuple[float, float, float]) -> FloatArray:
        _, pitch_deg, lean_deg = offsets
        if self._looks_down:
            return quaternion_of_angles(lean_deg, pitch_deg, 0.0)
        return quaternion_of_angles(0.0, pitch_deg, lean_deg)

    def _scores(self, offsets: tuple[float, float, float]) -> FloatArray:
        if offsets not in self._known:
            self._tell()
            turn = self.turn(offsets)
            self._known[offsets] = self._agreement.scores(self._views, self._levels, turn)
        return self._known[offsets]

    def agreement(self, offsets: tuple[float, float, float]) -> float:
        return float(self._scores(offsets).mean())

    def coarse(
        self, heading_range_deg: float, pitch_range_deg: float
    ) -> tuple[float, float, float]:
        """The best of a grid, by a quarter of the views."""
        some = slice(None, None, 4)
        views, levels = self._views[some], self._levels[some]

        def score(place: tuple[float, float]) -> float:
            self._tell()
            turn = self.turn((*place, 0.0))
            return float(self._agreement.scores(views, levels, turn).mean())

        headings, pitches = _grid(heading_range_deg), _grid(pitch_range_deg)
        heading_deg, pitch_deg = max(every(headings, pitches), key=score)
        return heading_deg, pitch_deg, 0.0

    @staticmethod
    def steps_deg(rounds: int, *, is_slack: bool) -> list[float]:
        least_deg = 6.0 if is_slack else 3.0
        return [max(6.0 - 1.5 * number, least_deg) for number in range(rounds)]

    def refine(
        self, best: tuple[float, float, float], step_deg: float
    ) -> tuple[float, float, float]:
        """To the top of a parabola through three points of each axis."""
        middle = self._scores(best)
        sides = {
            axis: [
                self._scores(_moved(best, axis, sign * step_deg * _STEP_SHARES[axis]))
                for sign in (-1.0, 1.0)
            ]
            for axis in self._axes
        }
        random = np.random.default_rng(0)
        chosen = random.integers(0, len(middle), (_RESAMPLES, len(middle)))
        moved = best
        for axis, (below, above) in sides.items():
            axis_step_deg = step_deg * _STEP_SHARES[axis]
            means = (below.mean(), middle.mean(), above.mean())
            moved = _moved(moved, axis, axis_step_deg * _top(*means, farthest=1.0))
            resampled = [(below[r].mean(), middle[r].mean(), above[r].mean()) for r in chosen]
            flat = np.mean([low - 2.0 * mid + high >= 0.0 for low, mid, high in resampled])
            spread = np.std([_top(*three, farthest=3.0) for three in resampled])
            is_flat = flat > _FLAT_SHARE
            self._deviations_deg[axis] = np.inf if is_flat else axis_step_deg * float(spread)
        return moved

    def result(
        self,
        best: tuple[float, float, float],
        before: float,
        after: float,
        camera: PinholeCamera,
        positions_are_true: bool,
    ) -> MountCalibration:
        names = ("heading", "pitch", "lean" if self._looks_down else "roll")
        offsets = tuple(
            Offset(name, float(degrees), float(deviation))
            for name, degrees, deviation in zip(names, best, self._deviations_deg, strict=True)
        )
        kept = tuple(offset.degrees if offset.is_determined else 0.0 for offset in offsets)
        return MountCalibration(
            offsets,
            self._corrected((kept[0], kept[1], kept[2])),
            camera,
            len(self._views),
            before,
            after,
            positions_are_true,
        )

    def _corrected(self, offsets: tuple[float, float, float]) -> Mounting:
        if self._mounting.kind == GIMBAL:
            return self._mounting.corrected(*offsets)
        return self._mounting.turned(self.turn(offsets))


class _Recording:
    """A flight's frames beside telemetry and position, undistorted."""

    def __init__(self, config: MountCalibrationConfig) -> None:
        self._config = config
        self._camera = open_flight_camera(
            config.telemetry, config.camera, config.telemetry_offset_s
        )
        self._places = _places(config)
        self.mounting = self._camera.offsets
        calibration = calibration_file(config)
        if calibration is not None:
            self.mounting = read_camera_info(calibration).mounting or self.mounting
        if self.mounting.kind == GIMBAL:
            self.mounting = self._camera.offsets
        self.camera = PinholeCamera(1, 1, 1.0)

    def spread_views(self, region_map: RegionMap) -> list[CalibrationView]:
        """About as many views as are asked for, evenly over the way and the turns."""
        kept: list[CalibrationView] = []
        spacing_m = 0.0
        for view in self._views(region_map):
            if kept and _way_between(kept[-1], view) < spacing_m:
                continue
            kept.append(shrunk(view, _LARGEST_WIDTH))
            if len(kept) >= 2 * self._config.views:
                kept = kept[::2]
                ways = [_way_between(*pair) for pair in pairwise(kept)]
                spacing_m = max(float(np.median(ways)), spacing_m)
        chosen = np.linspace(0, len(kept) - 1, min(self._config.views, len(kept)))
        return [kept[int(index)] for index in np.unique(chosen.astype(int))]

    def _views(self, region_map: RegionMap) -> Iterator[CalibrationView]:
        size: tuple[int, ...] | None = None
        for frame in open_source(self._config.frames, self._config.every_s):
            place = self._places.get(frame.name)
            if frame.image is None or place is None:
                continue
            sample = self._camera.sample_of(frame)
            if sample is None or sample.pose is None or sample.pose.height_m <= 0.0:
                continue
            if size is None:
                size = frame.image.shape
                self.camera = self._camera.camera_for(size[1], size[0])
            if frame.image.shape != size:
                continue
            east_north_m = region_map.frame.to_local(np.array(place[0]), np.array(place[1]))
            image = self._camera.undistorted(frame.image)
            yield CalibrationView(image, self.camera, sample, east_north_m)


def calibration_file(config: MountCalibrationConfig) -> Path | None:
    """The camera's file that the flight is read with, where there is one."""
    if config.camera.calibration is not None:
        return config.camera.calibration
    beside = config.telemetry.parent / CAMERA_FILE_NAME
    return beside if config.camera.focal_length_35mm is None and beside.is_file() else None


def _places(config: MountCalibrationConfig) -> dict[str, tuple[float, float]]:
    """Latitude and longitude of the drone by frame."""
    if config.positions is not None:
        return _read_positions(config.positions)
    if config.fixes is None:
        raise ConfigError("give positions or fixes")
    places = {
        fix.frame: (fix.position.latitude_deg, fix.position.longitude_deg)
        for fix in read_fixes(config.fixes)
        if fix.position is not None
    }
    if not places:
        raise TelemetryError(f"{config.fixes} has no position at all: calibrate with positions")
    return places


def _read_positions(path: Path) -> dict[str, tuple[float, float]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            columns = ("frame", *_POSITION_COLUMNS)
            missing = [name for name in columns if name not in (rows.fieldnames or [])]
            if missing:
                raise TelemetryError(f"{path}: column {', '.join(missing)} is missing")
            places = {
                row["frame"]: (float(row[_POSITION_COLUMNS[0]]), float(row[_POSITION_COLUMNS[1]]))
                for row in rows
            }
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        raise TelemetryError(f"{path} cannot be read: {error}") from error
    places = {name: place for name, place in places.items() if np.isfinite(place).all()}
    if not places:
        raise TelemetryError(f"{path} has no position")
    return places


def _way_between(first: CalibrationView, second: CalibrationView) -> float:
    """Metres from view to view; a degree of turning counts as a metre."""
    turn_deg = (second.sample.heading_deg or 0.0) - (first.sample.heading_deg or 0.0)
    turn_deg = abs((turn_deg + 180.0) % 360.0 - 180.0)
    distance_m = float(np.linalg.norm(second.east_north_m - first.east_north_m))
    return distance_m + _METRES_PER_DEGREE * turn_deg


def _grid(range_deg: float) -> list[float]:
    """Steps of about 6 degrees over the range and its opposite, nought among them."""
    count = int(np.ceil(range_deg / 6.0))
    return [0.0] if count == 0 else list(np.linspace(-range_deg, range_deg, 2 * count + 1))


def _moved(
    offsets: tuple[float, float, float], axis: int, degrees: float
) -> tuple[float, float, float]:
    changed = list(offsets)
    changed[axis] += degrees
    return changed[0], changed[1], changed[2]


def _top(below: float, middle: float, above: float, farthest: float) -> float:
    """Where the parabola through -1, 0 and 1 has its top, so far from 0 at most."""
    bend = below - 2.0 * middle + above
    if bend >= 0.0:
        return float(np.sign(above - below))
    return float(np.clip(0.5 * (below - above) / bend, -farthest, farthest))
