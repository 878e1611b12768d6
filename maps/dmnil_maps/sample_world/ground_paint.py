"""The flat ground: patches, roads and paint, with textures, before any light falls on it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world import curves, palette
from dmnil_maps.sample_world.appearance import Appearance
from dmnil_maps.sample_world.noise import smooth_noise
from dmnil_maps.sample_world.raster_window import SUBPIXEL_BITS, RasterWindow, polygon_mask
from dmnil_maps.sample_world.scene import FloatArray, Patch, Road
from dmnil_maps.sample_world.scene_index import SceneIndex

TRAMLINE_SPACING_M, TRACK_GAUGE_M = 21.0, 1.9
TRAMLINED = ("wheat", "barley", "beet", "rape", "young_grain")
ROAD_MATERIAL = {"concrete": "concrete", "gravel": "gravel", "dirt": "dirt", "rail": "ballast"}
PAINT = {
    "white": (214, 214, 208),
    "yellow": (206, 176, 84),
    "rail": (150, 140, 134),
    "path": (108, 98, 90),
}


@dataclass
class _Canvas:
    window: RasterWindow
    tint: NDArray[np.uint8]  # (H, W, 3)
    material: NDArray[np.uint8]  # (H, W) index into palette.MATERIALS
    gain: NDArray[np.float32]  # (H, W) brightness of rows

    def fill(self, outline: FloatArray, rgb: tuple[float, float, float], material: str) -> None:
        points = self.window.fixed_point(outline)
        cv2.fillPoly(self.tint, [points], rgb, cv2.LINE_AA, SUBPIXEL_BITS)
        index = palette.MATERIAL_INDEX[material]
        cv2.fillPoly(self.material, [points], index, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.fillPoly(self.gain, [points], 1.0, cv2.LINE_8, SUBPIXEL_BITS)


def paint_ground(
    index: SceneIndex, appearance: Appearance, window: RasterWindow
) -> NDArray[np.float32]:
    """(H, W, 3) colours 0-255 of the ground in even sunlight."""
    shape = window.height, window.width
    canvas = _Canvas(
        window,
        np.zeros((*shape, 3), np.uint8),
        np.zeros(shape, np.uint8),
        np.ones(shape, np.float32),
    )
    world = index.world
    for at in index.touching("patches", window):
        _paint_patch(canvas, world.patches[at], appearance)
    roads = [world.roads[at] for at in index.touching("roads", window)]
    for road in roads:
        if road.sidewalk_m > 0:
            _paint_road(canvas, road, road.width_m + 2 * road.sidewalk_m, "sidewalk", appearance)
    for road in roads:
        material = ROAD_MATERIAL.get(road.surface, "asphalt")
        if material == "asphalt" and road.seed % 3 == 0:
            material = "asphalt_old"
        _paint_road(canvas, road, road.width_m, material, appearance)
    colour = _textured(canvas, appearance)
    _paint_stripes(index, window, colour)
    return colour


def _paint_patch(canvas: _Canvas, patch: Patch, appearance: Appearance) -> None:
    material = patch.material
    if material == "field":
        material = palette.crop_of(patch.seed, appearance.season, appearance.change_seed)
    look = palette.look_of(material, appearance.season)
    canvas.fill(patch.outline, _varied(look, patch.seed), material)
    if patch.row_spacing_m > 0 and look.rows > 0:
        _paint_rows(canvas, patch, look.rows, material)


def _varied(look: palette.Look, seed: int) -> tuple[float, float, float]:
    """The look's colour, a little different for every patch."""
    rng = np.random.default_rng(seed)
    brightness = 1 + look.variety * float(np.clip(rng.normal(), -1.8, 1.8))
    towards = float(rng.beta(1.5, 2.5)) * min(1.0, 14 * look.variety)
    rgb = np.array(look.rgb) + towards * np.subtract(look.drift_rgb, look.rgb)
    rgb = rgb * brightness + rng.normal(0, _hue_spread(look), 3)
    red, green, blue = (float(value) for value in np.clip(rgb, 0, 255))
    return red, green, blue


def _hue_spread(look: palette.Look) -> float:
    """Colour drift between patches, in 8-bit levels: greys stay grey."""
    vividness = max(look.rgb) - min(look.rgb)
    return 18 * look.variety * (1.0 if vividness > 16 else 0.25)


def _paint_rows(canvas: _Canvas, patch: Patch, contrast: float, material: str) -> None:
    """Crop rows, furrows or mowing stripes, with tramlines in grain."""
    box = canvas.window.clip_box(patch.outline)
    if box is None:
        return
    rows, columns = box
    east, north = canvas.window.ground_of(rows, columns)
    across = (-np.sin(patch.row_angle_rad) * east + np.cos(patch.row_angle_rad) * north).astype(
        np.float32
    )
    # Rows finer than about three pixels can't be seen: the pattern would only alias.
    visible = np.clip(patch.row_spacing_m / canvas.window.resolution_m / 2.6 - 1, 0, 1)
    gain = 1 + np.float32(contrast * visible) * np.sin(across * (2 * np.pi / patch.row_spacing_m))
    # Passes of the machine are a little lighter or darker than their neighbours.
    passes = np.random.default_rng(patch.seed).normal(0, 0.35 * contrast, 256).astype(np.float32)
    gain += passes[np.floor(across / (8 * max(patch.row_spacing_m, 0.4))).astype(np.int64) % 256]
    if material in TRAMLINED:
        phase = (across + patch.seed % 17) % TRAMLINE_SPACING_M
        wheel = (np.abs(phase - 3.0) < 0.3) | (np.abs(phase - 3.0 - TRACK_GAUGE_M) < 0.3)
        gain[wheel] *= np.float32(0.86)
    mask = polygon_mask(canvas.window, patch.outline, rows, columns)
    target = canvas.gain[rows, columns]
    np.copyto(target, gain.astype(np.float32), where=mask > 127)


