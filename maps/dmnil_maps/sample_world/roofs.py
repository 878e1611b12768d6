"""The shape and colour of a roof over a raster box."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world import palette
from dmnil_maps.sample_world.scene import BuildingPart, FloatArray

FloatImage = NDArray[np.float32]
PARAPET_M = 0.4
SAW_M, RIB_M, PANEL_M = 8.0, 2.4, 1.7


@dataclass(frozen=True)
class RoofRaster:
    """A roof seen from above."""

    height_m: FloatImage  # (H, W)
    colour: FloatImage  # (H, W, 3) 0-255
    cover: FloatImage  # (H, W) 0-1, smooth at the edge


def shape_roof(
    part: BuildingPart,
    east: FloatArray,
    north: FloatArray,
    resolution_m: float,
    weathering: FloatImage,
) -> RoofRaster:
    """Height and colour of a part's roof at (1, W) east and (H, 1) north."""
    cosine, sine = np.cos(part.angle_rad), np.sin(part.angle_rad)
    u = ((east - part.east) * cosine + (north - part.north) * sine).astype(np.float32)
    v = ((north - part.north) * cosine - (east - part.east) * sine).astype(np.float32)
    half_u, half_v = part.length_m / 2, part.width_m / 2
    to_edge = np.minimum(half_u - np.abs(u), half_v - np.abs(v))
    cover = np.clip(to_edge / resolution_m + 0.5, 0, 1).astype(np.float32)
    rng = np.random.default_rng(part.seed)
    age = np.float32(1 + 0.07 * np.clip(rng.normal(), -2, 2))
    shift = rng.normal(0, 3.0, 3).astype(np.float32)
    height = np.full_like(u, part.height_m)
    if part.roof in ("gable", "hip"):
        climb = 1 - np.abs(v) / half_v
        if part.roof == "hip":
            climb = np.minimum(climb, (half_u - np.abs(u)) / half_v)
        height = height + part.roof_rise_m * np.clip(climb, 0, 1)
        rgb = np.array(palette.TILED_ROOFS[part.roof_colour % 9], np.float32) + shift
        gain = age * (1 + 0.07 * weathering)
        ridge = np.abs(v) < max(0.15, resolution_m * 0.6)
        gain = np.where(ridge, gain * np.float32(1.09), gain)
        colour = gain[..., None] * rgb
        _roof_windows(rng, u, v, half_u, half_v, colour)
    elif part.roof in ("metal", "sawtooth"):
        rgb = np.array(palette.METAL_ROOFS[part.roof_colour % 7], np.float32) + shift
        if part.roof == "sawtooth":
            saw = (u + half_u) / SAW_M % 1
            height = height + part.roof_rise_m * saw.astype(np.float32)
            rgb = np.where((saw > 0.9)[..., None], np.array([96, 108, 118], np.float32), rgb)
        else:
            height = height + part.roof_rise_m * np.clip(1 - np.abs(v) / half_v, 0, 1)
        ribs = 0.03 * np.sign(np.sin(u * (2 * np.pi / RIB_M)))
        colour = (age * (1 + ribs + 0.045 * weathering))[..., None] * rgb
        if part.roof == "metal" and rng.random() < 0.65:
            _skylights(rng, u, v, half_v, colour)
    elif part.roof == "solar":
        rgb = np.array(palette.SOLAR, np.float32)
        row = (v + half_v) % 2.6
        frame = (u % PANEL_M < 0.12) | (row % 1.0 < 0.07)
        colour = np.where(frame[..., None], rgb + 26, rgb) * np.float32(age)
        gap = row > 2.05
        colour = np.where(gap[..., None], np.array([150, 148, 142], np.float32), colour)
        height = np.where(gap, height - 0.35, height)
    elif part.roof == "equipment":
        rgb = np.array(palette.EQUIPMENT[part.roof_colour % 10], np.float32)
        colour = np.broadcast_to(rgb * age, (*u.shape, 3)) * (1 + 0.04 * weathering)[..., None]
    else:
        rgb = np.array(palette.FLAT_ROOFS[part.roof_colour % 6], np.float32) + shift
        colour = (age * (1 + 0.075 * weathering))[..., None] * rgb
        _ponding(rng, u, v, half_u, half_v, colour)
        rim = to_edge < PARAPET_M
        if min(half_u, half_v) > 3:
            height = np.where(rim, height + 0.45, height)
        colour = np.where(rim[..., None], rgb * np.float32(1.1) + 6, colour)
    return RoofRaster(height.astype(np.float32), colour.astype(np.float32), cover)


def _roof_windows(
    rng: np.random.Generator,
    u: FloatImage,
    v: FloatImage,
    half_u: float,
    half_v: float,
    colour: FloatImage,
) -> None:
    """Skylights or solar panels on some sloping roofs."""
    if rng.random() < 0.22:
        side = 1 if rng.random() < 0.5 else -1
        low, high = sorted(rng.uniform(-0.85, 0.85, 2) * half_u)
        panel = (u > low) & (u < high) & (side * v > 0.2 * half_v) & (side * v < 0.8 * half_v)
        colour[panel] = palette.SOLAR
        return
    for _ in range(int(rng.integers(0, 4))):
        spot = rng.uniform(-0.8, 0.8) * half_u, rng.choice([-0.5, 0.5]) * half_v
        pane = (np.abs(u - spot[0]) < 0.5) & (np.abs(v - spot[1]) < 0.65)
        colour[pane] = (74, 82, 90)


def _skylights(
    rng: np.random.Generator, u: FloatImage, v: FloatImage, half_v: float, colour: FloatImage
) -> None:
    """Rows of translucent strips on halls."""
    step = float(rng.choice([6.0, 8.0, 12.0]))
    along = (u % step) < 1.1
    across = (np.abs(v) > 0.22 * half_v) & (np.abs(v) < 0.78 * half_v)
    strips = along & across
    colour[strips] = 0.55 * colour[strips] + 0.45 * np.array([214, 220, 222], np.float32)


def _ponding(
    rng: np.random.Generator,
    u: FloatImage,
    v: FloatImage,
    half_u: float,
    half_v: float,
    colour: FloatImage,
) -> None:
    """Dark stains and repaired sheets on flat roofs."""
    for _ in range(int(rng.integers(1, 5))):
        centre = rng.uniform(-0.9, 0.9) * half_u, rng.uniform(-0.9, 0.9) * half_v
        size = rng.uniform(0.8, 5.0, 2)
        stain = np.exp(-(((u - centre[0]) / size[0]) ** 2) - ((v - centre[1]) / size[1]) ** 2)
        colour *= (1 - rng.uniform(-0.08, 0.2) * stain)[..., None].astype(np.float32)
    if rng.random() < 0.5:
        seam = rng.uniform(-0.6, 0.6) * half_u
        colour[u > seam] *= np.float32(rng.uniform(0.9, 1.08))
