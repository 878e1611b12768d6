"""Where on a map one picture fits: what to look at when a flight finds nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import BundleError, ConfigError, SourceError
from edge_runtime.contract.preprocessing import resize_to_input
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine, open_engine
from edge_runtime.flight_camera import CameraConfig, open_flight_camera
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.quality import picture_fault, pose_fault
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.rectify import choose_window, rectify
from edge_runtime.localize.search import TileSearch
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.log import TelemetrySample

PLACES = 10
_CANDIDATES = 4096
_MOST_HEADINGS = 360
Picture = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ViewConfig:
    """A picture, and what is known of the camera that took it."""

    image: Path
    """Camera frame, or a picture that is rectified already: north up, seen from straight above."""
    encoder: Path | None = None
    """The map's encoder bundle; looked for beside the map if left out."""
    precision: str = "fp32"
    """Graph to run: fp32, fp16, int8 or int8-cpu."""
    threads: int = 0
    """The encoder's threads; 0 leaves it to the engine."""
    telemetry: Path | None = None
    """The flight's telemetry, as edge_runtime run takes it; tells height and attitude."""
    height_m: float | None = None
    """Height above ground of a camera frame without telemetry."""
    heading_deg: float = 0.0
    """Where the picture's top points, clockwise from north, where no telemetry tells."""
    headings: int = 1
    """Try so many headings around the circle, the given one among them, and take the best."""
    footprint_m: float | None = None
    """Ground along the side of a rectified picture; one tile of every level if left out."""
    camera: CameraConfig = field(default_factory=CameraConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.headings <= _MOST_HEADINGS:
            raise ConfigError(f"headings must be 1 to {_MOST_HEADINGS}, is {self.headings}")
        for name in ("height_m", "footprint_m"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < float("inf"):
                raise ConfigError(f"{name} must be above 0 metres, is {value}")
        if not np.isfinite(self.heading_deg):
            raise ConfigError("heading_deg must be finite")
        if self.telemetry is not None and self.height_m is not None:
            raise ConfigError("give telemetry or height_m, not both")
        if self.footprint_m is not None and (self.telemetry or self.height_m):
            raise ConfigError("footprint_m is of a rectified picture, which needs no height")
        if self.telemetry is not None and self.headings > 1:
            raise ConfigError("the telemetry tells the heading: headings are for unknown ones")


@dataclass(frozen=True)
class Place:
    """A tile that looks like the view."""

    level: int
    lattice_row: int
    lattice_column: int
    latitude_deg: float
    longitude_deg: float
    score: float


@dataclass(frozen=True)
class LevelView:
    """The view as one level's tiles show ground, and how much each of them looks like it."""

    level: int
    view: Picture
    """(S, S, 3) RGB, what the encoder saw."""
    heading_deg: float
    coverage: float
    """Share of the footprint that the camera sees, 0-1."""
    offset_m: tuple[float, float]
    """East and north from the drone to the view's centre."""
    fault: str
    """Why a flight would not use this view; empty if it would."""
    scores: Scores
    """(tiles of the level,) in standard deviations above chance."""
    places: tuple[Place, ...]
    """The best ones, each a footprint or more from those before it."""


@dataclass(frozen=True)
class ViewSearch:
    """A picture and what became of it on every level."""

    image: Picture
    name: str
    sample: TelemetrySample | None
    levels: tuple[LevelView, ...]

    @property
    def best(self) -> LevelView:
        """The level with the highest score."""
        return max(self.levels, key=lambda level: level.places[0].score)


def search_view(region_map: RegionMap, config: ViewConfig) -> ViewSearch:
    """Rectify a picture as a flight would, and compare it with every tile of the map.

    Raises:
        BundleError: If there is no encoder, or an unusable one.
        ConfigError: If the lens of a camera frame is unknown.
        EngineError: If the encoder cannot be run.
        MapError: If it is not the map's encoder.
        SourceError: If the picture cannot be read, or shows less than one tile.
        TelemetryError: If the telemetry cannot be read or lacks the picture.
    """
    bundle = load_encoder_bundle(_encoder_path(region_map, config))
    region_map.require_encoder(bundle)
    if bundle.input_height != bundle.input_width:
        raise BundleError(f"{bundle.folder}: the runtime needs a square encoder input")
    image = _read_picture(config.image)
    looks, sample = _views(region_map, config, image, bundle)
    engine = open_engine(bundle, config.precision, threads=config.threads)
    search = TileSearch(region_map)
    query = QueryProjector(region_map)
    levels = [_searched(region_map, search, query, engine, level, looks[level]) for level in looks]
    return ViewSearch(image, config.image.name, sample, tuple(levels))


@dataclass(frozen=True)
class _Look:
    """The picture as one level's tile, for one heading."""

    view: Picture
    heading_deg: float
    coverage: float
    offset_m: tuple[float, float]
    fault: str


def _searched(
    region_map: RegionMap,
    search: TileSearch,
    query: QueryProjector,
    engine: Engine,
    level: int,
    looks: list[_Look],
) -> LevelView:
    descriptors = engine.encode(np.stack([look.view for look in looks]))
    best: tuple[_Look, Scores] | None = None
    for look, descriptor in zip(looks, descriptors, strict=True):
        scores = search.scores(query.project(descriptor, level), level)
        if best is None or scores.max() > best[1].max():
            best = look, scores
    if best is None:
        raise ConfigError(f"{region_map.folder}: level {level} was not looked at")
    look, scores = best
    return LevelView(
        level,
        look.view,
        look.heading_deg,
        look.coverage,
        look.offset_m,
        look.fault,
        scores,
        best_places(region_map, level, scores),
    )


def best_places(region_map: RegionMap, level: int, scores: Scores) -> tuple[Place, ...]:
    """The highest scores of a level, each at least a footprint away from higher ones."""
    first_row = region_map.rows_of_level(level).start
    candidates = np.argsort(-scores, kind="stable")[:_CANDIDATES]
    tiles = region_map.tiles[first_row + candidates]
    geometry = region_map.levels[level]
    centres = geometry.centre(tiles["lattice_row"], tiles["lattice_column"])
    chosen: list[int] = []
    for number in range(len(candidates)):
        apart = np.abs(centres[chosen] - centres[number]).max(axis=1)
        if (apart >= geometry.footprint_m).all():
            chosen.append(number)
            if len(chosen) == PLACES:
                break
    return tuple(
        Place(
            level,
            int(tiles["lattice_row"][number]),
            int(tiles["lattice_column"][number]),
            float(tiles["latitude_deg"][number]),
            float(tiles["longitude_deg"][number]),
            float(scores[candidates[number]]),
        )
        for number in chosen
    )


def _views(
    region_map: RegionMap, config: ViewConfig, image: Picture, bundle: EncoderBundle
) -> tuple[dict[int, list[_Look]], TelemetrySample | None]:
    size = bundle.input_width
    if config.telemetry is None and config.height_m is None:
        return _rectified_views(region_map, config, image, size), None
    height, width = image.shape[:2]
    if config.telemetry is not None:
        flight_camera = open_flight_camera(config.telemetry, config.camera)
        digits = re.findall(r"\d+", config.image.stem)
        number = int(digits[-1]) if digits else None
        sample = flight_camera.sample_of(Frame(config.image.name, image, number))
        if sample is None:
            raise ConfigError(
                f"{config.telemetry} has no row for {config.image.name}: name the frame as the "
                "telemetry does, or give height_m and heading_deg"
            )
        camera = flight_camera.camera_for(width, height)
        samples = [sample]
    else:
        camera = _camera_without_telemetry(config, width, height)
        samples = _samples_without_telemetry(config)
    looks = {
        level: [_look(image, camera, sample, geometry.footprint_m, size) for sample in samples]
        for level, geometry in enumerate(region_map.levels)
    }
    return looks, samples[0]


def _camera_without_telemetry(config: ViewConfig, width: int, height: int) -> PinholeCamera:
    if config.camera.focal_length_35mm is None:
        raise ConfigError(
            "a camera frame needs its lens: give camera.focal_length_35mm, or the flight's "
            "telemetry with a camera.yaml beside it"
        )
    return PinholeCamera.from_equivalent_focal_length(
        width, height, config.camera.focal_length_35mm
    )


def _samples_without_telemetry(config: ViewConfig) -> list[TelemetrySample]:
    pitch_deg = -90.0 if config.camera.pitch_deg is None else config.camera.pitch_deg
    return [
        TelemetrySample(
            time_s=0.0,
            height_m=float(config.height_m or 0.0),
            heading_deg=(heading + config.camera.heading_offset_deg) % 360.0,
            pitch_deg=pitch_deg + config.camera.pitch_offset_deg,
        )
        for heading in _headings(config)
    ]


def _look(
    image: Picture, camera: PinholeCamera, sample: TelemetrySample, footprint_m: float, size: int
) -> _Look:
    quality = LocaliserConfig().quality
    attitude = CameraAttitude(sample.heading_deg, sample.pitch_deg, sample.roll_deg)
    fault = pose_fault(sample, quality)
    window, coverage = choose_window(camera, attitude, sample.height_m, footprint_m)
    view = rectify(image, camera, attitude, sample.height_m, window, size)
    if fault is None and coverage < quality.smallest_coverage:
        fault = f"camera sees {coverage:.0%} of a {footprint_m:g} m map footprint"
    fault = fault or picture_fault(view, quality) or ""
    offset = (window.east_m, window.north_m)
    return _Look(view, sample.heading_deg, coverage, offset, fault)


def _rectified_views(
    region_map: RegionMap, config: ViewConfig, image: Picture, size: int
) -> dict[int, list[_Look]]:
    """Square parts of a picture that looks straight down, turned north up."""
    looks: dict[int, list[_Look]] = {}
    for level, geometry in enumerate(region_map.levels):
        share = 1.0 if config.footprint_m is None else geometry.footprint_m / config.footprint_m
        if share > 1.0 + 1e-6:
            continue  # the picture shows less than this level's tiles
        side_px = min(image.shape[:2]) * min(share, 1.0)
        looks[level] = []
        for heading in _headings(config):
            view = _turned(image, heading, side_px, size)
            fault = picture_fault(view, LocaliserConfig().quality) or ""
            looks[level].append(_Look(view, heading, 1.0, (0.0, 0.0), fault))
    if not looks:
        smallest_m = min(level.footprint_m for level in region_map.levels)
        raise SourceError(
            f"{config.image} shows {config.footprint_m:g} m, less than the map's smallest "
            f"footprint of {smallest_m:g} m"
        )
    return looks


def _turned(image: Picture, heading_deg: float, side_px: float, size: int) -> Picture:
    """The square around a picture's middle, its top turned from a heading to north."""
    if heading_deg == 0.0:
        side = max(1, round(side_px))
        top, left = ((length - side) // 2 for length in image.shape[:2])
        return resize_to_input(image[top : top + side, left : left + side], size, size)
    scale = side_px / size
    turn = np.radians(heading_deg) * -1.0
    across = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2])
    shift = middle - across @ np.full(2, (size - 1) / 2)
    blurred = cv2.GaussianBlur(image, (0, 0), scale / 2) if scale > 1.5 else image
    border = cv2.mean(cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA))
    turned = cv2.warpAffine(
        blurred,
        np.column_stack([across, shift]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )
    return np.asarray(turned, np.uint8)


def _headings(config: ViewConfig) -> list[float]:
    steps = np.arange(config.headings) * 360.0 / config.headings
    return [float(heading) for heading in (config.heading_deg + steps) % 360.0]


def _encoder_path(region_map: RegionMap, config: ViewConfig) -> Path:
    if config.encoder is not None:
        return config.encoder
    name = str(region_map.manifest.get("encoder", {}).get("name", ""))
    beside = region_map.folder.absolute().parent / f"{name}.encoder"
    if not name or not beside.is_dir():
        raise BundleError(
            f"the encoder {name or 'of the map'} does not lie beside {region_map.folder}: name it "
            "with --encoder"
        )
    return beside


def _read_picture(path: Path) -> Picture:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise SourceError(f"{path} is not a picture that can be decoded")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
