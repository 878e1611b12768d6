"""A region map as rows of a vector store: one collection of tiles, one of the map's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dmnil_maps.store.client import CALL_TIMEOUT_S
from edge_runtime.contract.map_lattice import BLOCK
from edge_runtime.contract.region_map import TILE_DTYPE

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TILE_ROW = "tile_row"
"""A tile's row in the map, which is its primary key: the store keeps the map's order."""
LATTICE_BLOCK = "lattice_block"
"""The block of 32 x 32 lattice positions that a tile stands in: what a cut asks by."""
DESCRIPTOR = "descriptor"
DIGEST = "picture_digest"
PART, FILE_NAME, CONTENT = "part", "file", "content"
LONGEST_CONTENT = 65_535
"""Bytes of a text, by Milvus's limit."""
_UNUSED_VECTOR = "unused"
_LEVEL_SHIFT, _ROW_SHIFT = 48, 24


def files_collection_of(collection: str) -> str:
    """The collection beside a map's tiles that holds its manifest, axes and preview."""
    return f"{collection}__files"


def create_collections(client: MilvusClient, collection: str, descriptor_size: int) -> None:
    """Make both collections of a map, empty.

    Descriptors are float32: milvus-lite has no smaller type, and float32 holds every storage of
    maps exactly.
    """
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(TILE_ROW, DataType.INT64, is_primary=True)
    schema.add_field(LATTICE_BLOCK, DataType.INT64)
    for name in ("latitude_deg", "longitude_deg"):
        schema.add_field(name, DataType.DOUBLE)
    for name in ("footprint_m", "distinctiveness"):
        schema.add_field(name, DataType.FLOAT)
    for name in ("level", "lattice_row", "lattice_column"):
        schema.add_field(name, DataType.INT64)
    schema.add_field(DIGEST, DataType.INT64, nullable=True)
    schema.add_field(DESCRIPTOR, DataType.FLOAT_VECTOR, dim=descriptor_size)
    indexes = client.prepare_index_params()
    # Descriptors have unit length, so that the inner product is the cosine.
    # A cut asks by block alone; who searches the store may put another index in FLAT's place.
    indexes.add_index(DESCRIPTOR, index_type="FLAT", metric_type="IP")
    indexes.add_index(LATTICE_BLOCK, index_type="INVERTED")
    _create(client, collection, schema, indexes)

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field(PART, DataType.INT64, is_primary=True)
    schema.add_field(FILE_NAME, DataType.VARCHAR, max_length=256)
    schema.add_field(CONTENT, DataType.VARCHAR, max_length=LONGEST_CONTENT)
    # Milvus has no collection without a vector.
    schema.add_field(_UNUSED_VECTOR, DataType.FLOAT_VECTOR, dim=2)
    indexes = client.prepare_index_params()
    indexes.add_index(_UNUSED_VECTOR, index_type="FLAT", metric_type="L2")
    _create(client, files_collection_of(collection), schema, indexes)


def _create(client: MilvusClient, name: str, schema: Any, indexes: Any) -> None:
    client.create_collection(
        name, schema=schema, consistency_level="Strong", timeout=CALL_TIMEOUT_S
    )
    # Nothing is in it yet that an index would have to be waited for.
    client.create_index(name, indexes, timeout=CALL_TIMEOUT_S, sync=False)


def lattice_block(
    level: npt.NDArray[np.integer[Any]] | int,
    block_row: npt.NDArray[np.integer[Any]],
    block_column: npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.int64]:
    """Numbers (N,) of lattice blocks; 2^24 blocks along a side have room."""
    return (
        np.asarray(level, np.int64) << _LEVEL_SHIFT
        | np.asarray(block_row, np.int64) << _ROW_SHIFT
        | np.asarray(block_column, np.int64)
    )


def tile_rows(
    first_row: int,
    tiles: npt.NDArray[np.void],
    descriptors: npt.NDArray[np.float32],
    digests: npt.NDArray[np.uint64] | None,
) -> list[dict[str, Any]]:
    """Rows to store for tiles (N,) that stand together in the map, and descriptors (N, D)."""
    columns: dict[str, Any] = {name: tiles[name].tolist() for name in TILE_DTYPE.names or ()}
    columns[TILE_ROW] = range(first_row, first_row + len(tiles))
    columns[LATTICE_BLOCK] = lattice_block(
        tiles["level"], tiles["lattice_row"] // BLOCK, tiles["lattice_column"] // BLOCK
    ).tolist()
    columns[DIGEST] = (
        [None] * len(tiles) if digests is None else np.asarray(digests).view(np.int64).tolist()
    )
    columns[DESCRIPTOR] = list(descriptors)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def file_rows(first_part: int, name: str, texts: list[str]) -> list[dict[str, Any]]:
    """Rows to store for one file's parts."""
    return [
        {PART: first_part + number, FILE_NAME: name, CONTENT: text, _UNUSED_VECTOR: [0.0, 0.0]}
        for number, text in enumerate(texts)
    ]


def tiles_of(rows: list[dict[str, Any]]) -> npt.NDArray[np.void]:
    """Tile records (N,) of rows that were read."""
    tiles = np.empty(len(rows), TILE_DTYPE)
    for name in TILE_DTYPE.names or ():
        tiles[name] = [row[name] for row in rows]
    return tiles
