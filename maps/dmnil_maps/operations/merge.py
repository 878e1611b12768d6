"""Several region maps of one frame and one set of axes, as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_maps.map_bounds import local_bounds_of
from dmnil_maps.map_picture import carry_picture
from dmnil_maps.map_terrain import carry_terrain
from dmnil_maps.operations.parts import PlacedTiles, placed_from, provenance_after, write_parts
from dmnil_maps.preview.mosaic import write_mosaic
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.region_map import MAP_KIND, MapLevel, RegionMap, load_region_map

_ALIGNED_M = 0.01
_MOST_POSITIONS = 2**34
"""Of one lattice: a square of 4,000 km at 30 m, far beyond one frame."""
_SAME_SCALE = 1e-9


@dataclass(frozen=True)
class MergeReport:
    """What a merge put together."""

    output: Path
    tiles: int
    overlapping: int
    """Tiles left out because an earlier map has one at the same place."""


@dataclass(frozen=True)
class _Offset:
    """Where a source's lattice stands on the new one."""

    level: int
    rows: int
    columns: int


def merge_maps(sources: Sequence[Path], output: Path) -> MergeReport:
    """Write the map of all tiles of some maps; where two have one at a place, the first wins.

    A tile's descriptor means something on its own map's axes only, and those cannot be changed
    afterwards: maps have to be parts of one build, or updates of them.

    Raises:
        ConfigError: If fewer than two maps are named.
        MapError: If the maps have another encoder, frame, axes, storage or lattice.
        OutputError: If the new map cannot be written.
    """
    if len(sources) < 2:
        raise ConfigError("merging needs two maps or more")
    maps = [load_region_map(source) for source in sources]
    for other in maps[1:]:
        _require_alike(maps[0], other)
    levels, means, offsets = _common_levels(maps)
    parts: list[PlacedTiles] = []
    taken = np.empty(0, np.int64)
    overlapping = 0
    for region_map, places in zip(maps, offsets, strict=True):
        tiles = _moved(region_map, places)
        keys = _place_keys(tiles)
        new = np.flatnonzero(~np.isin(keys, taken))
        overlapping += len(keys) - len(new)
        taken = np.concatenate([taken, keys[new]])
        if new.size:
            parts.append(placed_from(region_map, new, tiles[new]))
    every_tile = np.concatenate([part.tiles for part in parts])
    with staged_directory(output, MAP_KIND) as staging:
        preview = write_mosaic(staging, maps, local_bounds_of(maps[0].frame, every_tile))
        carry_picture(staging, maps, every_tile)
        terrain = carry_terrain(staging, maps, every_tile)
        written = write_parts(
            staging,
            maps[0],
            levels,
            means,
            parts,
            preview,
            {**terrain, **provenance_after(maps, "merge", {"overlapping_tiles": overlapping})},
        )
    return MergeReport(output, written, overlapping)


def _require_alike(first: RegionMap, other: RegionMap) -> None:
    if other.encoder_sha256 != first.encoder_sha256:
        raise MapError(
            f"{other.folder} was built with encoder {other.encoder_sha256[:12]}, {first.folder} "
            f"with {first.encoder_sha256[:12]}: build one of them again"
        )
    if other.frame != first.frame or not np.array_equal(other.projection, first.projection):
        what = "frame" if other.frame != first.frame else "axes"
        raise MapError(
            f"{other.folder} has another {what} than {first.folder}, so their descriptors cannot "
            "be compared: build both rasters into one map, or add the other's raster to the first "
            f"with dmnil-map update {first.folder} --imagery RASTER --extend true"
        )
    if other.manifest["storage"] != first.manifest["storage"]:
        raise MapError(
            f"{other.folder} stores its descriptors as {other.manifest['storage']}, "
            f"{first.folder} as {first.manifest['storage']}: build one of them again"
        )


