"""Weather between a drone and the ground, painted over a rendered frame."""

from __future__ import annotations

import cv2
import numpy as np

WEATHER = ("clear", "clear", "clear", "clear", "fog", "rain", "snow", "dusk", "clear", "night")
"""Ten flights' weather, in turns."""
_FOG_GREY = np.array([205.0, 208.0, 212.0], np.float32)


def weathered(picture: np.ndarray, weather: str, strength: float, seed: int) -> np.ndarray:
    """The frame (H, W, 3) RGB as a camera sees it in this weather.

    Args:
        strength: 0 (hardly) to 1 (as bad as it gets while drones still fly).
        seed: Of drops, flakes and noise; another one for every frame.
    """
    rng = np.random.default_rng(seed)
    image = picture.astype(np.float32)
    if weather == "fog":
        image = _veiled(image, 0.35 + 0.45 * strength)
        image = cv2.GaussianBlur(image, (0, 0), 0.6 + 1.2 * strength)
    elif weather == "rain":
        image = _veiled(image, 0.15 + 0.3 * strength) * np.float32(0.85)
        image = cv2.GaussianBlur(image, (0, 0), 0.5 + 0.8 * strength)
        image = _streaked(image, rng, round(150 + 350 * strength), 14, 55.0)
        image = _behind_drops(image, rng, round(2 + 8 * strength))
    elif weather == "snow":
        # Fresh snow brightens what lies level and is not dark already: fields before roofs.
        image += (245.0 - image) * np.float32(0.15 + 0.35 * strength)
        image = _veiled(image, 0.1 + 0.2 * strength)
        image = _streaked(image, rng, round(100 + 300 * strength), 3, 120.0)
    elif weather == "dusk":
        image *= np.array([0.55, 0.5, 0.6], np.float32) * np.float32(1.0 - 0.5 * strength)
        image += rng.normal(0.0, 4.0 + 8.0 * strength, image.shape).astype(np.float32)
    elif weather == "night":
        image *= np.float32(0.10 - 0.08 * strength)
        image += rng.normal(0.0, 8.0 + 8.0 * strength, image.shape).astype(np.float32)
    return np.clip(image, 0.0, 255.0).astype(np.uint8)


def _veiled(image: np.ndarray, share: float) -> np.ndarray:
    return image + np.float32(share) * (_FOG_GREY - image)


def _streaked(
    image: np.ndarray, rng: np.random.Generator, count: int, length_px: int, brightness: float
) -> np.ndarray:
    streaks = np.zeros(image.shape[:2], np.float32)
    starts = rng.uniform(0.0, [image.shape[1], image.shape[0]], (count, 2))
    slope = rng.normal(0.0, 0.2)
    for x, y in starts:
        end = round(x + slope * length_px), round(y + length_px)
        cv2.line(streaks, (round(x), round(y)), end, brightness, 1, cv2.LINE_AA)
    return image + cv2.GaussianBlur(streaks, (0, 0), 0.7)[..., None]


def _behind_drops(image: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Drops on the lens: round patches of blur."""
    mask = np.zeros(image.shape[:2], np.float32)
    for x, y in rng.uniform(0.0, [image.shape[1], image.shape[0]], (count, 2)):
        cv2.circle(mask, (round(x), round(y)), int(rng.integers(6, 24)), 1.0, cv2.FILLED)
    mask = cv2.GaussianBlur(mask, (0, 0), 2.0)[..., None]
    return image + mask * (cv2.GaussianBlur(image, (0, 0), 8.0) - image)
