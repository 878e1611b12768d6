"""A map's footprints, chosen so that a camera sees them whole between two heights."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_runtime.contract.errors import ConfigError
from edge_runtime.flight_lens import read_pinhole
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from edge_runtime.localize.quality import QualityConfig
from edge_runtime.localize.rectify import choose_window
from edge_runtime.localize.view import FULL_COVERAGE

LARGEST_STEP = 1.6
"""No level is so small that one larger by this could be seen as well."""
STRAIGHT_DOWN_DEG = -90.0
_HEADINGS_DEG = tuple(range(0, 90, 5))
_BISECTIONS = 24
_INLINE_CAMERA = re.compile(r"(?P<focal_mm>\d+(\.\d+)?)mm@(?P<width>\d+)x(?P<height>\d+)")


@dataclass(frozen=True)
class HeightBand:
    """Heights above ground, in metres, between which a map is to serve."""

    lowest_m: float
    highest_m: float

    def __post_init__(self) -> None:
        if not 0.0 < self.lowest_m <= self.highest_m < math.inf:
            raise ConfigError(
                f"heights must be positive metres, the lowest first: {self.lowest_m:g}-"
                f"{self.highest_m:g}"
            )


def parse_heights(text: str) -> HeightBand:
    """Heights as a command line gives them: 60-150, or 120 alone.

    Raises:
        ConfigError: If they are not that.
    """
    lowest, dash, highest = text.partition("-")
    try:
        return HeightBand(float(lowest), float(highest if dash else lowest))
    except ValueError:
        raise ConfigError(f"heights are metres such as 60-150, not {text!r}") from None


def parse_camera(text: str) -> PinholeCamera:
    """A camera as the runtime knows it: a camera.yaml, or 24mm@4000x3000.

    The latter is the full-frame equivalent focal length (the runtime's `focal_length_35mm`) and
    the size of the pictures.

    Raises:
        ConfigError: If it is neither.
    """
    inline = _INLINE_CAMERA.fullmatch(text.replace(" ", ""))
    if inline:
        return PinholeCamera.from_equivalent_focal_length(
            int(inline["width"]), int(inline["height"]), float(inline["focal_mm"])
        )
    if not Path(text).is_file():
        raise ConfigError(
            f"the camera {text!r} is neither a file such as camera.yaml nor a lens and picture "
            "size such as 24mm@4000x3000"
        )
    return read_pinhole(Path(text))


def footprint_per_height(camera: PinholeCamera, pitch_deg: float = STRAIGHT_DOWN_DEG) -> float:
    """Side of the largest north-up square that the frame shows at any heading, over the height.

    Shown means by `choose_window`, to the share at which the runtime calls a footprint whole. A
    camera that looks ahead shows more, of which the far part is a few rows of pixels: it counts
    with what it would show looking down from as far away as the ground in the image centre.

    Raises:
        ConfigError: If the camera looks too far up to be flown with.
    """
    shallowest_deg = QualityConfig().shallowest_pitch_deg
    if not STRAIGHT_DOWN_DEG <= pitch_deg <= shallowest_deg:
        raise ConfigError(
            f"a camera pitch must lie between -90 and {shallowest_deg:g} degrees: {pitch_deg:g}"
        )
    distance = 1.0 / math.sin(math.radians(-pitch_deg))
    down = _seen_at_every_heading(camera, STRAIGHT_DOWN_DEG) * distance
    return min(down, _seen_at_every_heading(camera, pitch_deg))


def footprints_for(
    camera: PinholeCamera, heights: HeightBand, pitch_deg: float = STRAIGHT_DOWN_DEG
) -> tuple[float, ...]:
    """Footprints in metres, the smallest first, one of which suits at every height of the band.

    At each height the largest that the frame shows whole is less than `LARGEST_STEP` smaller than
    what it could show: levels are evenly spaced by ratio, as few as that allows.
    """
    per_height = footprint_per_height(camera, pitch_deg)
    ratio = heights.highest_m / heights.lowest_m
    count = max(1, math.ceil(math.log(ratio) / math.log(LARGEST_STEP) - 1e-9))
    smallest = per_height * heights.lowest_m
    return tuple(_rounded_down(smallest * ratio ** (step / count)) for step in range(count))


def _seen_at_every_heading(camera: PinholeCamera, pitch_deg: float) -> float:
    """The largest footprint seen whole from a height of 1, by bisection."""
    # A square looks the same from headings a quarter turn apart.
    return min(_seen_whole(camera, CameraAttitude(deg, pitch_deg)) for deg in _HEADINGS_DEG)


def _seen_whole(camera: PinholeCamera, attitude: CameraAttitude) -> float:
    low, high = 0.0, 20.0 * max(camera.width, camera.height) / camera.focal_px
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        _, coverage = choose_window(camera, attitude, 1.0, middle)
        low, high = (middle, high) if coverage >= FULL_COVERAGE else (low, middle)
    return low


def _rounded_down(footprint_m: float) -> float:
    """To three digits, so that manifests and messages stay readable."""
    step = 10.0 ** (math.floor(math.log10(footprint_m)) - 2)
    return float(np.round(math.floor(footprint_m / step + 1e-9) * step, 6))
