"""A flight's lens and mounting, and what its telemetry says about each frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.mounting import Mounting
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.log import TelemetryLog, TelemetrySample
from edge_runtime.telemetry.open import open_telemetry

CAMERA_FILE_NAME = "camera.yaml"


@dataclass(frozen=True)
class CameraConfig:
    """The camera's lens and how it is mounted."""

    focal_length_35mm: float | None = None
    """Full-frame equivalent focal length in mm; else camera.yaml or the telemetry tells."""
    pitch_deg: float | None = None
    """Camera pitch where the telemetry has none; -90 looks straight down."""
    heading_offset_deg: float = 0.0
    """Added to the telemetry's heading: a camera mounted turned to the right is positive."""
    pitch_offset_deg: float = 0.0
    """Added to the telemetry's pitch: a camera mounted looking further up is positive."""

    def __post_init__(self) -> None:
        angles_deg = (self.pitch_deg or 0.0, self.heading_offset_deg, self.pitch_offset_deg)
        if not np.isfinite(angles_deg).all():
            raise ConfigError(f"the camera's angles must be finite degrees: {angles_deg}")


@dataclass(frozen=True)
class FlightCamera:
    """Telemetry of a flight, and its camera's lens and mounting."""

    telemetry: TelemetryLog
    focal_px_per_width: float
    config: CameraConfig
    telemetry_offset_s: float = 0.0

    def sample_of(self, frame: Frame) -> TelemetrySample | None:
        """A frame's telemetry by its name, else its number, else its time; mounting added."""
        sample = self.telemetry.named(frame.name)
        if sample is None and frame.number is not None:
            sample = self.telemetry.numbered(frame.number)
        if sample is None and frame.time_s is not None:
            sample = self.telemetry.at(frame.time_s + self.telemetry_offset_s)
        if sample is None:
            return None
        return replace(
            sample,
            heading_deg=None
            if sample.heading_deg is None
            else (sample.heading_deg + self.config.heading_offset_deg) % 360.0,
            pitch_deg=sample.pitch_deg + self.config.pitch_offset_deg,
        )

    def camera_for(self, width: int, height: int) -> PinholeCamera:
        """The camera that takes pictures of this size."""
        return PinholeCamera(width, height, self.focal_px_per_width * width)


def open_flight_camera(
    telemetry_path: Path, config: CameraConfig, telemetry_offset_s: float = 0.0
) -> FlightCamera:
    """Read a flight's telemetry and find out its lens.

    Raises:
        TelemetryError: If the telemetry cannot be used.
        ConfigError: If nothing tells the focal length, or an offset shifts what has no clock.
    """
    telemetry = open_telemetry(telemetry_path, config.pitch_deg)
    if telemetry_offset_s and (telemetry.by_frame_name or telemetry.by_frame_number):
        raise ConfigError(
            f"telemetry_offset_s shifts a clock, but {telemetry_path} is joined by frames"
        )
    return FlightCamera(
        telemetry,
        _focal_px_per_width(telemetry_path, telemetry, config),
        config,
        telemetry_offset_s,
    )


def _focal_px_per_width(path: Path, telemetry: TelemetryLog, config: CameraConfig) -> float:
    """Focal length as a share of the picture's width, from the first that tells."""
    camera_file = path.parent / CAMERA_FILE_NAME
    equivalent_mm = config.focal_length_35mm
    if equivalent_mm is None and camera_file.is_file():
        camera = read_camera_file(camera_file)
        return camera.focal_px / camera.width
    if equivalent_mm is None:
        equivalent_mm = telemetry.focal_length_35mm
    if equivalent_mm is None:
        raise ConfigError(
            f"the lens is unknown: give the camera's focal_length_35mm, or put a "
            f"{CAMERA_FILE_NAME} with image_width, image_height and focal_px beside {path}"
        )
    return PinholeCamera.from_equivalent_focal_length(1, 1, equivalent_mm).focal_px


def read_camera_file(path: Path) -> PinholeCamera:
    """The camera that a YAML file describes by image_width, image_height and focal_px.

    Raises:
        ConfigError: If it does not.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return PinholeCamera(
            int(values["image_width"]), int(values["image_height"]), float(values["focal_px"])
        )
    except (
        OSError,
        ConfigError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
    ) as error:
        raise ConfigError(
            f"{path} needs image_width, image_height and focal_px: {' '.join(str(error).split())}"
        ) from error


@dataclass(frozen=True)
class LiveCamera:
    """The camera of a live flight: how it is mounted, and its lens."""

    mounting: Mounting
    focal_px_per_width: float

    def camera_for(self, width: int, height: int) -> PinholeCamera:
        """The camera that takes pictures of this size."""
        return PinholeCamera(width, height, self.focal_px_per_width * width)


def open_live_camera(config: CameraConfig) -> LiveCamera:
    """The camera that the settings describe.

    Raises:
        ConfigError: If they do not tell the lens.
    """
    if config.focal_length_35mm is None:
        raise ConfigError("the lens is unknown: give camera.focal_length_35mm")
    lens = PinholeCamera.from_equivalent_focal_length(1, 1, config.focal_length_35mm)
    pitch_deg = -90.0 if config.pitch_deg is None else config.pitch_deg
    mounting = Mounting(
        heading_deg=config.heading_offset_deg, pitch_deg=pitch_deg + config.pitch_offset_deg
    )
    return LiveCamera(mounting, lens.focal_px)
