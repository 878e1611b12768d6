"""What weather, light, motion and the video link do to a drone's picture.

Each effect is composed of kornia's filters, colour operations and fractals; JPEG is OpenCV's real
encoder. kornia's own rain and snow draw opaque lines, and turn dark pixels white; ours are
translucent streaks and flakes at several distances, and snow that lies on the ground.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import cv2
import kornia
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edge_runtime.contract.errors import ConfigError

CorruptionName = Literal[
    "fog",
    "rain",
    "snow",
    "night",
    "motion-blur",
    "overexposure",
    "underexposure",
    "jpeg",
]
CORRUPTIONS: tuple[CorruptionName, ...] = get_args(CorruptionName)
SEVERITIES = (1, 2, 3)

_REFERENCE_SIDE_PX = 480
_LONGEST_SIDE_PX = 1280
_FRACTAL_SIDE_PX = 257
_AIRLIGHT = (0.80, 0.82, 0.84)

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Fall:
    """Rain or snow in the air: layers near and far, in pixels of a picture 480 px high."""

    per_megapixel: int
    lengths_px: tuple[int, ...]
    thickness_px: tuple[float, ...]
    opacity: float
    veil: float


_FOG_DENSITY = (0.6, 1.2, 1.9)
_RAIN = (
    _Fall(3000, (9, 19), (0.6, 0.9), 0.60, 0.08),
    _Fall(5000, (11, 25), (0.6, 1.0), 0.65, 0.16),
    _Fall(8000, (13, 31), (0.6, 1.1), 0.65, 0.28),
)
_SNOW = (
    _Fall(1000, (3, 5), (0.7, 1.1), 0.75, 0.06),
    _Fall(2500, (3, 5, 7), (0.7, 1.0, 1.5), 0.80, 0.12),
    _Fall(4500, (3, 7, 9), (0.7, 1.1, 1.7), 0.80, 0.20),
)
_SNOW_COVER = (0.25, 0.45, 0.65)
_NIGHT_EXPOSURE = (0.12, 0.05, 0.02)
_NIGHT_PHOTONS = (400.0, 250.0, 150.0)
_MOTION_BLUR_PX = (7, 15, 29)
_OVEREXPOSURE_STOPS = (0.8, 1.5, 2.3)
_UNDEREXPOSURE_STOPS = (1.2, 2.3, 3.4)
_JPEG_QUALITY = (25, 12, 5)


def corrupt(image: Image, name: CorruptionName, severity: int, seed: int) -> Image:
    """A picture as it would be in bad conditions; the same seed gives the same picture.

    Lengths scale with the picture's shorter side, so that its resolution does not decide how much
    it suffers. A picture longer than 1280 px is first shrunk to that, as a video link would.

    Args:
        image: (H, W, 3) RGB.
        severity: 1 noticeable, 2 heavy, 3 at the edge of use.
    Returns:
        (H', W', 3) RGB, at most 1280 px long.
    Raises:
        ConfigError: If there is no such corruption or severity.
    """
    if name not in CORRUPTIONS:
        raise ConfigError(f"no corruption is called {name!r}: choose {', '.join(CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise ConfigError(f"severity is {severity}: choose 1, 2 or 3")
    image = _at_link_size(image)
    if name == "jpeg":
        return _jpeg(image, _JPEG_QUALITY[severity - 1])
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255.0
    random = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        changed = _EFFECTS[name](pixels, severity - 1, random)
    rounded = (changed.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
    return np.ascontiguousarray(rounded[0].permute(1, 2, 0).numpy())


def _fog(pixels: Tensor, level: int, random: torch.Generator) -> Tensor:
    """Haze of uneven thickness: transmission exp(-density), the rest is airlight."""
    density = _FOG_DENSITY[level] * (0.6 + 0.8 * _fractal(pixels, random))
    return _blend(pixels, _colour(_AIRLIGHT), 1.0 - torch.exp(-density))


def _rain(pixels: Tensor, level: int, random: torch.Generator) -> Tensor:
    """Grey light, a veil of distant drops and slanting streaks of near ones."""
    fall = _RAIN[level]
    dull = kornia.enhance.adjust_saturation(pixels, 0.8) * (0.92 - 0.08 * level)
    streaks = _falling(pixels, fall, 90.0 + _uniform(random, -20.0, 20.0), random)
    hazy = _blend(dull, _colour(_AIRLIGHT), torch.tensor(fall.veil))
    return _blend(hazy, _colour((0.85, 0.87, 0.90)), fall.opacity * streaks)


def _snow(pixels: Tensor, level: int, random: torch.Generator) -> Tensor:
    """Snow lying in patches, keeping some of the ground's shading, and flakes in the air."""
    cover = _SNOW_COVER[level]
    patches = torch.sigmoid(12.0 * (_fractal(pixels, random) - 1.0 + cover))
    grey = kornia.color.rgb_to_grayscale(pixels)
    # Steep and dark things (walls, trunks, shadows) stay bare.
    lies = (patches * torch.sigmoid(14.0 * (grey - 0.25))).clamp(max=0.92)
    white = _colour((0.97, 0.98, 1.0)) * (0.70 + 0.30 * grey)
    fall = _SNOW[level]
    hazy = _blend(_blend(pixels, white, lies), _colour((0.86, 0.87, 0.89)), torch.tensor(fall.veil))
    flakes = _falling(pixels, fall, 90.0 + _uniform(random, -35.0, 35.0), random)
    return _blend(hazy, torch.ones(1, 3, 1, 1), fall.opacity * flakes)


