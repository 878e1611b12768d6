"""The camera's view under a hypothesis of its heading and height: which ground, at which level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from edge_runtime.localize.rectify import GroundWindow, choose_window, rectify

FULL_COVERAGE = 0.98


@dataclass(frozen=True)
class ViewedGround:
    """What a camera in this attitude and at this height sees of a map level's footprint."""

    attitude: CameraAttitude
    height_m: float
    level: int
    window: GroundWindow
    coverage: float
    """Share of the footprint that the camera sees, 0-1."""


class ViewMaker:
    """Chooses the ground to look at, and rectifies pictures of it."""

    def __init__(self, camera: PinholeCamera, region_map: RegionMap, input_size: int) -> None:
        """Rectify to `input_size` pixels a side."""
        if not region_map.levels:
            raise ConfigError(f"{region_map.folder} has no levels")
        self._camera = camera
        self._map = region_map
        self._input_size = input_size
        self._by_size = np.argsort([-level.footprint_m for level in region_map.levels])

    def ground(self, attitude: CameraAttitude, height_m: float) -> ViewedGround:
        """The level with the largest footprint that is seen whole, else the one seen best."""
        seen: list[ViewedGround] = []
        for number in self._by_size:
            footprint_m = self._map.levels[number].footprint_m
            window, coverage = choose_window(self._camera, attitude, height_m, footprint_m)
            seen.append(ViewedGround(attitude, height_m, int(number), window, coverage))
            if coverage >= FULL_COVERAGE:
                break
        return max(seen, key=lambda ground: ground.coverage)

    def picture(self, image: npt.NDArray[np.uint8], ground: ViewedGround) -> npt.NDArray[np.uint8]:
        """The ground from straight above, (size, size, 3) RGB, of an (H, W, 3) RGB picture."""
        return rectify(
            image,
            self._camera,
            ground.attitude,
            ground.height_m,
            ground.window,
            self._input_size,
        )
