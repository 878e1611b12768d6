"""Undoing a lens: pictures as a pinhole camera would have taken them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import FloatArray, PinholeCamera

NO_DISTORTION = "none"
PLUMB_BOB = "plumb_bob"
RATIONAL_POLYNOMIAL = "rational_polynomial"
EQUIDISTANT = "equidistant"
COEFFICIENTS = {
    NO_DISTORTION: (0,),
    PLUMB_BOB: (4, 5),
    RATIONAL_POLYNOMIAL: (8,),
    EQUIDISTANT: (4,),
}
"""Distortion models of ROS and how many coefficients each has."""

_SQUARE = 5e-4
_LARGEST_NUMBER = 1e7
_BORDER_POINTS = 64
_RADII = 200
_ZOOMS = 3.0 * 0.98 ** np.arange(90)


@dataclass(frozen=True)
class LensModel:
    """Intrinsics as ROS and OpenCV mean them: pixel centres at whole numbers."""

    width: int
    height: int
    focal_x_px: float
    focal_y_px: float
    centre_x_px: float
    centre_y_px: float
    distortion_model: str = NO_DISTORTION
    distortion_coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = (
            self.focal_x_px,
            self.focal_y_px,
            self.centre_x_px,
            self.centre_y_px,
            *self.distortion_coefficients,
        )
        if min(self.width, self.height) < 1 or not np.isfinite(numbers).all():
            raise ConfigError("image size must be positive and every number finite")
        if max(map(abs, numbers)) > _LARGEST_NUMBER:
            raise ConfigError(f"no lens has a number beyond {_LARGEST_NUMBER:.0e}")
        if min(self.focal_x_px, self.focal_y_px) <= 0.0:
            raise ConfigError("focal lengths must be above 0")
        if not (0.0 <= self.centre_x_px < self.width and 0.0 <= self.centre_y_px < self.height):
            raise ConfigError("the principal point must lie within the picture")
        counts = COEFFICIENTS.get(self.distortion_model)
        if counts is None:
            raise ConfigError(
                f"distortion_model {self.distortion_model!r} is none of {', '.join(COEFFICIENTS)}"
            )
        if len(self.distortion_coefficients) not in counts:
            raise ConfigError(
                f"{self.distortion_model} has {' or '.join(map(str, counts))} coefficients, "
                f"not {len(self.distortion_coefficients)}"
            )

    @property
    def is_pinhole(self) -> bool:
        """Whether its pictures are a pinhole camera's as they are, with square pixels."""
        squeeze = abs(self.focal_x_px / self.focal_y_px - 1.0)
        return squeeze < _SQUARE and not any(self.distortion_coefficients)

    def scaled_to(self, width: int, height: int) -> LensModel:
        """The same lens where pictures come in another size.

        Raises:
            ConfigError: If that size has another shape: parts were cut off, nobody says which.
        """
        x, y = width / self.width, height / self.height
        if abs(x / y - 1.0) > 0.01:
            raise ConfigError(
                f"the camera was calibrated at {self.width} x {self.height}, its pictures are "
                f"{width} x {height}: calibrate it in the mode that is flown"
            )
        return LensModel(
            width,
            height,
            self.focal_x_px * x,
            self.focal_y_px * y,
            (self.centre_x_px + 0.5) * x - 0.5,
            (self.centre_y_px + 0.5) * y - 0.5,
            self.distortion_model,
            self.distortion_coefficients,
        )

    def pixels_of(self, rays: FloatArray) -> FloatArray:
        """Pixels (..., 2) in which rays (..., 2), x and y at unit depth, are seen."""
        distorted = _distorted(rays, self.distortion_model, self.distortion_coefficients)
        focal = np.array([self.focal_x_px, self.focal_y_px])
        return np.asarray(distorted * focal + [self.centre_x_px, self.centre_y_px], np.float64)


