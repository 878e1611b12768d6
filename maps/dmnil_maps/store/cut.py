"""The pack for a mission out of a vector store, equal to the one that its map's cut gives."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dmnil_maps.area import GeodeticArea, LocalArea, locate
from dmnil_maps.operations.cut import CutReport, cut_region_map, lattice_bounds
from dmnil_maps.picture_digest import DIGESTS_FILE, write_digests
from dmnil_maps.store.client import CALL_TIMEOUT_S, milvus_client
from dmnil_maps.store.fill import (
    STORED_FILES,
    collections_with_maps,
    identity_of,
    stored_tiles,
)
from dmnil_maps.store.schema import (
    CONTENT,
    DESCRIPTOR,
    DIGEST,
    FILE_NAME,
    LATTICE_BLOCK,
    PART,
    TILE_ROW,
    files_collection_of,
    lattice_block,
    tiles_of,
)
from edge_runtime.contract.artefact import MANIFEST_NAME
from edge_runtime.contract.descriptor_store import DescriptorStore, Rows, open_array
from edge_runtime.contract.errors import MapError, OutputError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_lattice import BLOCK, MapLattice
from edge_runtime.contract.region_map import (
    MAP_SCHEMA_VERSION,
    MEAN_FILE,
    PROJECTION_FILE,
    TILE_DTYPE,
    MapLevel,
    PreviewPicture,
    RegionMap,
)
from edge_runtime.progress import progress_bar

if TYPE_CHECKING:
    from pymilvus import MilvusClient

_QUERY_BYTES = 8 << 20
_PARTS_PER_QUERY = 64
_MOST_ROWS = 16_384
"""Of one answer, by Milvus's limit."""
_MARGIN_M = 1.0
"""Blocks are taken a little wider than they are; which tiles stay is decided tile by tile."""


class _FetchedStore(DescriptorStore):
    """Float32 descriptors in the order in which they came, read in the map's order."""

    def __init__(self, stored: npt.NDArray[Any], order: npt.NDArray[np.intp]) -> None:
        super().__init__(stored, stored.shape[1])
        self._order = order

    def _read(self, rows: Rows | slice) -> npt.NDArray[Any]:
        return super()._read(self._order[rows])

    def _decode(self, stored: npt.NDArray[Any], rows: Rows | slice) -> npt.NDArray[np.float32]:
        return np.asarray(stored, np.float32)


def cut_from_store(uri: str, collection: str | None, output: Path, area: GeodeticArea) -> CutReport:
    """Write the map of a stored map's tiles that touch an area: `cut_map`, byte for byte.

    Args:
        uri: http://host:19530 of a Milvus server, or a local name.db.
        collection: The store's only map when None.
    Raises:
        ConfigError: If the URI is malformed or pymilvus is missing.
        MapError: If the store cannot be used, or has no tile in the area.
        OutputError: If the map cannot be written.
    """
    with milvus_client(uri) as client, _scratch_beside(output) as scratch:
        name, identity = _chosen(client, uri, collection)
        tiles = stored_tiles(client, name)
        if tiles != identity["tiles"]:
            raise MapError(
                f"{uri}: collection {name} has {tiles:,} of {identity['tiles']:,} tiles: its "
                "storing was stopped, run dmnil-map store again"
            )
        folder = scratch / str(identity["map"])
        folder.mkdir()
        manifest = _restore_files(client, uri, name, identity, folder)
        frame, levels, preview = _described(manifest, uri, name)
        local = locate(area, frame, lattice_bounds(levels))
        fetched, store = _fetch(client, name, levels, local, manifest, folder)
        if not len(fetched):
            raise MapError(f"{uri}: no tile of collection {name} touches {area.name}")
        region_map = RegionMap(
            folder=folder,
            manifest=manifest,
            frame=frame,
            levels=levels,
            tiles_per_level=tuple(np.bincount(fetched["level"], minlength=len(levels)).tolist()),
            tiles=fetched,
            store=store,
            # Its lattice is the whole map's, which a cut has no use for.
            lattice=MapLattice(folder, (), np.empty(0, "i4"), np.empty((0, BLOCK, BLOCK), "i4"), 0),
            descriptor_mean=np.asarray(open_array(folder / MEAN_FILE)),
            projection=np.asarray(open_array(folder / PROJECTION_FILE)),
            preview=preview,
        )
        report = cut_region_map(region_map, output, area.name, local)
    return replace(report, tiles_before=tiles)


@contextmanager
def _scratch_beside(output: Path) -> Iterator[Path]:
    """A folder for what comes out of the store, on the disk that the map goes to."""
    parent = output.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{output.name}.", dir=parent) as scratch:
            yield Path(scratch)
    except OSError as error:
        raise OutputError(f"cannot write {output}: {error.strerror or error}") from error


def _chosen(client: MilvusClient, uri: str, collection: str | None) -> tuple[str, dict[str, Any]]:
    """The collection to cut from, and which map it holds."""
    there = collections_with_maps(client)
    if not there:
        raise MapError(f"{uri} holds no region map: fill it by dmnil-map store MAP --milvus {uri}")
    if collection is None and len(there) > 1:
        raise MapError(f"{uri} holds several maps, choose a --collection: {', '.join(there)}")
    name = there[0] if collection is None else collection
    identity = identity_of(client, name) if name in there else None
    if identity is None:
        raise MapError(
            f"{uri} has no whole region map in a collection {name}; it has: {', '.join(there)}"
        )
    return name, identity


