"""The writing side of the region map contract: every command that makes a map ends here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.artefact import write_manifest
from edge_runtime.contract.coarse_index import write_coarse_indexes
from edge_runtime.contract.descriptor_store import open_descriptors
from edge_runtime.contract.descriptor_writer import write_descriptors
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import map_order, write_lattice
from edge_runtime.contract.region_map import (
    MAP_KIND,
    MAP_SCHEMA_VERSION,
    MEAN_FILE,
    PROJECTION_FILE,
    TILE_DTYPE,
    TILES_FILE,
    MapLevel,
    PreviewPicture,
)


@dataclass(frozen=True)
class MapContents:
    """What a region map holds beside its descriptors and its preview picture."""

    encoder_sha256: str
    frame: LocalFrame
    levels: tuple[MapLevel, ...]
    tiles: npt.NDArray[np.void]
    descriptor_mean: npt.NDArray[np.float32]
    projection: npt.NDArray[np.float32]
    preview: PreviewPicture


def write_region_map(
    staging: Path,
    contents: MapContents,
    chunks: Iterable[npt.NDArray[np.float32]],
    provenance: Mapping[str, Any],
    *,
    storage: str = "float16",
    coarse_index: bool | None = None,
) -> None:
    """Write tiles, lattice, descriptors and manifest beside the preview picture already there.

    Args:
        staging: The folder to fill; whatever it holds at the end is hashed into the manifest.
        contents: Its tiles in the map's order (`map_order`).
        chunks: Descriptors (n, D) in the same order, a part at a time.
        provenance: Further manifest fields: where imagery and encoder came from.
        storage: float16, int8 or pq.
        coarse_index: Whether levels get one for searches without a prior; if None, those of more
            than 50,000 tiles do where faiss is installed.
    Raises:
        MapError: If tiles and descriptors do not fit together, or the storage does not suit them.
    """
    tiles, size = contents.tiles, int(contents.projection.shape[1])
    places = [tiles[name] for name in ("level", "lattice_row", "lattice_column")]
    if not len(tiles):
        raise MapError("a map without any tile cannot be written")
    if (np.diff(map_order(*places)) != 1).any():
        raise MapError("tiles are not in the map's order")
    write_lattice(staging, contents.levels, tiles)
    write_descriptors(staging, chunks, len(tiles), size, storage)
    counts = np.bincount(tiles["level"], minlength=len(contents.levels)).tolist()
    store = open_descriptors(staging, storage, len(tiles), size)
    write_coarse_indexes(staging, store, counts, coarse_index)
    np.save(staging / TILES_FILE, tiles)
    np.save(staging / MEAN_FILE, contents.descriptor_mean.astype(np.float32))
    np.save(staging / PROJECTION_FILE, contents.projection.astype(np.float32))
    body = {
        "encoder_sha256": contents.encoder_sha256,
        "encoder_descriptor_size": int(contents.projection.shape[0]),
        "descriptor_size": size,
        "storage": storage,
        "frame": {
            "origin_latitude_deg": contents.frame.latitude_deg,
            "origin_longitude_deg": contents.frame.longitude_deg,
        },
        "levels": [
            {**asdict(level), "tiles": count}
            for level, count in zip(contents.levels, counts, strict=True)
        ],
        "preview": asdict(contents.preview),
        **provenance,
    }
    write_manifest(staging, MAP_KIND, MAP_SCHEMA_VERSION, body)


def tiles_on_lattice(
    frame: LocalFrame,
    levels: Sequence[MapLevel],
    level_of_tile: npt.NDArray[np.integer[Any]],
    lattice_row: npt.NDArray[np.integer[Any]],
    lattice_column: npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.void]:
    """Tile records (N,) for lattice positions (N,), with their latitudes and longitudes.

    They come in the order given; their distinctiveness is 1.
    """
    tiles = np.zeros(len(level_of_tile), TILE_DTYPE)
    tiles["distinctiveness"] = 1.0
    tiles["level"] = level_of_tile
    tiles["lattice_row"] = lattice_row
    tiles["lattice_column"] = lattice_column
    for number, level in enumerate(levels):
        chosen = np.flatnonzero(level_of_tile == number)
        centres = level.centre(lattice_row[chosen], lattice_column[chosen])
        tiles["latitude_deg"][chosen], tiles["longitude_deg"][chosen] = frame.to_geodetic(centres)
        tiles["footprint_m"][chosen] = level.footprint_m
    return tiles
