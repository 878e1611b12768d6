"""Maps made of other maps' tiles: what cut, merge and update have in common."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dmnil_maps.map_arrays import set_distinctiveness
from dmnil_maps.map_bounds import bounds_of
from dmnil_maps.picture_digest import read_digests, write_digests
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import MapLevel, PreviewPicture, RegionMap
from edge_runtime.contract.region_map_writer import MapContents, write_region_map

_ROWS_PER_CHUNK = 4096
_KEPT_PROVENANCE = ("encoder", "coordinate_reference_system", "imagery")
_HISTORY = "history"


@dataclass(frozen=True)
class PlacedTiles:
    """Tiles (n,) of one source, their level, row and column already those of the new map."""

    tiles: npt.NDArray[np.void]
    rows: npt.NDArray[np.intp]
    """The source's row of each one's descriptor."""
    descriptors_of: Callable[[npt.NDArray[np.intp]], npt.NDArray[np.float32]]
    digests: npt.NDArray[np.uint64] | None
    """Of the tiles' pictures, (n,)."""
    contrast: npt.NDArray[np.float32] | None = None
    """Of the tiles' pictures, (n,), NaN where not known; wanted to tell distinctiveness anew."""


def placed_from(
    region_map: RegionMap, rows: npt.NDArray[np.intp], tiles: npt.NDArray[np.void]
) -> PlacedTiles:
    """Tiles of a map at other places of other lattices; `rows` are the map's own."""
    digests = read_digests(region_map)
    return PlacedTiles(
        tiles, rows, region_map.descriptors_of, None if digests is None else digests[rows]
    )


def write_parts(
    staging: Path,
    like: RegionMap,
    levels: tuple[MapLevel, ...],
    descriptor_mean: npt.NDArray[np.float32],
    parts: Sequence[PlacedTiles],
    preview: PreviewPicture,
    provenance: dict[str, Any],
) -> int:
    """Write the map that the parts make together; returns how many tiles it has.

    Where every part knows contrasts, tiles whose contrast is known get their distinctiveness anew.

    Args:
        like: The map whose encoder, frame, axes and storage the new one has; for pq, whose codes
            mean something in their own map only, the descriptors are stored as int8.
        levels: The new map's lattices.
    Raises:
        MapError: If two parts have a tile at the same place.
    """
    tiles = np.concatenate([part.tiles for part in parts])
    order = map_order(tiles["level"], tiles["lattice_row"], tiles["lattice_column"])
    tiles = tiles[order]
    digests = [part.digests for part in parts if part.digests is not None]
    if len(digests) == len(parts):
        write_digests(staging, np.concatenate(digests)[order])
    contrasts = [part.contrast for part in parts if part.contrast is not None]
    if len(contrasts) == len(parts):
        contrast = np.concatenate(contrasts)[order]
        _tell_distinctiveness(tiles, levels, parts, order, contrast, staging.parent)
    contents = MapContents(
        encoder_sha256=like.encoder_sha256,
        frame=like.frame,
        levels=levels,
        tiles=tiles,
        descriptor_mean=descriptor_mean,
        projection=like.projection,
        preview=preview,
    )
    provenance = {**provenance, "bounds": bounds_of(like.frame, tiles)}
    storage = str(like.manifest["storage"])
    write_region_map(
        staging,
        contents,
        _chunks(parts, order),
        provenance,
        storage="int8" if storage == "pq" else storage,
    )
    return len(tiles)


def _tell_distinctiveness(
    tiles: npt.NDArray[np.void],
    levels: Sequence[MapLevel],
    parts: Sequence[PlacedTiles],
    order: npt.NDArray[np.intp],
    contrast: npt.NDArray[np.float32],
    work: Path,
) -> None:
    """Fill in the distinctiveness of tiles whose contrast is known; others keep theirs."""
    size = parts[0].descriptors_of(parts[0].rows[:1]).shape[1]
    with tempfile.TemporaryFile(dir=work) as stream:
        for chunk in _chunks(parts, order):
            stream.write(chunk.astype("<f2").tobytes())
        stream.flush()
        descriptors = np.memmap(stream, "<f2", "r", shape=(len(tiles), size))
        before = tiles["distinctiveness"].copy()
        set_distinctiveness(tiles, levels, descriptors, contrast)
    unknown = np.isnan(contrast)
    tiles["distinctiveness"][unknown] = before[unknown]


def cropped_levels(
    levels: Sequence[MapLevel], tiles: npt.NDArray[np.void]
) -> tuple[tuple[MapLevel, ...], npt.NDArray[np.intp], npt.NDArray[np.void]]:
    """Lattices that reach no further than their tiles; levels without a tile are left out.

    Returns:
        The lattices, the numbers of the levels that they were, and the tiles on them.
    """
    moved = tiles.copy()
    kept, cropped = np.unique(tiles["level"]).astype(np.intp), []
    for number, before in enumerate(kept):
        chosen = tiles["level"] == before
        level = levels[before]
        rows, columns = tiles["lattice_row"][chosen], tiles["lattice_column"][chosen]
        first_row, first_column = rows.min(), columns.min()
        east, north = level.centre(first_row, first_column)
        cropped.append(
            replace(
                level,
                rows=int(rows.max() - first_row) + 1,
                columns=int(columns.max() - first_column) + 1,
                first_east_m=float(east),
                first_north_m=float(north),
            )
        )
        moved["level"][chosen] = number
        moved["lattice_row"][chosen] = rows - first_row
        moved["lattice_column"][chosen] = columns - first_column
    return tuple(cropped), kept, moved


def provenance_after(
    sources: Sequence[RegionMap], operation: str, details: dict[str, Any]
) -> dict[str, Any]:
    """Manifest fields that the first source hands on, and a line of history.

    The sources are named by their manifests' SHA-256, which cover all their files.
    """
    first = sources[0].manifest
    kept = {name: first[name] for name in _KEPT_PROVENANCE if name in first}
    before = first.get(_HISTORY)
    step = {
        "operation": operation,
        "from": [
            {
                "map": source.folder.resolve().name,
                "manifest_sha256": source.manifest_sha256,
            }
            for source in sources
        ],
        **details,
    }
    return {**kept, _HISTORY: [*(before if isinstance(before, list) else []), step]}


def _chunks(
    parts: Sequence[PlacedTiles], order: npt.NDArray[np.intp]
) -> Iterator[npt.NDArray[np.float32]]:
    part_of = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])[order]
    rows = np.concatenate([part.rows for part in parts])[order]
    for start in range(0, len(order), _ROWS_PER_CHUNK):
        chunk = slice(start, start + _ROWS_PER_CHUNK)
        found: npt.NDArray[np.float32] | None = None
        for number in np.unique(part_of[chunk]):
            chosen = part_of[chunk] == number
            read = parts[number].descriptors_of(rows[chunk][chosen])
            if found is None:
                found = np.empty((len(chosen), read.shape[1]), np.float32)
            found[chosen] = read
        if found is not None:
            yield found
