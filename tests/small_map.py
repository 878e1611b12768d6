"""A real but small region map of random descriptors, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_runtime.contract.artefact import MANIFEST_NAME, staged_directory, write_manifest
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import map_order
from edge_runtime.contract.region_map import (
    MAP_KIND,
    PREVIEW_FILE,
    MapLevel,
    PreviewPicture,
)
from edge_runtime.contract.region_map_writer import (
    MapContents,
    tiles_on_lattice,
    write_region_map,
)

FRAME = LocalFrame(47.3769, 8.5417)
LEVEL = MapLevel(
    footprint_m=120.0,
    stride_m=30.0,
    rows=24,
    columns=30,
    first_east_m=-435.0,
    first_north_m=345.0,
)
DESCRIPTOR_SIZE = 24
PREVIEW_SCALE_M = 2.0


def write_small_map(
    folder: Path,
    encoder_sha256: str = "0" * 64,
    encoder_size: int = 49,
    levels: tuple[MapLevel, ...] = (LEVEL,),
    missing: frozenset[tuple[int, int]] = frozenset(),
    storage: str = "float16",
    coarse_index: bool | None = None,
) -> Path:
    """Write a map whose tiles have random unit descriptors; `missing` lattice places have none."""
    rng = np.random.default_rng(11)
    numbers, rows, columns = [], [], []
    for number, level in enumerate(levels):
        for row, column in np.ndindex(level.rows, level.columns):
            if (row, column) not in missing:
                numbers.append(number)
                rows.append(row)
                columns.append(column)
    places = np.array([numbers, rows, columns])
    tiles = tiles_on_lattice(FRAME, levels, *places[:, map_order(*places)])
    descriptors = rng.normal(size=(len(tiles), DESCRIPTOR_SIZE))
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    projection, _ = np.linalg.qr(rng.normal(size=(encoder_size, DESCRIPTOR_SIZE)))
    contents = MapContents(
        encoder_sha256=encoder_sha256,
        frame=FRAME,
        levels=levels,
        tiles=tiles,
        descriptor_mean=rng.normal(size=(len(levels), encoder_size)).astype(np.float32),
        projection=projection.astype(np.float32),
        preview=PreviewPicture(west_m=-500.0, north_m=400.0, metres_per_pixel=PREVIEW_SCALE_M),
    )
    with staged_directory(folder, MAP_KIND) as staging:
        preview = np.full((400, 500, 3), 90, np.uint8)
        if not cv2.imwrite(str(staging / PREVIEW_FILE), preview):
            raise OSError(f"{PREVIEW_FILE} was not written")
        chunks = np.array_split(descriptors.astype(np.float32), 3)
        provenance = {"imagery": {"attribution": "nobody"}}
        write_region_map(
            staging, contents, chunks, provenance, storage=storage, coarse_index=coarse_index
        )
    return folder


def seal_again(folder: Path, **changes: Any) -> None:
    """Write an artefact's manifest anew over the files as they are now, with fields changed."""
    manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    kind, schema_version = manifest.pop("kind"), manifest.pop("schema_version")
    del manifest["files"]
    write_manifest(folder, kind, schema_version, {**manifest, **changes})


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    """Overwrite fields of a manifest and leave all else, its file entries too, as it is."""
    path = folder / MANIFEST_NAME
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**manifest, **changes}), encoding="utf-8")