def _night(pixels: Tensor, level: int, random: torch.Generator) -> Tensor:
    """Little light, pale and bluish, a long exposure's blur, and the noise of few photons."""
    linear = kornia.color.rgb_to_linear_rgb(pixels)
    grey = kornia.color.rgb_to_grayscale(linear)
    dim = _blend(linear, grey, torch.tensor(0.35)) * _colour((0.80, 0.90, 1.15))
    scale = _scale(pixels)
    kernel = _odd(3.0 * scale)
    dim = kornia.filters.gaussian_blur2d(dim, (kernel, kernel), (0.6 * scale, 0.6 * scale))
    photons = _NIGHT_PHOTONS[level]
    exposed = (dim * _NIGHT_EXPOSURE[level]).clamp(min=0.0)
    # The camera raises its gain by half of what is missing, in stops: noise comes up with it.
    gain = _NIGHT_EXPOSURE[level] ** -0.5
    noisy = torch.poisson(exposed * photons * 4.0, generator=random) / (photons * 4.0)
    read_noise = 0.4 / photons * torch.randn(pixels.shape, generator=random)
    return kornia.color.linear_rgb_to_rgb(((noisy + read_noise) * gain).clamp(0.0, 1.0))


def _motion_blur(pixels: Tensor, level: int, random: torch.Generator) -> Tensor:
    """A straight smear in a random direction."""
    kernel = _odd(_MOTION_BLUR_PX[level] * _scale(pixels), _largest_kernel(pixels))
    return kornia.filters.motion_blur(
        pixels,
        kernel,
        _uniform(random, 0.0, 180.0),
        0.0,
        border_type="reflect",
        mode="bilinear",
    )


def _exposure(
    pixels: Tensor, level: int, random: torch.Generator, stops: tuple[float, ...]
) -> Tensor:
    """More or less light on the sensor, clipped at white, noise in what is dark."""
    linear = kornia.color.rgb_to_linear_rgb(pixels) * 2.0 ** stops[level]
    noise = 0.002 * torch.randn(pixels.shape, generator=random)
    return kornia.color.linear_rgb_to_rgb((linear + noise).clamp(0.0, 1.0))


_EFFECTS: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "fog": _fog,
    "rain": _rain,
    "snow": _snow,
    "night": _night,
    "motion-blur": _motion_blur,
    "overexposure": partial(_exposure, stops=_OVEREXPOSURE_STOPS),
    "underexposure": partial(_exposure, stops=tuple(-stop for stop in _UNDEREXPOSURE_STOPS)),
}


def _jpeg(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _falling(pixels: Tensor, fall: _Fall, angle_deg: float, random: torch.Generator) -> Tensor:
    """Coverage (1, 1, H, W) in 0-1 by what falls: points spread out, then smeared, per layer."""
    height, width = pixels.shape[-2:]
    scale = _scale(pixels)
    # Counted on the picture at its reference size: a finer picture shows the same drops, larger.
    count = fall.per_megapixel * height * width / scale**2 / 1e6 / len(fall.lengths_px)
    bare = torch.ones(1, 1, height, width)
    for length, thickness in zip(fall.lengths_px, fall.thickness_px, strict=True):
        points = torch.rand(1, 1, height, width, generator=random) < count / (height * width)
        sigma = max(0.4, thickness * scale)
        kernel = _odd(6.0 * sigma, _largest_kernel(pixels))
        drops = kornia.filters.gaussian_blur2d(points.float(), (kernel, kernel), (sigma, sigma))
        drops = (drops * (2.0 * math.pi * sigma**2)).clamp(max=1.0)
        smear = _odd(length * scale, _largest_kernel(pixels))
        streaks = kornia.filters.motion_blur(
            drops, smear, angle_deg, 0.0, border_type="reflect", mode="bilinear"
        )
        # A smear spreads a drop's light over its length; the eye sees streaks, so give some back.
        bare = bare * (1.0 - (streaks * math.sqrt(smear)).clamp(max=1.0))
    return 1.0 - bare


def _fractal(pixels: Tensor, random: torch.Generator) -> Tensor:
    """A cloudy field (1, 1, H, W) in 0-1."""
    side = _FRACTAL_SIDE_PX
    field = kornia.contrib.diamond_square(
        (1, 1, side, side),
        roughness=0.5,
        random_scale=0.7,
        random_fn=partial(torch.rand, generator=random),
        normalize_range=(0.0, 1.0),
    )
    return torch.nn.functional.interpolate(
        field, size=pixels.shape[-2:], mode="bilinear", align_corners=True
    )


def _blend(below: Tensor, above: Tensor, share: Tensor) -> Tensor:
    return below + share * (above - below)


def _colour(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb).view(1, 3, 1, 1)


def _uniform(random: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=random))


def _scale(pixels: Tensor) -> float:
    return min(pixels.shape[-2:]) / _REFERENCE_SIDE_PX


def _largest_kernel(pixels: Tensor) -> int:
    """Reflected borders reach no further than the picture itself."""
    return 2 * (min(pixels.shape[-2:]) - 1) + 1


def _odd(size_px: float, largest: int = 1 << 30) -> int:
    """The nearest odd kernel size, at least 3 and at most `largest`."""
    return max(3, min(2 * round((size_px - 1.0) / 2.0) + 1, largest))


def _at_link_size(image: Image) -> Image:
    shrink = _LONGEST_SIDE_PX / max(image.shape[:2])
    if shrink >= 1.0:
        return image
    size = round(image.shape[1] * shrink), round(image.shape[0] * shrink)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
