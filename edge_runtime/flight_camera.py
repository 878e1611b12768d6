"""A flight's lens and mounting, and what its telemetry says about each frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.camera_info import CameraInfo, read_camera_info
from edge_runtime.contract.errors import ConfigError
from edge_runtime.flight_lens import FlightLens
from edge_runtime.localize.camera import PinholeCamera
from edge_runtime.mounting import GIMBAL, NO_OFFSETS, Mounting, with_offsets
from edge_runtime.sources.frame import Frame
from edge_runtime.telemetry.log import TelemetryLog, TelemetrySample
from edge_runtime.telemetry.open import open_telemetry

logger = logging.getLogger(__name__)

CAMERA_FILE_NAME = "camera.yaml"


@dataclass(frozen=True)
class CameraConfig:
    """The camera's lens and how it is mounted."""

    focal_length_35mm: float | None = None
    """Full-frame equivalent focal length in mm, instead of a calibration."""
    pitch_deg: float | None = None
    """Camera pitch where the telemetry has none, and of a fixed camera in a live flight."""
    heading_offset_deg: float = 0.0
    """Added to the telemetry's heading: a camera mounted turned to the right is positive."""
    pitch_offset_deg: float = 0.0
    """Added to the telemetry's pitch: a camera mounted looking further up is positive."""
    calibration: Path | None = None
    """The camera's file, as ROS's camera_calibration writes it (camera_info YAML), with a mounting
    where `edge_runtime calibrate-mount` has added one; else camera.yaml beside the telemetry."""

    def __post_init__(self) -> None:
        angles_deg = (self.pitch_deg or 0.0, self.heading_offset_deg, self.pitch_offset_deg)
        if not np.isfinite(angles_deg).all():
            raise ConfigError(f"the camera's angles must be finite degrees: {angles_deg}")
        focal_mm = self.focal_length_35mm
        if focal_mm is not None and not 0.0 < focal_mm < float("inf"):
            raise ConfigError(f"camera.focal_length_35mm must be above 0 mm, is {focal_mm}")
        if self.calibration is not None and self.focal_length_35mm is not None:
            raise ConfigError("give camera.calibration or camera.focal_length_35mm, not both")


@dataclass(frozen=True)
class FlightCamera:
    """Telemetry of a recorded flight, and its camera's lens and mounting."""

    telemetry: TelemetryLog
    lens: FlightLens
    offsets: Mounting = NO_OFFSETS
    telemetry_offset_s: float = 0.0

    def sample_of(self, frame: Frame) -> TelemetrySample | None:
        """A frame's telemetry by its name, else its number, else its time; mounting added."""
        sample = self.telemetry.named(frame.name)
        if sample is None and frame.number is not None:
            sample = self.telemetry.numbered(frame.number)
        if sample is None and frame.time_s is not None:
            sample = self.telemetry.at(frame.time_s + self.telemetry_offset_s)
        return None if sample is None else with_offsets(sample, self.offsets)

    def camera_for(self, width: int, height: int) -> PinholeCamera:
        """The camera that takes pictures of this size, once undistorted."""
        return self.lens.camera_for(width, height)

    def undistorted(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A picture without its lens's distortion."""
        return self.lens.undistorted(image)


@dataclass(frozen=True)
class LiveCamera:
    """The camera of a live flight: how it is mounted, and its lens."""

    mounting: Mounting
    lens: FlightLens


def open_flight_camera(
    telemetry_path: Path, config: CameraConfig, telemetry_offset_s: float = 0.0
) -> FlightCamera:
    """Read a flight's telemetry and find out its lens.

    A fixed camera's mounting is left to the telemetry, which tells where the camera looked; a
    gimbal's corrections count.

    Raises:
        TelemetryError: If the telemetry cannot be used.
        ConfigError: If nothing tells the focal length, or an offset shifts what has no clock.
    """
    telemetry = open_telemetry(telemetry_path, config.pitch_deg)
    if telemetry_offset_s and (telemetry.by_frame_name or telemetry.by_frame_number):
        raise ConfigError(
            f"telemetry_offset_s shifts a clock, but {telemetry_path} is joined by frames"
        )
    for name, value in (("heading", "heading_deg"), ("height", "height_m")):
        if all(getattr(sample, value) is None for sample in telemetry.samples):
            logger.info("%s tells no %s: it is searched for", telemetry_path, name)
    info = _camera_info(config, telemetry_path.parent / CAMERA_FILE_NAME)
    offsets = Mounting(GIMBAL, config.heading_offset_deg, config.pitch_offset_deg, 0.0)
    if info is not None and info.mounting is not None and info.mounting.kind == GIMBAL:
        calibrated = info.mounting
        offsets = calibrated.corrected(config.heading_offset_deg, config.pitch_offset_deg, 0.0)
    equivalent_mm = config.focal_length_35mm or telemetry.focal_length_35mm
    if info is None and equivalent_mm is None:
        raise ConfigError(
            f"the lens is unknown: give the camera's calibration or focal_length_35mm, or put a "
            f"{CAMERA_FILE_NAME} with image_width, image_height and focal_px beside "
            f"{telemetry_path}"
        )
    return FlightCamera(telemetry, FlightLens(info, equivalent_mm), offsets, telemetry_offset_s)


def open_live_camera(config: CameraConfig) -> LiveCamera:
    """The camera that the settings describe.

    Raises:
        ConfigError: If they do not tell the lens.
    """
    info = _camera_info(config, None)
    if info is None and config.focal_length_35mm is None:
        raise ConfigError(
            "the lens is unknown: give camera.calibration (a camera_info YAML file) or "
            "camera.focal_length_35mm"
        )
    mounting = Mounting(pitch_deg=-90.0 if config.pitch_deg is None else config.pitch_deg)
    if info is not None and info.mounting is not None:
        mounting = info.mounting
    if config.heading_offset_deg or config.pitch_offset_deg:
        mounting = mounting.corrected(config.heading_offset_deg, config.pitch_offset_deg, 0.0)
    return LiveCamera(mounting, FlightLens(info, config.focal_length_35mm))


def _camera_info(config: CameraConfig, beside: Path | None) -> CameraInfo | None:
    """The calibration that is named, else the file beside the telemetry; a focal length wins."""
    if config.calibration is not None:
        return read_camera_info(config.calibration)
    if config.focal_length_35mm is None and beside is not None and beside.is_file():
        return read_camera_info(beside)
    return None
