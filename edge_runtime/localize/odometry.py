"""Visual odometry: how far the drone moved over the ground between two rectified views.

Two rectified views of overlapping ground differ by a shift, and by a rotation where the
telemetry's heading is inconsistent; both are measured in metres from matched corners.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.localize.camera import FloatArray
from edge_runtime.localize.rectify import GroundWindow

_CORNERS = 250
_PYRAMID_LEVELS = 2
_PYRAMID_SCALE = 1.2
_PATCH_PX = 31
_FAST_THRESHOLD = 10
_RANSAC_ITERATIONS = 300
_INLIER_M = 2.0
_MIN_INLIERS = 12
_MIN_INLIER_SHARE = 0.2
_MAX_SCALE_CHANGE = 0.2


@dataclass(frozen=True)
class Displacement:
    """The drone's motion since the previous view, as that view's attitude and height see it."""

    east_m: float
    north_m: float
    rotation_deg: float = 0.0
    """How far the assumed heading change is from what the pictures show."""
    height_ratio: float = 1.0
    """The height over the previous view's, both as multiples of the assumed one."""

    @property
    def length_m(self) -> float:
        """Distance over ground."""
        return float(np.hypot(self.east_m, self.north_m))

    def carry(self, point_m: FloatArray) -> FloatArray:
        """A ground point beside the drone at the previous view, as seen beside it now."""
        turn = np.radians(self.rotation_deg)
        east, north = point_m - [self.east_m, self.north_m]
        return np.array(
            [
                np.cos(turn) * east + np.sin(turn) * north,
                np.cos(turn) * north - np.sin(turn) * east,
            ]
        )


@dataclass(frozen=True)
class _View:
    corners_m: FloatArray
    descriptors: npt.NDArray[np.uint8]


class VisualOdometer:
    """Matches each rectified view with the one before."""

    def __init__(self) -> None:
        self._detector = cv2.ORB.create(
            nfeatures=_CORNERS,
            scaleFactor=_PYRAMID_SCALE,
            nlevels=_PYRAMID_LEVELS,
            edgeThreshold=_PATCH_PX // 2 + 1,
            patchSize=_PATCH_PX,
            fastThreshold=_FAST_THRESHOLD,
        )
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        self._previous: _View | None = None

    def update(self, rectified: npt.NDArray[np.uint8], window: GroundWindow) -> Displacement | None:
        """Displacement since the previous call, or None where the views cannot be matched.

        Args:
            rectified: (size, size, 3) RGB view of the window.
        """
        previous, self._previous = self._previous, self._describe(rectified, window)
        current = self._previous
        if previous is None or current is None:
            return None
        matches = self._matcher.match(current.descriptors, previous.descriptors)
        if len(matches) < _MIN_INLIERS:
            return None
        here = current.corners_m[[match.queryIdx for match in matches]]
        there = previous.corners_m[[match.trainIdx for match in matches]]
        motion, inliers = cv2.estimateAffinePartial2D(
            here,
            there,
            method=cv2.RANSAC,
            ransacReprojThreshold=_INLIER_M,
            maxIters=_RANSAC_ITERATIONS,
        )
        if motion is None or inliers is None:
            return None
        count = int(inliers.sum())
        scale = float(np.hypot(motion[0, 0], motion[1, 0]))
        if count < max(_MIN_INLIERS, _MIN_INLIER_SHARE * len(matches)):
            return None
        if abs(scale - 1.0) > _MAX_SCALE_CHANGE:
            return None
        return Displacement(
            east_m=float(motion[0, 2]),
            north_m=float(motion[1, 2]),
            rotation_deg=float(np.degrees(np.arctan2(motion[1, 0], motion[0, 0]))),
            height_ratio=scale,
        )

    def rescale(self, factor: float) -> None:
        """See the previous view as it would be had its height been assumed so much higher."""
        if self._previous is not None:
            self._previous = _View(self._previous.corners_m * factor, self._previous.descriptors)

    def _describe(self, rectified: npt.NDArray[np.uint8], window: GroundWindow) -> _View | None:
        grey = cv2.cvtColor(rectified, cv2.COLOR_RGB2GRAY)
        corners, descriptors = self._detector.detectAndCompute(grey, None)
        if descriptors is None:
            return None
        pixels = np.array([[*corner.pt, 1.0] for corner in corners])
        corners_m = (pixels @ window.from_unit_square(rectified.shape[0]).T)[:, :2]
        return _View(corners_m, np.asarray(descriptors, np.uint8))
