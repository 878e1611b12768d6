"""A region map into a vector store, from which missions are cut."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmnil_maps.picture_digest import read_digests
from dmnil_maps.store.client import CALL_TIMEOUT_S, milvus_client
from dmnil_maps.store.schema import (
    LONGEST_CONTENT,
    create_collections,
    file_rows,
    files_collection_of,
    tile_rows,
)
from edge_runtime.contract.artefact import MANIFEST_NAME
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.region_map import (
    MEAN_FILE,
    PREVIEW_FILE,
    PROJECTION_FILE,
    RegionMap,
    load_region_map,
)
from edge_runtime.progress import progress_bar

if TYPE_CHECKING:
    from pymilvus import MilvusClient

IDENTITY = "identity"
"""The file of a store that says which map it holds."""
STORED_FILES = (MANIFEST_NAME, MEAN_FILE, PROJECTION_FILE, PREVIEW_FILE)
"""What a cut needs beside tiles and descriptors."""
_BATCH_BYTES = 4 << 20
_BYTES_OF_FIELDS = 128
_PART_BYTES = LONGEST_CONTENT // 4 * 3
_COLLECTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")


@dataclass(frozen=True)
class StoreReport:
    """What a store holds now."""

    collection: str
    tiles: int
    added: int
    """Tiles that were not there before."""


def store_map(
    source: Path, uri: str, collection: str | None = None, *, replace: bool = False
) -> StoreReport:
    """Put a map's tiles into a collection; one that was stopped goes on where it was.

    Args:
        uri: http://host:19530 of a Milvus server, or a local name.db.
        collection: Named after the map when None.
        replace: Put the map in the place of another one.
    Raises:
        ConfigError: If the URI or the collection's name is malformed, or pymilvus is missing.
        MapError: If the map or the store cannot be used, or the collection holds another map.
    """
    region_map = load_region_map(source)
    name = collection_name(source.resolve().name.removesuffix(".map"), collection)
    with milvus_client(uri, create=True) as client:
        _prepare(client, uri, name, region_map, replace)
        before = stored_tiles(client, name)
        if before < len(region_map.tiles):
            _add_tiles(client, name, region_map, before)
        after = stored_tiles(client, name)
    if after != len(region_map.tiles):
        raise MapError(
            f"{uri}: collection {name} has {after:,} tiles after storing {len(region_map.tiles):,} "
            f"of {source}: store it again with --replace"
        )
    return StoreReport(name, after, after - before)


def collection_name(default: str, chosen: str | None) -> str:
    """A collection's name: the chosen one, or one after the map's.

    Raises:
        ConfigError: If Milvus has no such names.
    """
    name = re.sub(r"\W", "_", default, flags=re.ASCII) if chosen is None else chosen
    if chosen is None and not re.match(r"[A-Za-z_]", name):
        name = f"_{name}"
    if not _COLLECTION_NAME.fullmatch(name) or name.endswith(files_collection_of("")):
        raise ConfigError(
            f"{name!r} cannot name a collection: letters, digits and underscores, no digit first"
        )
    return name


def stored_tiles(client: MilvusClient, collection: str) -> int:
    """How many tiles a collection holds."""
    client.load_collection(collection, timeout=CALL_TIMEOUT_S)
    found = client.query(
        collection,
        output_fields=["count(*)"],
        consistency_level="Strong",
        timeout=CALL_TIMEOUT_S,
    )
    return int(found[0]["count(*)"])


def identity_of(client: MilvusClient, collection: str) -> dict[str, Any] | None:
    """Which map a collection holds, or None if its storing ended before that was written."""
    files = files_collection_of(collection)
    if not client.has_collection(files, timeout=CALL_TIMEOUT_S):
        return None
    client.load_collection(files, timeout=CALL_TIMEOUT_S)
    found = client.query(
        files,
        filter=f'file == "{IDENTITY}"',
        output_fields=["content"],
        limit=1,
        consistency_level="Strong",
        timeout=CALL_TIMEOUT_S,
    )
    return dict(json.loads(found[0]["content"])) if found else None


def collections_with_maps(client: MilvusClient) -> list[str]:
    """Names of the collections that have a map's files beside them."""
    names = set(client.list_collections(timeout=CALL_TIMEOUT_S))
    return sorted(name for name in names if files_collection_of(name) in names)