def _common_levels(
    maps: Sequence[RegionMap],
) -> tuple[tuple[MapLevel, ...], npt.NDArray[np.float32], list[list[_Offset]]]:
    """Lattices that hold every map's, the mean descriptor of each, and where each map's stand."""
    groups: list[tuple[MapLevel, npt.NDArray[np.float32], RegionMap]] = []
    spans: list[list[tuple[int, int, int, int]]] = []
    found: list[list[_Offset]] = []
    for region_map in maps:
        own: list[_Offset] = []
        for level, mean in zip(region_map.levels, region_map.descriptor_mean, strict=True):
            number = level_like(level, (anchor for anchor, _, _ in groups))
            if number is None:
                number = len(groups)
                groups.append((level, mean, region_map))
                spans.append([])
            anchor, anchor_mean, anchor_map = groups[number]
            if not np.array_equal(mean, anchor_mean):
                raise MapError(
                    f"{region_map.folder} has another mean descriptor of {level.footprint_m:g} m "
                    f"tiles than {anchor_map.folder}: they are not parts of one build"
                )
            row, column = steps_between(anchor, level, anchor_map, region_map)
            own.append(_Offset(number, row, column))
            spans[number].append((row, column, row + level.rows, column + level.columns))
        found.append(own)
    levels, starts = [], []
    for (anchor, _, _), span in zip(groups, spans, strict=True):
        first_row, first_column = min(s[0] for s in span), min(s[1] for s in span)
        rows, columns = max(s[2] for s in span) - first_row, max(s[3] for s in span) - first_column
        if rows * columns > _MOST_POSITIONS:
            raise MapError("the maps lie too far apart for one lattice")
        east, north = anchor.centre(first_row, first_column)
        levels.append(
            replace(
                anchor,
                rows=rows,
                columns=columns,
                first_east_m=float(east),
                first_north_m=float(north),
            )
        )
        starts.append((first_row, first_column))
    offsets = [
        [_Offset(o.level, o.rows - starts[o.level][0], o.columns - starts[o.level][1]) for o in own]
        for own in found
    ]
    return tuple(levels), np.stack([mean for _, mean, _ in groups]), offsets


def level_like(level: MapLevel, others: Iterable[MapLevel]) -> int | None:
    """The place among other levels of the one with the same footprint and stride."""
    for number, other in enumerate(others):
        sizes = (level.footprint_m, level.stride_m), (other.footprint_m, other.stride_m)
        if np.allclose(*sizes, rtol=_SAME_SCALE, atol=0.0):
            return number
    return None


def steps_between(
    anchor: MapLevel, level: MapLevel, anchor_map: RegionMap, region_map: RegionMap
) -> tuple[int, int]:
    """Rows and columns from one map's lattice to another's first position.

    Raises:
        MapError: If they are not whole steps apart.
    """
    rows = (anchor.first_north_m - level.first_north_m) / anchor.stride_m
    columns = (level.first_east_m - anchor.first_east_m) / anchor.stride_m
    off_m = max(abs(rows - round(rows)), abs(columns - round(columns))) * anchor.stride_m
    if off_m > _ALIGNED_M:
        raise MapError(
            f"the {level.footprint_m:g} m tiles of {region_map.folder} stand {off_m:.2f} m beside "
            f"the lattice of {anchor_map.folder}: they are not parts of one build"
        )
    return round(rows), round(columns)


def _moved(region_map: RegionMap, offsets: Sequence[_Offset]) -> npt.NDArray[np.void]:
    tiles = np.array(region_map.tiles)
    for before, offset in enumerate(offsets):
        chosen = region_map.rows_of_level(before)
        tiles["level"][chosen] = offset.level
        tiles["lattice_row"][chosen] += np.int64(offset.rows).astype(np.uint32)
        tiles["lattice_column"][chosen] += np.int64(offset.columns).astype(np.uint32)
    return tiles


def _place_keys(tiles: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """One number per lattice position: 8 bits of level, 28 each of row and column."""
    level, row, column = (
        tiles[name].astype(np.int64) for name in ("level", "lattice_row", "lattice_column")
    )
    return np.asarray(((level << 28) | row) << 28 | column, np.int64)
