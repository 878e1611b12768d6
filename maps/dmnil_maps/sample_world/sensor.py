"""What a camera makes of the light: haze, colour response, blur, vignetting, noise."""

import cv2
import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.appearance import Appearance

HAZE_RGB = np.array([202, 207, 212], np.float32)


def expose(
    colour: NDArray[np.uint8],
    appearance: Appearance,
    haze: NDArray[np.float32] | float,
    noise_seed: int,
) -> NDArray[np.uint8]:
    """The picture that the sensor of an appearance records.

    Args:
        colour: (H, W, 3) RGB scene colours.
        haze: Share of haze per pixel (H, W), or one number, 0-1.
        noise_seed: Same seed, same noise.
    """
    image = colour.astype(np.float32)
    veil = np.asarray(haze, np.float32)[..., None] if np.ndim(haze) else np.float32(haze)
    image += veil * (HAZE_RGB - image)
    image *= np.float32(appearance.exposure) * np.array(appearance.white_balance, np.float32)
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
    image = grey[..., None] + np.float32(appearance.saturation) * (image - grey[..., None])
    if appearance.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), appearance.blur_px)
    if appearance.sharpening > 0:
        soft = cv2.GaussianBlur(image, (0, 0), 1.3)
        image += np.float32(appearance.sharpening) * (image - soft)
    if appearance.vignetting > 0:
        image *= _vignette(image.shape[0], image.shape[1], appearance.vignetting)[..., None]
    tone = np.linspace(0, 1, 1024)
    curve = np.clip(0.45 + appearance.contrast * (tone - 0.45), 0, 1) ** appearance.gamma
    image = np.take(
        (255 * curve).astype(np.float32), np.clip(image * (1023 / 255), 0, 1023).astype(np.int32)
    )
    if appearance.noise > 0:
        image += _grain(image.shape[0], image.shape[1], appearance.noise, noise_seed)
    recorded: NDArray[np.uint8] = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return recorded


def _vignette(height: int, width: int, strength: float) -> NDArray[np.float32]:
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * (height / width)
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    falloff: NDArray[np.float32] = 1 - np.float32(strength) * (rows**2 + columns**2) / np.float32(
        1 + (height / width) ** 2
    )
    return falloff


def _grain(height: int, width: int, sigma: float, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, 23])
    grain = rng.standard_normal((height, width, 1), np.float32) * np.float32(0.8 * sigma)
    colour = rng.standard_normal((height, width, 3), np.float32) * np.float32(0.6 * sigma)
    both: NDArray[np.float32] = grain + colour
    return both
