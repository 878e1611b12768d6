"""Ground-plane rectification: the camera's view as a map tile shows it.

The encoder meets a square of ground seen from straight above, north up, its side one map
footprint long: geometry that telemetry knows need not be learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.localize.camera import (
    CameraAttitude,
    FloatArray,
    PinholeCamera,
    centre_ground_point,
    ground_to_image,
)

_COVERAGE_GRID = 10
_WINDOW_CANDIDATES = 25


@dataclass(frozen=True)
class GroundWindow:
    """A north-up square of flat ground, placed relative to the drone."""

    east_m: float
    north_m: float
    footprint_m: float

    @property
    def offset_m(self) -> FloatArray:
        """East and north metres from the drone to the square's centre."""
        return np.array([self.east_m, self.north_m])

    def from_unit_square(self, size: int) -> FloatArray:
        """Affine map (3, 3) from pixel centres of a size x size picture to ground metres."""
        step = self.footprint_m / size
        half = (self.footprint_m - step) / 2
        return np.array(
            [[step, 0.0, self.east_m - half], [0.0, -step, self.north_m + half], [0.0, 0.0, 1.0]]
        )


def choose_window(
    camera: PinholeCamera, attitude: CameraAttitude, height_m: float, footprint_m: float
) -> tuple[GroundWindow, float]:
    """The best window for a view, and the share of it that the camera sees, 0-1.

    It is centred on the ground in the image centre if the camera sees all of that; otherwise
    it slides along the viewing direction, from below the drone outwards, to where it is seen
    best, the nearest such place first.
    """
    heading = np.radians(attitude.heading_deg)
    reach_m = 2.0 * height_m + footprint_m
    centres = np.linspace(0.0, reach_m, _WINDOW_CANDIDATES)[:, None] * np.array(
        [np.sin(heading), np.cos(heading)]
    )
    image_centre = centre_ground_point(attitude, height_m)
    if np.linalg.norm(image_centre) <= reach_m:
        centres = np.vstack([image_centre, centres])
    seen = _coverage(camera, ground_to_image(camera, attitude, height_m), centres, footprint_m)
    best = int(np.argmax(seen))
    east, north = centres[best]
    return GroundWindow(float(east), float(north), footprint_m), float(seen[best])


def _coverage(
    camera: PinholeCamera, to_image: FloatArray, centres_m: FloatArray, footprint_m: float
) -> FloatArray:
    """Share of each square around centres (N, 2) that the camera sees, 0-1."""
    steps = ((np.arange(_COVERAGE_GRID) + 0.5) / _COVERAGE_GRID - 0.5) * footprint_m
    inside_square = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    ground = centres_m[:, None] + inside_square
    x, y, depth = np.moveaxis(ground @ to_image[:, :2].T + to_image[:, 2], -1, 0)
    seen = (depth > 0.0) & (x >= 0.0) & (x <= (camera.width - 1) * depth)
    seen &= (y >= 0.0) & (y <= (camera.height - 1) * depth)
    return np.asarray(seen.mean(axis=1), np.float64)


def rectify(
    image: npt.NDArray[np.uint8],
    camera: PinholeCamera,
    attitude: CameraAttitude,
    height_m: float,
    window: GroundWindow,
    size: int,
) -> npt.NDArray[np.uint8]:
    """Warp an (H, W, 3) picture to a window of flat ground, (size, size, 3), north up.

    Ground that the camera does not see takes the picture's mean colour, which the encoder
    finds less striking than black.
    """
    return warp_ground(image, ground_to_image(camera, attitude, height_m), window, size)


def warp_ground(
    image: npt.NDArray[np.uint8], to_image: FloatArray, window: GroundWindow, size: int
) -> npt.NDArray[np.uint8]:
    """`rectify` by any homography (3, 3) from metres beside the drone to the picture."""
    to_image = to_image @ window.from_unit_square(size)
    border = cv2.mean(cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA))
    source, to_source = _shrink_for(image, to_image, size)
    warped = cv2.warpPerspective(
        source,
        to_source,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )
    return np.asarray(warped, np.uint8)


def _shrink_for(
    image: npt.NDArray[np.uint8], to_image: FloatArray, size: int
) -> tuple[npt.NDArray[np.uint8], FloatArray]:
    """The picture shrunk by halves until one output pixel spans less than two of its own.

    Bilinear sampling of a much finer picture would alias: texture that the satellite averages.
    """
    middle = (size - 1) / 2
    x, y, depth = to_image @ [middle, middle, 1.0]
    if depth <= 0.0:
        return image, to_image
    jacobian = (to_image[:2, :2] - np.outer([x, y], to_image[2, :2]) / depth) / depth
    span = float(np.sqrt(abs(np.linalg.det(jacobian))))
    while span >= 2.0 and min(image.shape[:2]) >= 4:
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        to_image = np.array([[0.5, 0.0, -0.25], [0.0, 0.5, -0.25], [0.0, 0.0, 1.0]]) @ to_image
        span /= 2.0
    return image, to_image
