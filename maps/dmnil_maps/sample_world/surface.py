"""The lit surface of a piece of the world: colour, height, and what stands where."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dmnil_maps.sample_world.appearance import Appearance
from dmnil_maps.sample_world.ground_paint import paint_ground
from dmnil_maps.sample_world.object_paint import paint_objects
from dmnil_maps.sample_world.raster_window import RasterWindow
from dmnil_maps.sample_world.scene_index import SceneIndex
from dmnil_maps.sample_world.sunlight import LONGEST_SHADOW_M, Sun, light_on, shadow_tops


@dataclass(frozen=True)
class Surface:
    """Rasters of one window."""

    colour: NDArray[np.uint8]  # (H, W, 3) RGB, lit
    height_m: NDArray[np.float32]  # (H, W)
    shadow_top_m: NDArray[np.float32]  # (H, W) height up to which there is shadow
    owner: NDArray[np.uint16]  # (H, W) see object_paint


class SurfacePainter:
    """Paints any window of a world under one appearance."""

    def __init__(self, index: SceneIndex, appearance: Appearance) -> None:
        self._index = index
        self._appearance = appearance
        self._sun = Sun.of(appearance)
        self._absent = absent_buildings(index, appearance)

    def paint(self, window: RasterWindow) -> Surface:
        """The surface of a window, with the shadows that fall into it from outside."""
        wide, core = self._with_shadow_casters(window)
        layers = paint_objects(self._index, self._appearance, wide, self._absent)
        resolution = window.resolution_m
        tops = shadow_tops(layers.height_m, self._sun, resolution)
        light = light_on(layers.height_m, tops, self._sun, self._appearance, resolution)[core]
        ground = paint_ground(self._index, self._appearance, window)
        opacity = layers.opacity[core][..., None]
        colour = ground + opacity * (layers.colour[core] - ground)
        colour *= light
        return Surface(
            np.clip(colour, 0, 255).astype(np.uint8),
            layers.height_m[core],
            tops[core],
            layers.owner[core],
        )

    def _with_shadow_casters(
        self, window: RasterWindow
    ) -> tuple[RasterWindow, tuple[slice, slice]]:
        reach = int(min(LONGEST_SHADOW_M, 34.0 / self._sun.tangent) / window.resolution_m)
        pad = 8
        left = pad + int(max(0.0, -self._sun.column) * reach)
        right = pad + int(max(0.0, self._sun.column) * reach)
        top = pad + int(max(0.0, -self._sun.row) * reach)
        bottom = pad + int(max(0.0, self._sun.row) * reach)
        wide = replace(
            window,
            west_m=window.west_m - left * window.resolution_m,
            north_m=window.north_m + top * window.resolution_m,
            height=window.height + top + bottom,
            width=window.width + left + right,
        )
        core = slice(top, top + window.height), slice(left, left + window.width)
        return wide, core


def absent_buildings(index: SceneIndex, appearance: Appearance) -> frozenset[int]:
    """Numbers of the buildings that are not there in this appearance."""
    numbers = sorted({part.building for part in index.world.parts})
    rng = np.random.default_rng([index.world.seed, appearance.change_seed, 11])
    gone = rng.random(len(numbers)) < appearance.missing_buildings
    return frozenset(number for number, away in zip(numbers, gone, strict=True) if away)
