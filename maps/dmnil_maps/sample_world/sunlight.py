"""Sun, shadows and sky light on a height raster."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.appearance import Appearance

FloatImage = NDArray[np.float32]
SHADE_RGB = np.array(
    [0.40, 0.44, 0.50], np.float32
)  # light left in full shadow: sky only, hence bluish
LONGEST_SHADOW_M = 75.0


@dataclass(frozen=True)
class Sun:
    """Direction to the sun in raster axes."""

    column: float  # unit horizontal vector, columns run east
    row: float  # rows run south
    tangent: float  # of the elevation

    @classmethod
    def of(cls, appearance: Appearance) -> "Sun":
        """The sun of an appearance."""
        azimuth = np.deg2rad(appearance.sun_azimuth_deg)
        elevation = np.deg2rad(min(appearance.sun_elevation_deg, 85.0))
        return cls(
            float(np.sin(azimuth)),
            float(-np.cos(azimuth)),
            float(np.tan(elevation)),
        )


def shadow_tops(height_m: FloatImage, sun: Sun, resolution_m: float) -> FloatImage:
    """(H, W) height above ground up to which a point lies in shadow; 0 where the sun reaches down.

    The highest shadow over 1, 2, 4, ... pixels towards the sun, each from the one before.
    """
    longest_px = min(LONGEST_SHADOW_M, float(height_m.max()) / sun.tangent) / resolution_m
    first = _towards_sun(height_m, sun, 1.0) - np.float32(resolution_m * sun.tangent)
    tops: FloatImage = np.maximum(first, np.float32(0))
    reach = 1
    while reach < longest_px:
        moved = _towards_sun(tops, sun, reach) - np.float32(reach * resolution_m * sun.tangent)
        tops = np.maximum(tops, moved)
        reach *= 2
    return tops


def _towards_sun(image: FloatImage, sun: Sun, pixels: float) -> FloatImage:
    """The image seen from each pixel a way towards the sun; 0 beyond the border."""
    shift = np.array([[1, 0, sun.column * pixels], [0, 1, sun.row * pixels]], np.float32)
    moved = cv2.warpAffine(
        image,
        shift,
        (image.shape[1], image.shape[0]),
        flags=(cv2.INTER_LINEAR if pixels == 1 else cv2.INTER_NEAREST) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    return moved.astype(np.float32, copy=False)


def light_on(
    height_m: FloatImage, tops_m: FloatImage, sun: Sun, appearance: Appearance, resolution_m: float
) -> FloatImage:
    """(H, W, 3) light relative to flat ground in full sun."""
    softness_px = 0.25 / resolution_m
    shaded = np.clip((tops_m - height_m - 0.12) / 0.5, 0, 1)
    shaded = cv2.GaussianBlur(shaded, (0, 0), max(0.4, softness_px))
    shaded *= np.float32(appearance.shadow_strength)
    # Slope towards the sun; walls are steeper than the picture can show, hence the bounds.
    smooth = cv2.GaussianBlur(height_m, (0, 0), max(0.4, 0.22 / resolution_m))
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, scale=1 / (8 * resolution_m))
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, scale=1 / (8 * resolution_m))
    steep = np.sqrt(1 + np.minimum(dx * dx + dy * dy, 4.0))
    towards = np.clip(dx * np.float32(sun.column) + dy * np.float32(sun.row), -1.8, 1.8)
    facing = np.clip((1 - towards / np.float32(sun.tangent)) / steep, 0.0, 1.7)
    facing = 1 + np.float32(0.8 * appearance.shadow_strength) * (facing - 1)
    sunlit = facing * (1 - shaded)
    # Sky light is weaker close to tall things.
    around = cv2.resize(height_m, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    around = cv2.GaussianBlur(around, (0, 0), max(0.5, 1.8 / (4 * resolution_m)))
    around = cv2.resize(around, (height_m.shape[1], height_m.shape[0]))
    open_sky = 1 - np.clip(0.045 * (around - height_m), 0, 0.34)
    shade = open_sky[..., None] * SHADE_RGB
    light: FloatImage = shade + sunlit[..., None] * (1 - SHADE_RGB)
    return light
