"""One picture, and what is known of its camera: rectified as a flight would."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import ConfigError, SourceError
from edge_runtime.contract.preprocessing import resize_to_input
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.flight_camera import CameraConfig, open_flight_camera, open_live_camera
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.localize.config import LocaliserConfig
from edge_runtime.localize.quality import picture_fault, pose_fault
from edge_runtime.localize.rectify import choose_window, rectify
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.log import TelemetrySample

_MOST_HEADINGS = 360
Picture = npt.NDArray[np.uint8]


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
class Look:
    """The picture as one level's tile, for one heading."""

    view: Picture
    heading_deg: float
    coverage: float
    offset_m: tuple[float, float]
    fault: str


def read_picture(path: Path) -> Picture:
    """An RGB picture (H, W, 3).

    Raises:
        SourceError: If it cannot be read.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if picture is None:
        raise SourceError(f"{path} is not a picture that can be decoded")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def rectified_looks(
    region_map: RegionMap, config: ViewConfig, image: Picture, bundle: EncoderBundle
) -> tuple[dict[int, list[Look]], TelemetrySample | None]:
    """The picture as each level's tiles show ground, once per heading, and the telemetry it has.

    Raises:
        ConfigError: If the lens of a camera frame is unknown, or its telemetry lacks it.
        SourceError: If the picture shows less ground than any level's tiles.
        TelemetryError: If the telemetry cannot be read.
    """
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
        lens, samples = flight_camera.lens, [sample]
    else:
        lens = open_live_camera(config.camera).lens
        samples = _samples_without_telemetry(config)
    image, camera = lens.undistorted(image), lens.camera_for(width, height)
    looks = {
        level: [_look(image, camera, sample, geometry.footprint_m, size) for sample in samples]
        for level, geometry in enumerate(region_map.levels)
    }
    return looks, samples[0]


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
) -> Look:
    quality = LocaliserConfig().quality
    pose = sample.pose
    if pose is None:
        raise ConfigError("the telemetry lacks height or heading: give height_m and heading_deg")
    fault = pose_fault(pose, quality)
    window, coverage = choose_window(camera, pose.attitude, pose.height_m, footprint_m)
    view = rectify(image, camera, pose.attitude, pose.height_m, window, size)
    if fault is None and coverage < quality.smallest_coverage:
        fault = f"camera sees {coverage:.0%} of a {footprint_m:g} m map footprint"
    fault = fault or picture_fault(view, quality) or ""
    offset = (window.east_m, window.north_m)
    return Look(view, pose.heading_deg, coverage, offset, fault)


def _rectified_views(
    region_map: RegionMap, config: ViewConfig, image: Picture, size: int
) -> dict[int, list[Look]]:
    """Square parts of a picture that looks straight down, turned north up."""
    looks: dict[int, list[Look]] = {}
    for level, geometry in enumerate(region_map.levels):
        share = 1.0 if config.footprint_m is None else geometry.footprint_m / config.footprint_m
        if share > 1.0 + 1e-6:
            continue  # the picture shows less than this level's tiles
        side_px = min(image.shape[:2]) * min(share, 1.0)
        looks[level] = []
        for heading in _headings(config):
            view = _turned(image, heading, side_px, size)
            fault = picture_fault(view, LocaliserConfig().quality) or ""
            looks[level].append(Look(view, heading, 1.0, (0.0, 0.0), fault))
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
