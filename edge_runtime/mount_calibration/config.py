"""What a calibration of the mounting is made from, and how far it looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edge_runtime.contract.errors import ConfigError
from edge_runtime.flight_camera import CAMERA_FILE_NAME, CameraConfig

FEWEST_VIEWS = 12
"""A calibration by fewer tells nothing."""


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
        if self.views < FEWEST_VIEWS or not 1 <= self.rounds <= 20:
            raise ConfigError(f"views must be {FEWEST_VIEWS} or more, rounds 1 to 20")
        if not (0.0 <= self.heading_range_deg <= 180.0 and 0.0 <= self.pitch_range_deg <= 45.0):
            raise ConfigError("heading_range_deg must be 0 to 180, pitch_range_deg 0 to 45")


def calibration_file(config: MountCalibrationConfig) -> Path | None:
    """The camera's file that the flight is read with, where there is one."""
    if config.camera.calibration is not None:
        return config.camera.calibration
    beside = config.telemetry.parent / CAMERA_FILE_NAME
    return beside if config.camera.focal_length_35mm is None and beside.is_file() else None