def _paint_road(
    canvas: _Canvas, road: Road, width_m: float, material: str, appearance: Appearance
) -> None:
    look = palette.look_of(material, appearance.season)
    rgb = _varied(look, road.seed)
    canvas.fill(curves.ribbon(road.centreline, width_m), rgb, material)
    if material in ("asphalt", "asphalt_old"):
        _wear(canvas, road, rgb, material)
    if road.surface == "dirt":
        grass = palette.look_of("meadow", appearance.season)
        canvas.fill(curves.ribbon(road.centreline, 0.9), _varied(grass, road.seed), "meadow")


def _wear(canvas: _Canvas, road: Road, rgb: tuple[float, float, float], material: str) -> None:
    """Mended pieces and the tracks of wheels on a carriageway."""
    rng = np.random.default_rng([road.seed, 3])
    line = curves.resample(road.centreline, 4.0)
    for _ in range(int(rng.poisson(len(line) / 16))):
        at, reach = int(rng.integers(len(line))), int(rng.integers(2, 7))
        piece = line[at : at + reach]
        tone = float(rng.uniform(0.88, 1.07))
        if len(piece) > 1:
            moved = curves.offset(piece, float(rng.uniform(-0.3, 0.3)) * road.width_m)
            mended = (rgb[0] * tone, rgb[1] * tone, rgb[2] * tone)
            width = float(rng.uniform(0.8, 0.35 * road.width_m))
            canvas.fill(curves.ribbon(moved, width), mended, material)
    if road.width_m >= 6.5:
        for side in (-1, 1):
            for wheel in (-0.8, 0.8):
                middle = curves.offset(line, side * road.width_m / 4 + wheel)
                track = canvas.window.fixed_point(curves.ribbon(middle, 0.6))
                cv2.fillPoly(canvas.gain, [track], 0.965, cv2.LINE_8, SUBPIXEL_BITS)


def _textured(canvas: _Canvas, appearance: Appearance) -> NDArray[np.float32]:
    window = canvas.window
    tables = palette.texture_tables(appearance.season)
    grain = smooth_noise(window, max(0.35, window.resolution_m), 1)
    grain += 0.8 * smooth_noise(window, 0.9, 2)
    middle = smooth_noise(window, 2.9, 3) + 0.8 * smooth_noise(window, 6.7, 4)
    coarse = smooth_noise(window, 21.0, 5) + smooth_noise(window, 63.0, 6)
    drift = 0.5 + 0.33 * smooth_noise(window, 37.0, 7) + 0.22 * smooth_noise(window, 9.0, 8)
    drift += 0.12 * smooth_noise(window, 1.7, 9)
    drift = np.float32(0.75) * (np.clip(drift, 0, 1) - np.float32(0.35))
    gain = tables["fine"][canvas.material] * grain
    gain += tables["middle"][canvas.material] * middle
    gain += tables["coarse"][canvas.material] * coarse
    gain = np.clip(1 + 0.75 * gain, 0.45, 1.6) * canvas.gain
    colour = canvas.tint.astype(np.float32)
    colour += 0.9 * tables["drift"][canvas.material] * drift[..., None]
    colour *= gain[..., None]
    return np.clip(colour, 0, 255)


def _paint_stripes(index: SceneIndex, window: RasterWindow, colour: NDArray[np.float32]) -> None:
    """Worn paint: stripes narrower than a pixel lose contrast instead of vanishing."""
    worn = 0.72 + 0.16 * smooth_noise(window, 1.3, 10)
    masks: dict[str, NDArray[np.uint8]] = {}
    for at in index.touching("stripes", window):
        stripe = index.world.stripes[at]
        mask = masks.setdefault(stripe.paint, np.zeros((window.height, window.width), np.uint8))
        width_px = stripe.width_m / window.resolution_m
        points = window.fixed_point(stripe.points)
        if width_px >= 1.6:
            outline = window.fixed_point(curves.ribbon(stripe.points, stripe.width_m))
            cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        else:
            strength = int(255 * min(1.0, width_px / 1.1))
            cv2.polylines(mask, [points], False, strength, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    for paint in ("white", "yellow", "path", "rail"):
        if paint in masks:
            alpha = masks[paint].astype(np.float32) / 255 * np.clip(worn, 0.3, 1)
            colour += alpha[..., None] * (np.array(PAINT[paint], np.float32) - colour)
