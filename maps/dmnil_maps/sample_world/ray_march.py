"""Where the rays of a perspective view meet a height raster."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.surface_store import POOL_PX, StoredWindow

FloatImage = NDArray[np.float32]
BAND_ROWS = 24
STEP_M = 0.45  # horizontal, near; farther off as much as a pixel covers
LOWEST_M = 0.06
REFINEMENTS = 4


@dataclass(frozen=True)
class Hits:
    """Per pixel, in the window's pixel units (centres at integers)."""

    column: FloatImage  # (H, W)
    row: FloatImage  # (H, W)
    height_m: FloatImage  # (H, W)


def march(
    window: StoredWindow,
    camera_column: float,
    camera_row: float,
    camera_height_m: float,
    ground_column: FloatImage,
    ground_row: FloatImage,
    footprint_m: FloatImage,
) -> Hits:
    """First meeting of every ray with the surface.

    Args:
        ground_column, ground_row: (H, W) where each ray would reach height 0.
        footprint_m: (H, W) ground size of a pixel there.
    """
    column, row = ground_column.copy(), ground_row.copy()
    height = np.zeros_like(column)
    flat = window.height_cm.ravel() if window.height_cm.flags.c_contiguous else None
    heights = np.ascontiguousarray(window.height_cm).ravel() if flat is None else flat
    width = window.height_cm.shape[1]
    for top in range(0, len(column), BAND_ROWS):
        band = slice(top, top + BAND_ROWS)
        _march_band(
            heights,
            width,
            window,
            (camera_column, camera_row, camera_height_m),
            column[band],
            row[band],
            height[band],
            float(footprint_m[band].mean()),
        )
    return Hits(column, row, height)


def _march_band(
    heights: NDArray[np.uint16],
    width: int,
    window: StoredWindow,
    camera: tuple[float, float, float],
    column: FloatImage,
    row: FloatImage,
    height: FloatImage,
    footprint_m: float,
) -> None:
    """March one band of pixels in place, from the highest thing that it may meet down to 0."""
    camera_column, camera_row, camera_height = camera
    to_column = (column - np.float32(camera_column)).ravel()
    to_row = (row - np.float32(camera_row)).ravel()
    # Fixed-point height of the ray at a share s of the way to the ground: camera_height (1 - s).
    start = _highest(window, camera, column, row)
    if start <= LOWEST_M:
        return
    start = min(start + 0.05, camera_height - 0.5)
    reach_m = float(np.hypot(to_column, to_row).max()) * window.resolution_m
    step_m = max(STEP_M, 0.8 * footprint_m)
    drop = np.clip(step_m * camera_height / max(reach_m, 1.0), 0.08, 1.2)
    levels = np.append(np.arange(start, LOWEST_M, -drop), LOWEST_M)
    alive = np.arange(to_column.size)
    alive_column, alive_row = to_column, to_row
    hit_level = np.full(to_column.size, -1.0, np.float32)
    for count, level in enumerate(levels):
        share = np.float32(1 - level / camera_height)
        at = _index(alive_column, alive_row, share, camera_column, camera_row, width)
        met = heights[at] >= np.uint16(max(0, level * 100))
        hit_level[alive[met]] = level
        if count % 4 == 3 or count == len(levels) - 1:
            left = hit_level[alive] < 0
            alive, alive_column, alive_row = alive[left], alive_column[left], alive_row[left]
            if alive.size == 0:
                break
        else:
            # A ray that has met something must not be moved down by a later level.
            keep = ~met
            if met.any():
                alive, alive_column, alive_row = alive[keep], alive_column[keep], alive_row[keep]
    found = np.flatnonzero(hit_level >= 0)
    low = hit_level[found]
    high = low + np.float32(drop)
    found_column, found_row = to_column[found], to_row[found]
    for _ in range(REFINEMENTS):
        middle = (low + high) / 2
        share = 1 - middle / np.float32(camera_height)
        at = _index(found_column, found_row, share, camera_column, camera_row, width)
        met = heights[at] >= middle * 100
        low, high = np.where(met, middle, low), np.where(met, high, middle)
    share = 1 - low / np.float32(camera_height)
    column.reshape(-1)[found] = camera_column + found_column * share
    row.reshape(-1)[found] = camera_row + found_row * share
    height.reshape(-1)[found] = low


def _index(
    to_column: FloatImage,
    to_row: FloatImage,
    share: FloatImage | np.float32,
    camera_column: float,
    camera_row: float,
    width: int,
) -> NDArray[np.int32]:
    columns = (to_column * share + np.float32(camera_column + 0.5)).astype(np.int32)
    rows = (to_row * share + np.float32(camera_row + 0.5)).astype(np.int32)
    index: NDArray[np.int32] = rows * np.int32(width) + columns
    return index


def _highest(
    window: StoredWindow, camera: tuple[float, float, float], column: FloatImage, row: FloatImage
) -> float:
    """The highest point that the band's rays may meet, in metres."""
    tallest = float(window.highest_cm.max()) / 100
    share = max(0.0, 1 - tallest / camera[2])
    columns = np.array([column.min(), column.max()])
    rows = np.array([row.min(), row.max()])
    columns = np.append(columns, camera[0] + (columns - camera[0]) * share)
    rows = np.append(rows, camera[1] + (rows - camera[1]) * share)
    limit = window.highest_cm.shape
    top, bottom = np.clip([rows.min() // POOL_PX, rows.max() // POOL_PX + 1], 0, limit[0])
    left, right = np.clip([columns.min() // POOL_PX, columns.max() // POOL_PX + 1], 0, limit[1])
    piece = window.highest_cm[int(top) : int(bottom), int(left) : int(right)]
    return float(piece.max()) / 100 if piece.size else 0.0
