"""The writing side of the region map contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.artefact import write_manifest
from edge_runtime.contract.geodesy import LocalFrame
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


def finish_region_map(staging: Path, contents: MapContents, provenance: Mapping[str, Any]) -> None:
    """Write tiles, means, projection and manifest beside descriptors and preview already there.

    Args:
        provenance: Further manifest fields: where imagery and encoder came from.
    """
    np.save(staging / TILES_FILE, contents.tiles)
    np.save(staging / MEAN_FILE, contents.descriptor_mean.astype(np.float32))
    np.save(staging / PROJECTION_FILE, contents.projection.astype(np.float32))
    counts = np.bincount(contents.tiles["level"], minlength=len(contents.levels))
    body = {
        "encoder_sha256": contents.encoder_sha256,
        "encoder_descriptor_size": int(contents.projection.shape[0]),
        "descriptor_size": int(contents.projection.shape[1]),
        "frame": {
            "origin_latitude_deg": contents.frame.latitude_deg,
            "origin_longitude_deg": contents.frame.longitude_deg,
        },
        "levels": [
            {**asdict(level), "tiles": int(count)}
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
    """Tile records (N,) for lattice positions (N,), with their latitudes and longitudes."""
    tiles = np.zeros(len(level_of_tile), TILE_DTYPE)
    tiles["level"] = level_of_tile
    tiles["lattice_row"] = lattice_row
    tiles["lattice_column"] = lattice_column
    for number, level in enumerate(levels):
        chosen = np.flatnonzero(level_of_tile == number)
        centres = level.centre(lattice_row[chosen], lattice_column[chosen])
        tiles["latitude_deg"][chosen], tiles["longitude_deg"][chosen] = frame.to_geodetic(centres)
        tiles["footprint_m"][chosen] = level.footprint_m
    return tiles
