"""Painted ground as a map's picture, and what a camera over it sees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_runtime.contract.map_imagery import TILE_PX, ImageryGrid, MapImagery, open_map_imagery
from edge_runtime.contract.map_imagery_writer import encode_tile, write_map_imagery
from edge_runtime.localize.camera import CameraPose, PinholeCamera, ground_to_image
from tests.small_map import FRAME

CAMERA = PinholeCamera(800, 600, 560.0)
PIXEL_M = 0.6
TILES = 4
SIDE_PX = TILES * TILE_PX
HALF_M = SIDE_PX * PIXEL_M / 2


def painted_ground(seed: int = 1) -> np.ndarray:
    """Fields, roofs and roads of random places and colours, (1024, 1024, 3): 614 m."""
    rng = np.random.default_rng(seed)
    ground = np.full((SIDE_PX, SIDE_PX, 3), 110, np.uint8)
    for size, count in ((90, 60), (24, 500), (10, 900)):
        for _ in range(count):
            box = (rng.uniform(0, SIDE_PX, 2), rng.uniform(0.4, 1.0, 2) * size, rng.uniform(0, 180))
            corners = cv2.boxPoints(tuple(np.asarray(part).tolist() for part in box))
            cv2.fillPoly(ground, [corners.astype(np.int32)], rng.integers(30, 225, 3).tolist())
    for _ in range(14):
        ends = rng.integers(0, SIDE_PX, (2, 2)).tolist()
        cv2.line(ground, ends[0], ends[1], rng.integers(60, 90, 3).tolist(), 9)
    return cv2.GaussianBlur(ground, (0, 0), 0.8)


def as_imagery(path: Path, ground: np.ndarray) -> MapImagery:
    """The ground as a map carries it, its middle at the frame's origin."""
    grid = ImageryGrid(-HALF_M, HALF_M, PIXEL_M, TILES, TILES)
    covered = np.ones((TILE_PX, TILE_PX), bool)
    tiles = (
        (row, column, *encode_tile(part, covered))
        for row in range(TILES)
        for column in range(TILES)
        for part in [
            ground[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX]
        ]
    )
    write_map_imagery(path, FRAME, grid, tiles)
    return open_map_imagery(path)


def photograph(ground: np.ndarray, drone_m: np.ndarray, pose: CameraPose) -> np.ndarray:
    """What the camera sees of flat ground, (600, 800, 3)."""
    to_pixel = np.array(
        [
            [1 / PIXEL_M, 0.0, (drone_m[0] + HALF_M) / PIXEL_M - 0.5],
            [0.0, -1 / PIXEL_M, (HALF_M - drone_m[1]) / PIXEL_M - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )
    to_image = ground_to_image(CAMERA, pose.attitude, pose.height_m)
    return cv2.warpPerspective(
        ground, to_image @ np.linalg.inv(to_pixel), (CAMERA.width, CAMERA.height)
    )


def another_season(picture: np.ndarray) -> np.ndarray:
    """Other colours, light where it was dark, and a sensor's noise."""
    noise = np.random.default_rng(9).normal(0, 6, picture.shape)
    changed = 215.0 - 0.6 * picture[..., [1, 2, 0]] + noise
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)