class Undistorter:
    """Turns a lens's pictures into those of `camera`, all of whose pixels the lens saw.

    The map from one to the other is computed here, once (0.3 s for 1280 x 720). A lens that is
    a pinhole already costs nothing.
    """

    def __init__(self, lens: LensModel) -> None:
        self.lens = lens
        focal_px = (lens.focal_x_px + lens.focal_y_px) / 2.0
        if not lens.is_pinhole:
            focal_px *= _widest_zoom(lens, focal_px)
        self.camera = PinholeCamera(
            lens.width, lens.height, focal_px, lens.centre_x_px, lens.centre_y_px
        )
        self._maps = None if lens.is_pinhole else self._map_pixels()

    def undistort(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The picture (H, W, 3) as the pinhole camera would have taken it."""
        if self._maps is None:
            return image
        places, shares = self._maps
        return np.asarray(cv2.remap(image, places, shares, cv2.INTER_LINEAR), np.uint8)

    def _map_pixels(self) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint16]]:
        camera = self.camera
        x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        pixels = self.lens.pixels_of(_rays(camera, np.stack([x, y], axis=-1)))
        places, shares = cv2.convertMaps(
            pixels[..., 0].astype(np.float32), pixels[..., 1].astype(np.float32), cv2.CV_16SC2
        )
        return np.asarray(places, np.int16), np.asarray(shares, np.uint16)


def _rays(camera: PinholeCamera, pixels: FloatArray) -> FloatArray:
    centre = camera.matrix[:2, 2]
    return np.asarray((pixels - centre) / camera.focal_px, np.float64)


def _widest_zoom(lens: LensModel, focal_px: float) -> float:
    """The smallest factor on the focal length that leaves no pixel without a picture."""
    widest = None
    for zoom in _ZOOMS:
        if not _sees_all(lens, focal_px * float(zoom)):
            break
        widest = float(zoom)
    if widest is None:
        raise ConfigError("the lens's distortion folds its picture: its coefficients are wrong")
    return widest


def _sees_all(lens: LensModel, focal_px: float) -> bool:
    camera = PinholeCamera(lens.width, lens.height, focal_px, lens.centre_x_px, lens.centre_y_px)
    steps = np.linspace(0.0, 1.0, _BORDER_POINTS)
    x, y = steps * (lens.width - 1), steps * (lens.height - 1)
    zero, right, bottom = np.zeros_like(x), np.full_like(x, x[-1]), np.full_like(y, y[-1])
    border = np.concatenate(
        [np.stack(side, axis=-1) for side in ((x, zero), (x, bottom), (zero, y), (right, y))]
    )
    rays = _rays(camera, border)
    pixels = lens.pixels_of(rays)
    inside = (pixels >= -0.5) & (pixels <= np.array([lens.width, lens.height]) - 0.5)
    if not inside.all():
        return False
    # Beyond where it was fitted a polynomial turns back, and would show the middle once more.
    radii = np.linspace(0.0, float(np.linalg.norm(rays, axis=-1).max()), _RADII)
    along = np.stack([radii, np.zeros_like(radii)], axis=-1)
    symmetric = list(lens.distortion_coefficients)
    if lens.distortion_model in (PLUMB_BOB, RATIONAL_POLYNOMIAL):
        symmetric[2:4] = [0.0, 0.0]
    seen = _distorted(along, lens.distortion_model, tuple(symmetric))[:, 0]
    return bool((np.diff(seen) > 0.0).all())


def _distorted(rays: FloatArray, model: str, coefficients: tuple[float, ...]) -> FloatArray:
    """Where a lens shifts rays (..., 2): Brown's model and Kannala and Brandt's (equidistant)."""
    x, y = rays[..., 0], rays[..., 1]
    square = x * x + y * y
    if model == EQUIDISTANT:
        radius = np.sqrt(square)
        angle = np.arctan(radius)
        a2 = angle * angle
        k1, k2, k3, k4 = coefficients
        bent = angle * (1.0 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        scale = np.divide(bent, radius, out=np.ones_like(radius), where=radius > 1e-12)
        return np.asarray(rays * scale[..., None], np.float64)
    k1, k2, p1, p2, k3, k4, k5, k6 = (*coefficients, *[0.0] * (8 - len(coefficients)))
    radial = 1.0 + square * (k1 + square * (k2 + square * k3))
    radial = radial / (1.0 + square * (k4 + square * (k5 + square * k6)))
    shifted = np.stack(
        [
            x * radial + 2.0 * p1 * x * y + p2 * (square + 2.0 * x * x),
            y * radial + p1 * (square + 2.0 * y * y) + 2.0 * p2 * x * y,
        ],
        axis=-1,
    )
    return np.asarray(shifted, np.float64)