def _restore_files(
    client: MilvusClient, uri: str, name: str, identity: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Write the stored files into a folder; returns the manifest, to which all are held."""
    contents: dict[str, list[bytes]] = {}
    for start in range(1, int(identity["parts"]), _PARTS_PER_QUERY):
        found = client.query(
            files_collection_of(name),
            filter=f"{PART} >= {start} and {PART} < {start + _PARTS_PER_QUERY}",
            output_fields=[PART, FILE_NAME, CONTENT],
            limit=_PARTS_PER_QUERY,
            timeout=CALL_TIMEOUT_S,
        )
        for row in sorted(found, key=lambda row: int(row[PART])):
            contents.setdefault(row[FILE_NAME], []).append(base64.b64decode(row[CONTENT]))
    whole = {file_name: b"".join(contents.get(file_name, [])) for file_name in STORED_FILES}
    manifest: dict[str, Any] = {}
    for file_name in STORED_FILES:
        expected = identity["manifest_sha256"]
        if file_name != MANIFEST_NAME:
            expected = manifest["files"][file_name]["sha256"]
        if hashlib.sha256(whole[file_name]).hexdigest() != expected:
            raise MapError(
                f"{uri}: {file_name} of collection {name} was altered: store the map again with "
                "--replace"
            )
        if file_name == MANIFEST_NAME:
            manifest = json.loads(whole[file_name])
        (folder / file_name).write_bytes(whole[file_name])
    return manifest


def _described(
    manifest: dict[str, Any], uri: str, name: str
) -> tuple[LocalFrame, tuple[MapLevel, ...], PreviewPicture]:
    if manifest["schema_version"] != MAP_SCHEMA_VERSION:
        raise MapError(
            f"{uri}: collection {name} has schema version {manifest['schema_version']}, this "
            f"release reads {MAP_SCHEMA_VERSION}: build the map again and store it"
        )
    origin = manifest["frame"]
    names = [field.name for field in fields(MapLevel)]
    levels = tuple(MapLevel(**{key: entry[key] for key in names}) for entry in manifest["levels"])
    frame = LocalFrame(origin["origin_latitude_deg"], origin["origin_longitude_deg"])
    return frame, levels, PreviewPicture(**manifest["preview"])


def _fetch(
    client: MilvusClient,
    name: str,
    levels: tuple[MapLevel, ...],
    local: LocalArea,
    manifest: dict[str, Any],
    folder: Path,
) -> tuple[npt.NDArray[np.void], DescriptorStore]:
    """All tiles of the blocks that touch the area, in the map's order, descriptors on disk."""
    size = int(manifest["descriptor_size"])
    blocks = np.concatenate([_blocks_touching(n, level, local) for n, level in enumerate(levels)])
    at_a_time = max(1, min(_MOST_ROWS, _QUERY_BYTES // (4 * size)) // BLOCK**2)
    tiles, rows, digests = [], [], []
    path = folder / "descriptors.fetched"
    with path.open("wb") as stream, progress_bar("dmnil-map", len(blocks), "block") as progress:
        for start in range(0, len(blocks), at_a_time):
            asked = blocks[start : start + at_a_time]
            found = client.query(
                name,
                filter=f"{LATTICE_BLOCK} in {asked.tolist()}",
                output_fields=[TILE_ROW, DIGEST, DESCRIPTOR, *(TILE_DTYPE.names or ())],
                limit=len(asked) * BLOCK**2,
                timeout=CALL_TIMEOUT_S,
            )
            tiles.append(tiles_of(found))
            rows += [row[TILE_ROW] for row in found]
            digests += [row[DIGEST] for row in found]
            _append(stream, [row[DESCRIPTOR] for row in found])
            progress.update(len(asked))
    if not rows:
        return np.empty(0, TILE_DTYPE), _FetchedStore(np.empty((0, size)), np.empty(0, np.intp))
    order = np.argsort(np.array(rows, np.int64))
    if DIGESTS_FILE in manifest["files"]:
        write_digests(folder, np.array(digests, np.int64).view(np.uint64)[order])
    stored = np.memmap(path, np.float32, "r", shape=(len(rows), size))
    return np.concatenate(tiles)[order], _FetchedStore(stored, order)


def _append(stream: IO[bytes], descriptors: list[Any]) -> None:
    stream.write(np.array(descriptors, np.float32).tobytes())


def _blocks_touching(number: int, level: MapLevel, local: LocalArea) -> npt.NDArray[np.int64]:
    """Numbers (B,) of a level's lattice blocks with ground in the area, if all tiles are there."""
    row, column = np.divmod(
        np.arange(-(-level.rows // BLOCK) * -(-level.columns // BLOCK)), -(-level.columns // BLOCK)
    )
    first = level.centre(row * BLOCK, column * BLOCK)
    last = level.centre(
        np.minimum(row * BLOCK + BLOCK, level.rows) - 1,
        np.minimum(column * BLOCK + BLOCK, level.columns) - 1,
    )
    reach = level.footprint_m / 2 + _MARGIN_M
    west, north = first[:, 0] - reach, first[:, 1] + reach
    east, south = last[:, 0] + reach, last[:, 1] - reach
    chosen = local.touches(west, south, east, north)
    return lattice_block(number, row[chosen], column[chosen])
