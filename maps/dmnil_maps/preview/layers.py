"""What a preview shows over the picture: a value at every place of a level's lattice."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.preview.view_search import LevelView
from edge_runtime.contract.region_map import MapLevel, RegionMap

LONGEST_SIDE = 1200
"""Lattices are thinned to this; a page of a large map stays a page."""
_LIKE_ABSENT = 0
_STEPS = 254


@dataclass(frozen=True)
class Layer:
    """Values 1-255 from `low` to `high` on a level's lattice, 0 where the map has no tile.

    Args:
        cells: (rows, columns), thinned by `step` in both directions.
    """

    title: str
    unit: str
    cells: npt.NDArray[np.uint8]
    step: int
    low: float
    high: float
    values: npt.NDArray[np.float32]
    """Of every tile of the level, as they are, (n,)."""


@dataclass(frozen=True)
class LevelLayers:
    """A level and its layers; `present` marks tiles by 255."""

    number: int
    level: MapLevel
    tiles: int
    missing: int
    present: Layer
    distinctiveness: Layer | None
    similarity: Layer | None
    view: LevelView | None


def layers_of(region_map: RegionMap, level: int, view: LevelView | None) -> LevelLayers:
    """The layers of one level.

    Args:
        view: What was found on this level, if a picture was looked for.
    """
    lattice = region_map.rows_at(level)
    rows = region_map.rows_of_level(level)
    count = rows.stop - rows.start
    distinct = np.asarray(region_map.tiles["distinctiveness"][rows], np.float32)
    has_distinct = bool((distinct < 1.0).any())
    local = np.where(lattice >= 0, lattice - rows.start, -1)
    return LevelLayers(
        number=level,
        level=region_map.levels[level],
        tiles=count,
        missing=int(lattice.size - count),
        present=_layer("coverage", "", local, np.ones(count, np.float32), 0.0, 1.0),
        distinctiveness=(
            _layer("distinctiveness", "", local, distinct, 0.0, 1.0) if has_distinct else None
        ),
        similarity=(
            None
            if view is None
            else _layer(
                "similarity",
                "standard deviations above chance",
                local,
                view.scores,
                0.0,
                max(6.0, float(np.ceil(view.scores.max()))),
            )
        ),
        view=view,
    )


def _layer(
    title: str,
    unit: str,
    local: npt.NDArray[np.int32],
    values: npt.NDArray[np.float32],
    low: float,
    high: float,
) -> Layer:
    scaled = np.clip((values - low) / (high - low), 0.0, 1.0)
    steps = np.append(1 + np.rint(scaled * _STEPS), _LIKE_ABSENT).astype(np.uint8)
    cells = steps[local]
    step = -(-max(cells.shape) // LONGEST_SIDE)
    if step > 1:
        cells = _thinned(cells, step)
    return Layer(title, unit, cells, step, low, high, values)


def _thinned(cells: npt.NDArray[np.uint8], step: int) -> npt.NDArray[np.uint8]:
    """The highest value of every step x step places: peaks stay visible."""
    rows, columns = (-(-length // step) for length in cells.shape)
    padded = np.zeros((rows * step, columns * step), np.uint8)
    padded[: cells.shape[0], : cells.shape[1]] = cells
    return np.asarray(padded.reshape(rows, step, columns, step).max(axis=(1, 3)), np.uint8)


def colours(layer: Layer) -> npt.NDArray[np.uint8]:
    """RGB (256, 3) of a layer's values; the first one, for no tile, is not used."""
    chosen = cv2.COLORMAP_INFERNO if layer.title == "similarity" else cv2.COLORMAP_VIRIDIS
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], chosen)
    return np.asarray(ramp[:, 0, ::-1], np.uint8)
