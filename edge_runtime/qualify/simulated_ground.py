"""The ground that simulated drones look at: the map's own picture, or stand-ins for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.map_imagery import MapImagery
from edge_runtime.localize.camera import CameraPose, PinholeCamera, ground_to_image
from edge_runtime.localize.rectify import choose_window

Picture = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

_WIDER = 2.2
"""Ground that is looked up, in footprints: a view's window and what surrounds it."""
_LEAST_COVERED = 0.3


class Ground(Protocol):
    """Somewhere to fly over."""

    def square(self, centre_m: FloatArray, side_m: float, size: int) -> Picture | None:
        """North-up ground (size, size, 3) RGB around a point; None where there is none."""


@dataclass(frozen=True)
class ImageryGround:
    """A map's picture; shifted, to fly a region over another region's map."""

    imagery: MapImagery
    shift_m: tuple[float, float] = (0.0, 0.0)

    def square(self, centre_m: FloatArray, side_m: float, size: int) -> Picture | None:
        """See `Ground`."""
        return self.imagery.view(centre_m + np.array(self.shift_m), side_m, size, _LEAST_COVERED)


@dataclass(frozen=True)
class MirroredGround:
    """Another country, built as this one: the ground mirrored about a meridian."""

    ground: Ground
    about_east_m: float

    def square(self, centre_m: FloatArray, side_m: float, size: int) -> Picture | None:
        """See `Ground`."""
        twin = np.array([2.0 * self.about_east_m - centre_m[0], centre_m[1]])
        seen = self.ground.square(twin, side_m, size)
        return None if seen is None else np.ascontiguousarray(seen[:, ::-1])


class TexturedGround:
    """Patches of grey that tell a drone how it moves and nothing about where it is."""

    def __init__(self, seed: int, metres_per_pixel: float = 0.6, size: int = 1024) -> None:
        rng = np.random.default_rng(seed)
        texture = np.zeros((size, size), np.float32)
        for cell in (64, 16, 8, 4):
            noise = rng.uniform(-45.0, 45.0, (size // cell, size // cell)).astype(np.float32)
            texture += np.kron(noise, np.ones((cell, cell), np.float32))
        self._texture = np.clip(128.0 + texture, 0.0, 255.0).astype(np.uint8)
        self._step_m = metres_per_pixel

    def square(self, centre_m: FloatArray, side_m: float, size: int) -> Picture | None:
        """See `Ground`; it repeats itself, far beyond a view's size."""
        ratio = side_m / size / self._step_m
        columns = (centre_m[0] - side_m / 2) / self._step_m + ratio * (np.arange(size) + 0.5)
        rows = -(centre_m[1] + side_m / 2) / self._step_m + ratio * (np.arange(size) + 0.5)
        side = self._texture.shape[0]
        picked = self._texture[
            np.floor(rows).astype(int)[:, None] % side, np.floor(columns).astype(int) % side
        ]
        return np.repeat(picked[..., None], 3, axis=-1)


@dataclass(frozen=True)
class SeenGround:
    """The ground around a view's window."""

    picture: Picture
    centre_m: FloatArray
    """In the map's frame."""
    side_m: float


def seen_ground(
    ground: Ground, camera: PinholeCamera, pose: CameraPose, place_m: FloatArray, footprint_m: float
) -> SeenGround | None:
    """What a drone at a place has below its camera; None where there is no ground."""
    window, _ = choose_window(camera, pose.attitude, pose.height_m, footprint_m)
    centre = place_m + window.offset_m
    side_m = _WIDER * footprint_m
    size = round(side_m / footprint_m * 1.4 * min(camera.width, camera.height))
    picture = ground.square(centre, side_m, min(size, 1024))
    return None if picture is None else SeenGround(picture, centre, side_m)


def photographed(
    seen: SeenGround, camera: PinholeCamera, pose: CameraPose, place_m: FloatArray
) -> Picture:
    """The frame (H, W, 3) RGB of a camera above that ground."""
    size = seen.picture.shape[0]
    step = seen.side_m / size
    east, north = seen.centre_m - place_m
    half = (seen.side_m - step) / 2
    to_ground = np.array([[step, 0.0, east - half], [0.0, -step, north + half], [0.0, 0.0, 1.0]])
    to_image = ground_to_image(camera, pose.attitude, pose.height_m) @ to_ground
    border = seen.picture.reshape(-1, 3).mean(axis=0)
    frame = cv2.warpPerspective(
        seen.picture,
        to_image,
        (camera.width, camera.height),
        flags=cv2.INTER_AREA,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(float(border[0]), float(border[1]), float(border[2])),
    )
    return np.asarray(frame, np.uint8)
