"""The pictures whose descriptors a bundle carries, so that any engine can be checked at start."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import SourceError
from edge_runtime.contract.preprocessing import resize_to_input

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"})
Images = npt.NDArray[np.uint8]


def image_paths(folder: Path) -> list[Path]:
    """Every picture below a folder, in the order of its path.

    Raises:
        SourceError: If there is none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise SourceError(f"{folder} holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def read_images(paths: list[Path], height: int, width: int) -> Images:
    """Pictures (N, height, width, 3) in RGB: their central squares, resampled.

    Raises:
        SourceError: Naming the first picture that cannot be decoded.
    """
    images = np.empty((len(paths), height, width, 3), np.uint8)
    for index, path in enumerate(paths):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise SourceError(f"{path} cannot be decoded as a picture")
        side = min(picture.shape[:2])
        top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
        square = np.asarray(picture[top : top + side, left : left + side, ::-1], np.uint8)
        images[index] = resize_to_input(np.ascontiguousarray(square), height, width)
    return images


def generate_images(count: int, height: int, width: int, seed: int) -> Images:
    """Pictures (count, height, width, 3) like ground from above: coloured terrain, roads, roofs.

    The same seed gives the same pictures on every machine, up to rounding of the resampling.
    """
    images = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        generator = np.random.default_rng([seed, index])
        images[index] = _ground(generator, height, width)
    return images


def _ground(generator: np.random.Generator, height: int, width: int) -> Images:
    terrain: npt.NDArray[np.float32] = np.zeros((height, width), np.float32)
    for cells in (3, 6, 12, 24, 48):
        noise = generator.standard_normal((cells, cells)).astype(np.float32)
        enlarged = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        terrain += np.asarray(enlarged, np.float32) / cells**0.7
    low, high = generator.uniform(30, 110, 3), generator.uniform(90, 200, 3)
    share = ((terrain - terrain.min()) / np.ptp(terrain))[..., None]
    picture = np.ascontiguousarray(low + (high - low) * share + generator.normal(0, 5, (1, 1, 3)))
    side = min(height, width)
    for _ in range(int(generator.integers(2, 5))):
        ends = generator.uniform(-0.1, 1.1, (2, 2)) * (width, height)
        grey = float(generator.uniform(90, 190))
        start, end = (tuple(int(value) for value in point) for point in ends)
        cv2.line(picture, start, end, (grey, grey, grey), max(1, side // 40), cv2.LINE_8)
    for _ in range(int(generator.integers(6, 18))):
        centre = generator.uniform(0.05, 0.95, 2) * (width, height)
        sides = generator.uniform(0.04, 0.15, 2) * side
        corners = cv2.boxPoints((tuple(centre), tuple(sides), float(generator.uniform(0, 90))))
        roof = tuple(float(value) for value in generator.uniform(60, 240, 3))
        shadow = (corners + side * 0.015).astype(np.int32)
        cv2.fillConvexPoly(picture, shadow, (35.0, 35.0, 40.0))
        cv2.fillConvexPoly(picture, corners.astype(np.int32), roof)
    picture += generator.normal(0, 4, picture.shape)
    return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)
