"""Ground painted on flat metres, and pictures of it: for tests of what the camera sees."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_runtime.localize.camera import CameraAttitude, PinholeCamera, ground_to_image


@dataclass(frozen=True)
class PaintedGround:
    """A square picture (size, size, 3) of ground around (0, 0), north up."""

    picture: np.ndarray
    metres_per_pixel: float

    @property
    def from_pixels(self) -> np.ndarray:
        """Affine map (3, 3) from pixel centres to east and north metres."""
        half = (self.picture.shape[0] - 1) / 2 * self.metres_per_pixel
        step = self.metres_per_pixel
        return np.array([[step, 0.0, -half], [0.0, -step, half], [0.0, 0.0, 1.0]])

    def photograph(
        self,
        camera: PinholeCamera,
        attitude: CameraAttitude,
        height_m: float,
        place_m: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        """What a camera sees of the ground from above a place."""
        east, north = place_m
        beside_drone = np.array([[1.0, 0.0, -east], [0.0, 1.0, -north], [0.0, 0.0, 1.0]])
        to_image = ground_to_image(camera, attitude, height_m) @ beside_drone @ self.from_pixels
        return cv2.warpPerspective(
            self.picture, to_image, (camera.width, camera.height), flags=cv2.INTER_LINEAR
        )

    def seen_from_above(
        self, centre_m: tuple[float, float], footprint_m: float, size: int, turned_deg: float = 0.0
    ) -> np.ndarray:
        """A nadir view (size, size, 3) around a point, its top `turned_deg` clockwise of north."""
        turn, step = np.radians(turned_deg), footprint_m / size
        half = (size - 1) / 2 * step
        right, up = (np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))
        to_ground = np.array(
            [
                [step * right[0], -step * up[0], centre_m[0] - half * right[0] + half * up[0]],
                [step * right[1], -step * up[1], centre_m[1] - half * right[1] + half * up[1]],
                [0.0, 0.0, 1.0],
            ]
        )
        to_pixels = np.linalg.inv(self.from_pixels) @ to_ground
        return cv2.warpAffine(
            self.picture, to_pixels[:2], (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )


def marked_ground(marker_m: tuple[float, float], metres_per_pixel: float = 0.5) -> PaintedGround:
    """Dark ground, 600 m wide, with a bright spot of 2 m."""
    size = round(600.0 / metres_per_pixel)
    ground = PaintedGround(np.full((size, size, 3), 30, np.uint8), metres_per_pixel)
    column, row, _ = np.linalg.inv(ground.from_pixels) @ [*marker_m, 1.0]
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    squared_m2 = ((columns - column) ** 2 + (rows - row) ** 2) * metres_per_pixel**2
    spot = np.exp(-squared_m2 / (2 * 2.0**2))[..., None]
    return PaintedGround(np.rint(30 + 220 * spot).astype(np.uint8).repeat(3, 2), metres_per_pixel)


def textured_ground(seed: int, metres_per_pixel: float = 0.4) -> PaintedGround:
    """Random patches of 3 to 40 m, 500 m wide, rich in corners."""
    rng = np.random.default_rng(seed)
    size = round(500.0 / metres_per_pixel)
    picture = np.zeros((size, size, 3), np.float32)
    for patch_m in (40.0, 12.0, 5.0, 3.0):
        cells = round(500.0 / patch_m)
        noise = rng.uniform(-55.0, 55.0, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (size, size), interpolation=cv2.INTER_NEAREST)
    picture = np.clip(cv2.GaussianBlur(picture, (0, 0), 1.0) + 128.0, 0, 255)
    return PaintedGround(picture.astype(np.uint8), metres_per_pixel)


def middle_of_brightness(view: np.ndarray) -> tuple[float, float]:
    """Column and row of the middle of what is bright in a view."""
    grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).astype(np.float64)
    weight = np.clip(grey - 0.5 * grey.max(), 0.0, None)
    rows, columns = np.indices(grey.shape)
    return float((weight * columns).sum() / weight.sum()), float(
        (weight * rows).sum() / weight.sum()
    )