def _prepare(
    client: MilvusClient, uri: str, name: str, region_map: RegionMap, replace: bool
) -> None:
    """Make sure that the collection is there and this map's."""
    own = {
        "encoder_sha256": region_map.encoder_sha256,
        "manifest_sha256": region_map.manifest_sha256,
        "tiles": len(region_map.tiles),
        "descriptor_size": region_map.descriptor_size,
        "map": region_map.folder.resolve().name,
    }
    names = (name, files_collection_of(name))
    there = [other for other in names if client.has_collection(other, timeout=CALL_TIMEOUT_S)]
    held = identity_of(client, name) if there else None
    if held is not None and held["manifest_sha256"] == own["manifest_sha256"] and len(there) == 2:
        return
    if held is not None and not replace:
        _refuse(uri, name, region_map, held)
    if there == [name] and not replace and stored_tiles(client, name):
        raise MapError(
            f"{uri}: collection {name} is no region map of ours: choose another --collection"
        )
    for other in there:  # another map's, or left by a storing that was stopped at its start
        client.drop_collection(other, timeout=CALL_TIMEOUT_S)
    create_collections(client, name, region_map.descriptor_size)
    _add_files(client, name, region_map, own)


def _refuse(uri: str, name: str, region_map: RegionMap, held: dict[str, Any]) -> None:
    other = str(held.get("encoder_sha256", ""))
    if other != region_map.encoder_sha256:
        raise MapError(
            f"{uri}: collection {name} holds descriptors of encoder {other[:12]}, "
            f"{region_map.folder} is of {region_map.encoder_sha256[:12]}: choose another "
            "--collection, or --replace it"
        )
    raise MapError(
        f"{uri}: collection {name} holds another map, manifest "
        f"{str(held.get('manifest_sha256', ''))[:12]}: choose another --collection, or --replace it"
    )


def _add_files(
    client: MilvusClient, name: str, region_map: RegionMap, identity: dict[str, Any]
) -> None:
    """Write the map's files, its identity last: without it, storing starts afresh."""
    part = 1
    for file_name in STORED_FILES:
        content = (region_map.folder / file_name).read_bytes()
        pieces = range(0, len(content), _PART_BYTES)
        texts = [base64.b64encode(content[at : at + _PART_BYTES]).decode() for at in pieces]
        for row in file_rows(part, file_name, texts):
            client.upsert(files_collection_of(name), [row], timeout=CALL_TIMEOUT_S)
        part += len(texts)
    rows = file_rows(0, IDENTITY, [json.dumps({**identity, "parts": part})])
    client.upsert(files_collection_of(name), rows, timeout=CALL_TIMEOUT_S)


def _add_tiles(client: MilvusClient, name: str, region_map: RegionMap, stored: int) -> None:
    """Add tiles in the map's order; `stored` of them, the first ones, are there already."""
    tiles, digests = region_map.tiles, read_digests(region_map)
    batch = max(1, _BATCH_BYTES // (4 * region_map.descriptor_size + _BYTES_OF_FIELDS))
    with progress_bar("dmnil-map", len(tiles), "tile") as progress:
        first = stored // batch * batch
        progress.update(first)
        for start in range(first, len(tiles), batch):
            rows = slice(start, min(start + batch, len(tiles)))
            client.upsert(
                name,
                tile_rows(
                    start,
                    tiles[rows],
                    region_map.descriptors_of(rows),
                    None if digests is None else digests[rows],
                ),
                timeout=CALL_TIMEOUT_S,
            )
            progress.update(rows.stop - rows.start)
