"""The region's elevations as a drone carries them: a small grid, memory-mapped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.descriptor_store import open_array
from edge_runtime.contract.errors import MapError

TERRAIN_FILE = "terrain.npy"
TERRAIN_FIELD = "terrain"
STEP_M = 0.1
VOID = -32768
_MOST_STEPS = 32767

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TerrainGeometry:
    """Where a grid's points lie in the map's frame: the first is the north-western one.

    Elevations are stored in steps of 0.1 m above and below `base_m`.
    """

    west_m: float
    north_m: float
    spacing_m: float
    base_m: float

    def __post_init__(self) -> None:
        values = (self.west_m, self.north_m, self.spacing_m, self.base_m)
        if not all(map(math.isfinite, values)) or self.spacing_m <= 0.0:
            raise MapError(f"impossible place of a terrain grid: {self}")


@dataclass(frozen=True)
class TerrainGrid:
    """Elevations of a region; what they are above matters to nobody, only their differences do."""

    geometry: TerrainGeometry
    steps: npt.NDArray[np.int16]
    """(rows, columns), `VOID` where unknown."""

    def elevation_m(self, east_north_m: npt.ArrayLike) -> FloatArray:
        """Elevations (...,) of places (..., 2) by the four points around; NaN where unknown."""
        places = np.asarray(east_north_m, np.float64)
        rows, columns = self.steps.shape
        x = (places[..., 0] - self.geometry.west_m) / self.geometry.spacing_m
        y = (self.geometry.north_m - places[..., 1]) / self.geometry.spacing_m
        inside = (x >= 0.0) & (x <= columns - 1) & (y >= 0.0) & (y <= rows - 1)
        x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
        left = np.minimum(x.astype(np.intp), columns - 2)
        top = np.minimum(y.astype(np.intp), rows - 2)
        right_share, low_share = x - left, y - top
        corners = np.stack(
            [self.steps[top + down, left + right] for down in (0, 1) for right in (0, 1)], axis=-1
        )
        shares = np.stack(
            [
                (1 - low_share) * (1 - right_share),
                (1 - low_share) * right_share,
                low_share * (1 - right_share),
                low_share * right_share,
            ],
            axis=-1,
        )
        known = inside & ((corners != VOID) | (shares == 0.0)).all(axis=-1)
        elevation = self.geometry.base_m + STEP_M * (corners * shares).sum(axis=-1)
        return np.asarray(np.where(known, elevation, np.nan), np.float64)


def write_terrain(
    folder: Path, elevation_m: FloatArray, west_m: float, north_m: float, spacing_m: float
) -> dict[str, dict[str, float]]:
    """Write a grid (rows, columns) of elevations, NaN where unknown; returns its manifest field.

    Raises:
        MapError: If none is known, or they span more than 6.5 km.
    """
    known = np.isfinite(elevation_m)
    if not known.any() or min(elevation_m.shape) < 2:
        raise MapError("the terrain model has no elevation within the map")
    lowest, highest = float(elevation_m[known].min()), float(elevation_m[known].max())
    base_m = round((lowest + highest) / 2.0)
    if max(highest - base_m, base_m - lowest) / STEP_M > _MOST_STEPS:
        raise MapError(
            f"the terrain model reaches from {lowest:.0f} to {highest:.0f} m: check its nodata "
            "value and its unit, which has to be metres"
        )
    steps = np.full(elevation_m.shape, VOID, np.int16)
    steps[known] = np.rint((elevation_m[known] - base_m) / STEP_M)
    np.save(folder / TERRAIN_FILE, steps)
    return {TERRAIN_FIELD: asdict(TerrainGeometry(west_m, north_m, spacing_m, float(base_m)))}


def open_terrain(folder: Path, manifest: Mapping[str, Any]) -> TerrainGrid | None:
    """A map's terrain, None where its manifest lists none.

    Raises:
        MapError: If it is malformed.
    """
    if TERRAIN_FILE not in manifest["files"]:
        return None
    steps = open_array(folder / TERRAIN_FILE)
    if steps.dtype != np.int16 or steps.ndim != 2 or min(steps.shape) < 2:
        raise MapError(f"{folder / TERRAIN_FILE} is not a grid of int16 elevations")
    try:
        entry = {key: float(value) for key, value in manifest[TERRAIN_FIELD].items()}
        geometry = TerrainGeometry(**entry)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MapError(f"{folder}: manifest field '{TERRAIN_FIELD}' is malformed") from error
    return TerrainGrid(geometry, steps)
