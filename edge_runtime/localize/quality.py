"""The quality gate: views that could only mislead are turned away before the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import CameraPose


@dataclass(frozen=True)
class QualityConfig:
    """What a view must fulfil to be searched for."""

    lowest_height_m: float = 20.0
    """Below this the picture shows too little ground."""
    shallowest_pitch_deg: float = -20.0
    """A camera that looks less far down than this sees mostly far, foreshortened ground."""
    steepest_roll_deg: float = 30.0
    """Where the picture's right leans more than this from level, the drone is banking too hard
    for its telemetry to be in step."""
    smallest_coverage: float = 0.6
    """Share of the map footprint that the camera must see."""
    smallest_contrast: float = 6.0
    """Standard deviation of grey levels (0-255) below which a view is fog, night or a wall."""
    smallest_sharpness: float = 1.5
    """Mean absolute second difference of grey levels below which a view is blurred."""
    largest_clipped_share: float = 0.6
    """Share of pixels at the black or the white end beyond which exposure has failed."""

    def __post_init__(self) -> None:
        if not 0.0 < self.smallest_coverage <= 1.0:
            raise ConfigError("quality.smallest_coverage must lie between 0 and 1")
        if not -90.0 <= self.shallowest_pitch_deg < 0.0:
            raise ConfigError("quality.shallowest_pitch_deg must lie between -90 and 0")


_BLACK, _WHITE = 8, 247


def attitude_fault(pitch_deg: float, roll_deg: float, config: QualityConfig) -> str | None:
    """Why a view in this attitude cannot be used, or None."""
    if pitch_deg > config.shallowest_pitch_deg:
        return f"camera pitch {pitch_deg:.0f} deg is too shallow"
    # A roll about an axis that looks straight down leans nowhere: it is the picture's right that
    # must stay near level.
    pitch, roll = np.radians([pitch_deg, roll_deg])
    lean_deg = float(np.degrees(np.arcsin(abs(np.sin(roll) * np.cos(pitch)))))
    if lean_deg > config.steepest_roll_deg:
        return f"roll {roll_deg:.0f} deg is too steep"
    return None


def height_fault(height_m: float, config: QualityConfig) -> str | None:
    """Why a view from this height cannot be used, or None."""
    if height_m < config.lowest_height_m:
        return f"height {height_m:.0f} m is too low"
    return None


def pose_fault(pose: CameraPose, config: QualityConfig) -> str | None:
    """Why a view from this pose cannot be used, or None."""
    too_low = height_fault(pose.height_m, config)
    return too_low or attitude_fault(pose.pitch_deg, pose.roll_deg, config)


def coverage_fault(coverage: float, footprint_m: float, config: QualityConfig) -> str | None:
    """Why a view of this share, 0-1, of a footprint cannot be used, or None."""
    if coverage < config.smallest_coverage:
        return f"camera sees {coverage:.0%} of a {footprint_m:.0f} m map footprint"
    return None


def picture_fault(rectified: npt.NDArray[np.uint8], config: QualityConfig) -> str | None:
    """Why a rectified RGB view (H, W, 3) cannot be used, or None."""
    grey = cv2.cvtColor(rectified, cv2.COLOR_RGB2GRAY)
    clipped = float(np.mean((grey <= _BLACK) | (grey >= _WHITE)))
    if clipped > config.largest_clipped_share:
        return f"{100 * clipped:.0f} % of the view is black or white"
    _, deviation = cv2.meanStdDev(grey)
    contrast = float(deviation[0, 0])
    if contrast < config.smallest_contrast:
        return f"contrast {contrast:.1f} is too low"
    sharpness = float(np.mean(np.abs(cv2.Laplacian(grey, cv2.CV_16S))))
    if sharpness < config.smallest_sharpness:
        return f"sharpness {sharpness:.1f} is too low"
    return None
