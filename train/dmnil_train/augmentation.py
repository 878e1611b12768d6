"""Random variation of training images, on kornia: the same seed varies them alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import kornia.augmentation as kornia_augmentation
import kornia.geometry.transform as kornia_transform
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_runtime.contract.errors import ConfigError

_MEAN_GREY = 0.45
_ERASED_SHARE = (0.05, 0.3)
_ERASED_ASPECT = (0.3, 3.0)


@dataclass(frozen=True)
class AugmentationConfig:
    """How images are varied; the defaults are the paper's.

    Args:
        brightness: Factor drawn from 1 - x to 1 + x; 0 leaves it.
        contrast: The same.
        saturation: The same.
        hue: Turn of the colour circle, at most this share of it, 0-0.5.
        gamma: Exponent drawn from 1 / (1 + x) to 1 + x, in a third of the images.
        shadow: Share of images with an irregular shadow on them.
        blur: Share of images that are blurred.
        grey: Share of images without colour.
        erase: Share of images of which a rectangle is lost, as ground that a camera does not see.
        shift: Largest move, as a share of the picture's side, margin included.
        rotation_deg: Largest turn to either side.
        smallest_scale: Smallest magnification.
        largest_scale: Largest magnification.
        perspective: Largest move of a corner in a perspective view, as a share of half the side.
        flip: Mirror half of the images left to right.
    """

    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.5
    gamma: float = 0.0
    shadow: float = 0.0
    blur: float = 0.0
    grey: float = 0.0
    erase: float = 0.0
    shift: float = 10 / 384
    rotation_deg: float = 0.0
    smallest_scale: float = 1.0
    largest_scale: float = 1.0
    perspective: float = 0.0
    flip: bool = True

    def __post_init__(self) -> None:
        shares = ("brightness", "contrast", "saturation", "shadow", "blur", "grey", "erase")
        for name in (*shares, "shift", "perspective"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(
                    f"augmentation {name} must lie in 0 to 1, is {getattr(self, name)}"
                )
        if not 0.0 <= self.hue <= 0.5:
            raise ConfigError(f"augmentation hue must lie in 0 to 0.5, is {self.hue}")
        if not (self.gamma >= 0.0 and 0.0 <= self.rotation_deg <= 180.0):
            raise ConfigError("augmentation gamma must be 0 or more, rotation_deg in 0 to 180")
        if not 0.1 <= self.smallest_scale <= self.largest_scale <= 10.0:
            raise ConfigError("augmentation scales must lie in 0.1 to 10, the smallest first")


class Augmentation(nn.Module):
    """Varies pictures and cuts the middle out of them that the encoder is to see."""

    def __init__(self, config: AugmentationConfig, height: int, width: int) -> None:
        super().__init__()
        self._steps = nn.Sequential(*_steps(config, height, width))

    @torch.no_grad()
    def forward(self, pictures: npt.NDArray[np.uint8], seed: int, device: torch.device) -> Tensor:
        """Varied images (N, height, width, 3), 0-255 float32, of pictures (N, H, W, 3).

        Pictures larger than the images lend their surroundings to turns and shifts; beyond
        their edges they are mirrored.
        """
        colours_first = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
        images = colours_first.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            varied: Tensor = self._steps(images)
        return varied.clamp(0.0, 1.0).permute(0, 2, 3, 1) * 255.0


def headings_deg(count: int) -> tuple[float, ...]:
    """So many headings, evenly spread, 0 the first."""
    return tuple(number * 360.0 / count for number in range(count))


@torch.no_grad()
def turned_middle(
    pictures: npt.NDArray[np.uint8],
    turn_deg: float,
    input_size: tuple[int, int],
    device: torch.device,
) -> Tensor:
    """The middle of pictures (N, H, W, 3), turned anticlockwise, (N, height, width, 3), 0-255.

    Pictures without surroundings are magnified by up to the square root of two, at every turn
    alike, so that nothing beyond their edges is seen.
    """
    height, width = input_size
    colours_first = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
    images = colours_first.permute(0, 3, 1, 2).to(torch.float32)
    magnified = max(1.0, math.hypot(height, width) / min(images.shape[2:]))
    picture_height, picture_width = images.shape[2:]
    matrix = kornia_transform.get_rotation_matrix2d(
        center=images.new_tensor([[(picture_width - 1) / 2, (picture_height - 1) / 2]]),
        angle=images.new_tensor([turn_deg]),
        scale=images.new_full((1, 2), magnified),
    )
    turned = kornia_transform.warp_affine(
        images,
        matrix.expand(len(images), 2, 3),
        (picture_height, picture_width),
        padding_mode="reflection",
        align_corners=True,
    )
    return kornia_transform.center_crop(turned, (height, width)).permute(0, 2, 3, 1)


def _steps(config: AugmentationConfig, height: int, width: int) -> list[nn.Module]:
    """Geometry first, on the whole picture, then the cut, then light and colour."""
    steps: list[nn.Module] = []
    scales = (config.smallest_scale, config.largest_scale)
    # A shift alone moves whole pixels, as padding and cutting do: resampling would blur.
    shifts_alone = config.shift > 0.0 and not config.rotation_deg and scales == (1.0, 1.0)
    if not shifts_alone and (config.rotation_deg or config.shift or scales != (1.0, 1.0)):
        steps.append(
            kornia_augmentation.RandomAffine(
                degrees=config.rotation_deg,
                translate=(config.shift, config.shift) if config.shift else None,
                scale=scales,
                padding_mode="reflection",
                p=1.0,
            )
        )
    if config.perspective:
        steps.append(kornia_augmentation.RandomPerspective(config.perspective, p=0.5))
    steps.append(kornia_augmentation.CenterCrop((height, width)))
    if shifts_alone:
        border = (round(config.shift * width), round(config.shift * height))
        steps.append(
            kornia_augmentation.RandomCrop(
                (height, width), padding=border, padding_mode="replicate", p=1.0
            )
        )
    if config.flip:
        steps.append(kornia_augmentation.RandomHorizontalFlip(p=0.5))
    jitter = (config.brightness, config.contrast, config.saturation, config.hue)
    if any(jitter):
        # ColorJitter multiplies as torchvision's does; ColorJiggle adds, and blackens dark images.
        steps.append(kornia_augmentation.ColorJitter(*jitter, p=1.0))
    if config.gamma:
        exponents = (1.0 / (1.0 + config.gamma), 1.0 + config.gamma)
        steps.append(kornia_augmentation.RandomGamma(exponents, p=0.33))
    if config.shadow:
        steps.append(
            kornia_augmentation.RandomPlasmaShadow(
                roughness=(0.1, 0.5),
                shade_intensity=(-0.4, 0.0),
                shade_quantity=(0.0, 0.5),
                p=config.shadow,
            )
        )
    if config.blur:
        steps.append(kornia_augmentation.RandomGaussianBlur((5, 5), (0.3, 1.8), p=config.blur))
    if config.grey:
        steps.append(kornia_augmentation.RandomGrayscale(p=config.grey))
    if config.erase:
        steps.append(
            kornia_augmentation.RandomErasing(
                _ERASED_SHARE, _ERASED_ASPECT, value=_MEAN_GREY, p=config.erase
            )
        )
    return steps
