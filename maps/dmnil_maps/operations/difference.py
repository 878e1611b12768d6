"""What is different between two maps of one frame, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dmnil_maps.operations.merge import level_like, steps_between
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import RegionMap

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
_ROWS_PER_CHUNK = 4096


@dataclass(frozen=True)
class LevelDifference:
    """Two maps' tiles of one size.

    Args:
        rows_added: (n,) of the second map; rows_removed of the first.
        cosines: (m,) of the tiles that both have, similarity of their descriptors.
        rows_both: (m, 2) of the first and the second map.
        changed: (m,) cosine below the limit.
    """

    footprint_m: float
    tiles: tuple[int, int]
    rows_added: npt.NDArray[np.intp]
    rows_removed: npt.NDArray[np.intp]
    rows_both: npt.NDArray[np.intp]
    cosines: npt.NDArray[np.float32]
    changed: npt.NDArray[np.bool_]

    @property
    def counts(self) -> dict[str, int]:
        """How many tiles were added, removed and changed."""
        return {
            ADDED: len(self.rows_added),
            REMOVED: len(self.rows_removed),
            CHANGED: int(np.count_nonzero(self.changed)),
        }


@dataclass(frozen=True)
class MapDifference:
    """All levels of two maps, by falling order of the first map, then what only the second has."""

    first: RegionMap
    second: RegionMap
    limit: float
    levels: tuple[LevelDifference, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added, removed or changed."""
        return not any(any(level.counts.values()) for level in self.levels)

    def as_dict(self) -> dict[str, Any]:
        """The counts for programs to read."""
        return {
            "first": str(self.first.folder),
            "second": str(self.second.folder),
            "limit": self.limit,
            "levels": [
                {
                    "footprint_m": level.footprint_m,
                    "tiles": list(level.tiles),
                    **level.counts,
                    "smallest_cosine": (
                        round(float(level.cosines.min()), 4) if len(level.cosines) else None
                    ),
                }
                for level in self.levels
            ],
        }


def difference_of(first: RegionMap, second: RegionMap, limit: float) -> MapDifference:
    """Compare two maps that are parts or updates of one build.

    Args:
        limit: Cosine of descriptors below which a tile counts as changed.
    Raises:
        MapError: If the maps have another encoder, frame, axes or lattice, so that nothing of them
            can be compared.
    """
    _require_comparable(first, second)
    partners = {
        number: level_like(level, second.levels) for number, level in enumerate(first.levels)
    }
    levels = [
        _level_difference(first, second, n, partner, limit) for n, partner in partners.items()
    ]
    only_second = [n for n in range(len(second.levels)) if n not in partners.values()]
    levels += [_level_difference(first, second, None, number, limit) for number in only_second]
    return MapDifference(first, second, limit, tuple(levels))


def table_of(difference: MapDifference) -> str:
    """The counts as aligned lines of text."""
    rows: list[tuple[str, ...]] = [
        ("level", "tiles before", "after", ADDED, REMOVED, CHANGED, "least cosine")
    ]
    for level in difference.levels:
        least = f"{level.cosines.min():.3f}" if len(level.cosines) else "-"
        counts = (*level.tiles, *level.counts.values())
        rows.append((f"{level.footprint_m:g} m", *(f"{count:,}" for count in counts), least))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def marked_tiles(
    difference: MapDifference,
) -> list[tuple[str, RegionMap, npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
    """What is different: the change, the map that has it, its rows there, and cosines or NaN."""
    marked = []
    for level in difference.levels:
        changed = level.rows_both[level.changed, 1]
        for what, region_map, rows, cosines in (
            (CHANGED, difference.second, changed, level.cosines[level.changed]),
            (REMOVED, difference.first, level.rows_removed, None),
            (ADDED, difference.second, level.rows_added, None),
        ):
            known = np.full(len(rows), np.nan, np.float32) if cosines is None else cosines
            marked.append((what, region_map, rows, known))
    return marked


def _require_comparable(first: RegionMap, second: RegionMap) -> None:
    for what, same in (
        ("encoder", first.encoder_sha256 == second.encoder_sha256),
        ("frame", first.frame == second.frame),
        ("axes", np.array_equal(first.projection, second.projection)),
    ):
        if not same:
            raise MapError(
                f"{second.folder} has another {what} than {first.folder}: only parts and updates "
                "of one build can be compared tile by tile"
            )


def _level_difference(
    first: RegionMap, second: RegionMap, one: int | None, other: int | None, limit: float
) -> LevelDifference:
    offset = (0, 0)
    if one is not None and other is not None:
        if not np.array_equal(first.descriptor_mean[one], second.descriptor_mean[other]):
            raise MapError(
                f"{second.folder} has another mean descriptor than {first.folder}: only parts and "
                "updates of one build can be compared tile by tile"
            )
        offset = steps_between(first.levels[one], second.levels[other], first, second)
    rows_first, keys_first = _places(first, one, (0, 0))
    rows_second, keys_second = _places(second, other, offset)
    _, at_first, at_second = np.intersect1d(
        keys_first, keys_second, assume_unique=True, return_indices=True
    )
    both = np.stack([rows_first[at_first], rows_second[at_second]], axis=-1)
    cosines = _cosines(first, second, both)
    level = first.levels[one] if one is not None else second.levels[other or 0]
    return LevelDifference(
        footprint_m=level.footprint_m,
        tiles=(len(rows_first), len(rows_second)),
        rows_added=np.delete(rows_second, at_second),
        rows_removed=np.delete(rows_first, at_first),
        rows_both=both,
        cosines=cosines,
        changed=cosines < limit,
    )


def _places(
    region_map: RegionMap, level: int | None, offset: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """A level's rows of the map, and one number for each one's place on the first map's lattice."""
    if level is None:
        return np.empty(0, np.intp), np.empty(0, np.int64)
    chosen = region_map.rows_of_level(level)
    tiles = region_map.tiles[chosen]
    row = tiles["lattice_row"].astype(np.int64) + offset[0]
    column = tiles["lattice_column"].astype(np.int64) + offset[1]
    return np.arange(chosen.start, chosen.stop), (row << 32) + column


def _cosines(
    first: RegionMap, second: RegionMap, both: npt.NDArray[np.intp]
) -> npt.NDArray[np.float32]:
    found = np.empty(len(both), np.float32)
    for start in range(0, len(both), _ROWS_PER_CHUNK):
        rows = both[start : start + _ROWS_PER_CHUNK]
        a, b = first.descriptors_of(rows[:, 0]), second.descriptors_of(rows[:, 1])
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        found[start : start + len(rows)] = (a * b).sum(axis=1) / np.maximum(lengths, 1e-12)
    return found
