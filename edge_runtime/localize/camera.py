"""The camera: where a pixel looks, and where on flat ground that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError

FloatArray = npt.NDArray[np.float64]

FULL_FRAME_WIDTH_MM = 36.0


@dataclass(frozen=True)
class PinholeCamera:
    """An undistorted camera; its principal point is the image centre unless it is given."""

    width: int
    height: int
    focal_px: float
    centre_x_px: float | None = None
    centre_y_px: float | None = None

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or not 0.0 < self.focal_px < float("inf"):
            raise ConfigError(f"impossible camera: {self}")
        if not np.isfinite(self.matrix).all():
            raise ConfigError(f"impossible camera: {self}")

    @classmethod
    def from_equivalent_focal_length(
        cls, width: int, height: int, focal_length_mm: float
    ) -> PinholeCamera:
        """A camera known by its full-frame (36 mm wide) equivalent focal length."""
        return cls(width, height, width * focal_length_mm / FULL_FRAME_WIDTH_MM)

    @property
    def matrix(self) -> FloatArray:
        """Intrinsic matrix (3, 3), pixel centres at whole numbers."""
        x = (self.width - 1) / 2 if self.centre_x_px is None else self.centre_x_px
        y = (self.height - 1) / 2 if self.centre_y_px is None else self.centre_y_px
        return np.array([[self.focal_px, 0.0, x], [0.0, self.focal_px, y], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class CameraAttitude:
    """Where the camera looks: heading clockwise from north, pitch -90 straight down."""

    heading_deg: float
    pitch_deg: float
    roll_deg: float = 0.0

    @property
    def rotation(self) -> FloatArray:
        """Matrix (3, 3) from east-north-up to the camera's right-down-forward axes."""
        heading, pitch, roll = np.radians([self.heading_deg, self.pitch_deg, self.roll_deg])
        forward = np.array(
            [np.sin(heading) * np.cos(pitch), np.cos(heading) * np.cos(pitch), np.sin(pitch)]
        )
        level_right = np.array([np.cos(heading), -np.sin(heading), 0.0])
        level_down = np.cross(forward, level_right)
        right = np.cos(roll) * level_right + np.sin(roll) * level_down
        down = np.cos(roll) * level_down - np.sin(roll) * level_right
        return np.stack([right, down, forward])


@dataclass(frozen=True)
class CameraPose:
    """Where the camera looks and how high it is above the ground that it views."""

    height_m: float
    heading_deg: float
    pitch_deg: float
    roll_deg: float = 0.0

    @property
    def attitude(self) -> CameraAttitude:
        """The angles alone."""
        return CameraAttitude(self.heading_deg, self.pitch_deg, self.roll_deg)


def ground_to_image(camera: PinholeCamera, attitude: CameraAttitude, height_m: float) -> FloatArray:
    """Homography (3, 3) from (east, north, 1) metres beside the drone to homogeneous pixels.

    Its third row is the depth along the optical axis: what lies behind the camera is negative.
    """
    projection = camera.matrix @ attitude.rotation
    return np.column_stack([projection[:, 0], projection[:, 1], -height_m * projection[:, 2]])


def centre_ground_point(attitude: CameraAttitude, height_m: float) -> FloatArray:
    """East and north metres from the drone to the flat ground in the image centre.

    Not finite if the optical axis does not meet the ground.
    """
    forward = attitude.rotation[2]
    if forward[2] >= 0.0:
        return np.full(2, np.inf)
    return np.asarray(forward[:2] * (height_m / -forward[2]), np.float64)
