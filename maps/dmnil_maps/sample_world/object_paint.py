"""What stands on the ground, as rasters: heights, colours and identities."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world import palette, roofs
from dmnil_maps.sample_world.appearance import Appearance
from dmnil_maps.sample_world.noise import smooth_noise
from dmnil_maps.sample_world.raster_window import SUBPIXEL_BITS, RasterWindow
from dmnil_maps.sample_world.scene_index import SceneIndex

VEGETATION, CAR = 65535, 65534  # values of `owner` besides part index + 1
CROWN_SHAPES = 24


@dataclass
class ObjectLayers:
    """Rasters of one window."""

    window: RasterWindow
    height_m: NDArray[np.float32]  # (H, W); 0 on bare ground
    owner: NDArray[np.uint16]  # (H, W); 0 ground, part index + 1, VEGETATION or CAR
    colour: NDArray[np.float32]  # (H, W, 3) 0-255
    opacity: NDArray[np.float32]  # (H, W); under 1 at edges and in leafless crowns


def paint_objects(
    index: SceneIndex, appearance: Appearance, window: RasterWindow, absent: frozenset[int]
) -> ObjectLayers:
    """Everything above ground, except the buildings numbered in `absent`."""
    shape = window.height, window.width
    layers = ObjectLayers(
        window,
        np.zeros(shape, np.float32),
        np.zeros(shape, np.uint16),
        np.zeros((*shape, 3), np.float32),
        np.zeros(shape, np.float32),
    )
    _paint_hedges(index, appearance, layers)
    _paint_cars(index, appearance, layers)
    weathering = 0.55 * smooth_noise(window, 0.8, 11) + 0.6 * smooth_noise(window, 3.1, 12)
    for at in index.touching("parts", window):
        part = index.world.parts[at]
        if part.building in absent:
            continue
        box = window.clip_box(part.corners())
        if box is not None:
            east, north = window.ground_of(*box)
            roof = roofs.shape_roof(part, east, north, window.resolution_m, weathering[box])
            inside = (roof.cover > 0.5) & (roof.height_m >= layers.height_m[box])
            _lay(layers, box, roof.height_m, roof.colour, roof.cover, inside, int(at) + 1)
    _paint_trees(index, appearance, layers)
    return layers


def _lay(
    layers: ObjectLayers,
    box: tuple[slice, slice],
    height_m: NDArray[np.float32],
    colour: NDArray[np.float32],
    opacity: NDArray[np.float32],
    where: NDArray[np.bool_],
    owner: int,
) -> None:
    np.copyto(layers.height_m[box], height_m, where=where)
    np.copyto(layers.owner[box], np.uint16(owner), where=where)
    np.copyto(layers.colour[box], colour, where=where[..., None])
    np.copyto(layers.opacity[box], opacity, where=where)


def _paint_hedges(index: SceneIndex, appearance: Appearance, layers: ObjectLayers) -> None:
    rgb = np.array(palette.look_of("hedge", appearance.season).rgb, np.float32)
    window = layers.window
    clumps = 1 + 0.13 * smooth_noise(window, 0.7, 13)
    for at in index.touching("hedges", window):
        hedge = index.world.hedges[at]
        box = window.clip_box(hedge.centreline, pad=int(3 / window.resolution_m))
        if box is None:
            continue
        mask = np.zeros(layers.height_m[box].shape, np.uint8)
        shift = np.array([box[1].start, box[0].start]) << SUBPIXEL_BITS
        points = (window.fixed_point(hedge.centreline) - shift).astype(np.int32)
        thickness = max(1, round(hedge.width_m / window.resolution_m))
        cv2.polylines(mask, [points], False, 255, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
        cover = mask.astype(np.float32) / np.float32(255)
        height = np.float32(1) * hedge.height_m * cover * np.clip(clumps[box], 0.6, 1.4)
        colour = rgb * np.clip(clumps[box], 0.7, 1.3)[..., None]
        _lay(layers, box, height, colour, cover, cover > 0.3, VEGETATION)


def _paint_cars(index: SceneIndex, appearance: Appearance, layers: ObjectLayers) -> None:
    window, cars = layers.window, index.world.cars
    rng = np.random.default_rng([index.world.seed, appearance.change_seed, 7])
    present = rng.random(len(cars)) < cars["presence"]
    colours = rng.integers(0, len(palette.CARS), len(cars))
    shift = rng.normal(0, 0.35, len(cars))
    for at in index.touching("cars", window):
        if not present[at]:
            continue
        car = cars[at]
        angle = float(car["angle_rad"])
        axis = np.array([np.cos(angle), np.sin(angle)])
        spot = np.array([car["east"], car["north"]]) + shift[at] * axis
        half = float(car["length_m"]) / 2
        width = 0.92 if half < 2.6 else 1.05
        box = window.clip_box(np.stack([spot - half, spot + half]))
        if box is None:
            continue
        east, north = window.ground_of(*box)
        u = ((east - spot[0]) * axis[0] + (north - spot[1]) * axis[1]).astype(np.float32)
        v = (-(east - spot[0]) * axis[1] + (north - spot[1]) * axis[0]).astype(np.float32)
        edge = np.minimum(half - np.abs(u), width - np.abs(v))
        corner = edge - 0.25 * np.maximum(np.abs(u) / half + np.abs(v) / width - 1.72, 0) * 4
        cover = np.clip(corner / window.resolution_m + 0.5, 0, 1).astype(np.float32)
        cabin = (u > -0.78 * half) & (u < 0.38 * half) & (np.abs(v) < width - 0.12)
        tall = 1.45 if half < 2.6 else 2.2
        height = np.where(cabin, tall, 0.85).astype(np.float32)
        glass = cabin & ((u > 0.12 * half) | (u < -0.6 * half) | (np.abs(v) > width - 0.26))
        body = np.array(palette.CARS[colours[at]], np.float32)
        colour = np.where(glass[..., None], np.float32(0.25) * body + 28, body).astype(np.float32)
        _lay(layers, box, height, colour, cover, cover > 0.4, CAR)


@lru_cache(maxsize=2048)
def _crown(variant: int, diameter_px: int, cone: bool) -> tuple[NDArray[np.float32], ...]:
    """Relative height (0 where no crown) and brightness of a crown: a heap of round lobes."""
    rng = np.random.default_rng([variant, 5])
    size = diameter_px + 2
    axis = (np.arange(size, dtype=np.float32) - (size - 1) / 2) / (diameter_px / 2)
    x, y = np.meshgrid(axis, axis)
    lobes = 7 if cone else int(rng.integers(9, 16))
    top = np.zeros_like(x)
    tone = np.ones_like(x)
    for lobe in range(lobes):
        turn = 2.4 * lobe + rng.uniform(-0.5, 0.5)  # golden angle: lobes spread evenly
        out = 0.0 if lobe == 0 else 0.62 * np.sqrt((lobe + 0.5) / lobes) * rng.uniform(0.8, 1.1)
        radius = rng.uniform(0.32, 0.5) if lobe else 0.55
        square = (x - out * np.cos(turn)) ** 2 + (y - out * np.sin(turn)) ** 2
        inside = square < radius**2
        high = 0.75 - 0.3 * out**2 + np.sqrt(np.maximum(radius**2 - square, 0))
        front = inside & (high > top)
        top = np.where(front, high, top)
        tone = np.where(front, rng.uniform(0.86, 1.12), tone)
    grains = max(4, size // 3)
    fine = rng.standard_normal((grains, grains)).astype(np.float32)
    leaves = cv2.resize(fine, (size, size), interpolation=cv2.INTER_LINEAR)
    crown = top > 0
    padded = np.pad(crown.astype(np.uint8), 1)
    inward = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1] / (diameter_px / 2)
    height = top / max(float(top.max()), 1e-6)
    if cone:
        height = np.clip(1.02 - np.hypot(x, y) * (1 + 0.12 * (1 - tone)), 0.05, 1)
    else:
        height = height * (0.2 + 0.8 * np.clip(inward / 0.34, 0, 1) ** 0.45)
    height = np.where(crown, np.clip(height + (0.03 if cone else 0.06) * leaves, 0.08, 1.15), 0)
    # The rim and the gaps between lobes lie in the shade of the crown itself.
    brightness = (0.7 + 0.36 * height) * tone * (1 + 0.11 * leaves)
    return height.astype(np.float32), np.clip(brightness, 0.5, 1.4).astype(np.float32)


def _paint_trees(index: SceneIndex, appearance: Appearance, layers: ObjectLayers) -> None:
    window, trees = layers.window, index.world.trees
    chosen = index.touching("trees", window)
    twigs = smooth_noise(window, max(0.3, window.resolution_m), 14) > 0.15
    full = np.ones((1, 1), np.float32)
    centres = window.to_pixels(np.stack([trees["east"], trees["north"]], 1)[chosen])
    for at, (column, row) in zip(chosen, centres, strict=True):
        tree = trees[at]
        variant = int(tree["variant"])
        species = palette.SPECIES[int(tree["species"])]
        rgb, bare = crown_colour(species, variant, appearance.season)
        diameter = max(3, round(2 * float(tree["radius_m"]) / window.resolution_m))
        height, brightness = _crown(variant % CROWN_SHAPES, diameter, species.cone)
        left, top = round(column - (diameter + 1) / 2), round(row - (diameter + 1) / 2)
        rows = slice(max(top, 0), min(top + diameter + 2, window.height))
        columns = slice(max(left, 0), min(left + diameter + 2, window.width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        part = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        box = rows, columns
        tall = height[part] * (float(tree["height_m"]) * (0.82 if bare else 1.0))
        higher = tall > layers.height_m[box]
        colour = brightness[part][..., None] * rgb
        opacity = np.broadcast_to(full, tall.shape)
        if bare:  # one sees through a leafless crown: only its twigs have height
            higher &= twigs[box]
        _lay(layers, box, tall, colour, opacity, higher, VEGETATION)


def crown_colour(
    species: palette.Species, variant: int, season: palette.Season
) -> tuple[NDArray[np.float32], bool]:
    """A tree's crown colour and whether it is leafless."""
    rng = np.random.default_rng(variant)
    mood, jitter = float(rng.random()), rng.normal(0, 1, 2)
    summer = np.array(species.summer, np.float32)
    bare = species.sheds and (
        season == "winter"
        or (season == "autumn" and mood > 0.86)
        or (season == "spring" and mood > 0.8)
    )
    if bare:
        rgb = np.array(palette.BARE_CROWN, np.float32)
    elif season == "autumn":
        rgb = summer + min(1.0, mood * 1.05) * (np.array(species.autumn, np.float32) - summer)
    elif season == "spring":
        rgb = np.array(species.spring, np.float32)
    else:
        rgb = summer
    rgb = rgb * np.float32(1 + 0.09 * jitter[0]) + np.float32(5 * jitter[1]) * np.array(
        [1, 0.3, 0], np.float32
    )
    return np.clip(rgb, 10, 250).astype(np.float32), bare
