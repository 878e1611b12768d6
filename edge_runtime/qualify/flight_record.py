"""A simulated flight's fixes beside the truth, as arrays that can be kept and pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.fix import Fix
from edge_runtime.contract.region_map import RegionMap

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FlightRecord:
    """One flight, frame by frame; every array (N,), distances in metres.

    `error_m` and `radius95_m` are NaN where nothing was published; `error_m` is infinite where a
    position was published of a drone that is not over the map at all. `distinctiveness` is that of
    the tile truly viewed, NaN where the map has none there.
    """

    time_s: FloatArray
    state: npt.NDArray[np.str_]
    error_m: FloatArray
    radius95_m: FloatArray
    distinctiveness: FloatArray
    viewed_east_m: FloatArray
    viewed_north_m: FloatArray
    resets: npt.NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Keep the record, whole or not at all."""
        beside = path.with_suffix(".partial.npz")
        np.savez_compressed(beside, **{f.name: getattr(self, f.name) for f in fields(self)})
        beside.rename(path)

    @classmethod
    def load(cls, path: Path) -> FlightRecord:
        """Read a record that was kept."""
        with np.load(path) as stored:
            return cls(**{f.name: stored[f.name] for f in fields(cls)})


def record_of(
    fixes: Sequence[Fix],
    drone_m: FloatArray,
    viewed_m: FloatArray,
    region_map: RegionMap,
    *,
    is_foreign: bool = False,
) -> FlightRecord:
    """Put fixes beside the truth.

    Args:
        drone_m: (N, 2) true east and north of the drone in the map's frame.
        viewed_m: (N, 2) of the ground that it truly views, the middle of the view's window.
        is_foreign: Whether the drone is elsewhere altogether, so that every position is wrong.
    """
    errors, radii = np.full(len(fixes), np.nan), np.full(len(fixes), np.nan)
    for number, fix in enumerate(fixes):
        if fix.position is None:
            continue
        place = region_map.frame.to_local(fix.position.latitude_deg, fix.position.longitude_deg)
        errors[number] = np.inf if is_foreign else np.linalg.norm(place - drone_m[number])
        radii[number] = fix.position.radius95_m
    distinct = np.full(len(fixes), np.nan)
    if not is_foreign:
        distinct = distinctiveness_at(region_map, viewed_m)
    return FlightRecord(
        time_s=np.array([fix.time_s for fix in fixes]),
        state=np.array([fix.state.value for fix in fixes]),
        error_m=errors,
        radius95_m=radii,
        distinctiveness=distinct,
        viewed_east_m=viewed_m[:, 0],
        viewed_north_m=viewed_m[:, 1],
        resets=np.array([fix.reset_counter for fix in fixes], np.int64),
    )


def distinctiveness_at(region_map: RegionMap, places_m: FloatArray) -> FloatArray:
    """Distinctiveness (N,) of the first level's tile nearest to each place, NaN where it has none.

    Args:
        places_m: (N, 2) east and north in the map's frame.
    """
    level = region_map.levels[0]
    rows = np.rint((level.first_north_m - places_m[:, 1]) / level.stride_m).astype(int)
    columns = np.rint((places_m[:, 0] - level.first_east_m) / level.stride_m).astype(int)
    inside = (rows >= 0) & (rows < level.rows) & (columns >= 0) & (columns < level.columns)
    lattice = region_map.rows_at(0)
    tiles = np.full(len(places_m), -1, np.int64)
    tiles[inside] = lattice[rows[inside], columns[inside]]
    distinct = np.full(len(places_m), np.nan)
    distinct[tiles >= 0] = region_map.tiles["distinctiveness"][tiles[tiles >= 0]]
    return distinct
