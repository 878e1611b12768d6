"""A map's tiles as a GeoParquet file, for people's own tools: DuckDB, geopandas, QGIS, polars."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import ConfigError, OutputError
from edge_runtime.contract.region_map import RegionMap

_ROWS_PER_GROUP = 16_384
_WKB_POINT = np.dtype([("order", "u1"), ("type", "<u4"), ("x", "<f8"), ("y", "<f8")])
_FIELDS_AS = {
    "latitude_deg": np.float64,
    "longitude_deg": np.float64,
    "footprint_m": np.float32,
    "level": np.uint16,
    "lattice_row": np.uint32,
    "lattice_column": np.uint32,
    "distinctiveness": np.float32,
}


def export_parquet(region_map: RegionMap, output: Path, *, descriptors: bool = True) -> Path:
    """Write one row per tile, in the map's order; returns the path.

    Columns are the tile's own fields, `descriptor` (a list of D float32, decoded) and `geometry`
    (the centre as WKB; GeoParquet 1.1, longitude and latitude).

    Args:
        descriptors: Leave them out where only places are wanted: they are nearly all of the file.
    Raises:
        ConfigError: If pyarrow is not installed.
        OutputError: If the file cannot be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            f"export needs pyarrow: pip install 'dmnil-edge[parquet]' ({error})"
        ) from error
    fields = [
        pyarrow.field(name, pyarrow.from_numpy_dtype(dtype)) for name, dtype in _FIELDS_AS.items()
    ]
    if descriptors:
        listed = pyarrow.list_(pyarrow.float32(), region_map.descriptor_size)
        fields.append(pyarrow.field("descriptor", listed))
    fields.append(pyarrow.field("geometry", pyarrow.binary()))
    schema = pyarrow.schema(fields, metadata=_metadata(region_map))
    staging = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with pyarrow.parquet.ParquetWriter(staging, schema, compression="zstd") as writer:
            for start in range(0, len(region_map.tiles), _ROWS_PER_GROUP):
                rows = slice(start, min(start + _ROWS_PER_GROUP, len(region_map.tiles)))
                columns = _columns(pyarrow, region_map, rows, schema)
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
        staging.replace(output)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            staging.unlink()
    return output


def _columns(pyarrow: Any, region_map: RegionMap, rows: slice, schema: Any) -> list[Any]:
    tiles = region_map.tiles[rows]
    columns = [
        pyarrow.array(np.ascontiguousarray(tiles[name], dtype))
        for name, dtype in _FIELDS_AS.items()
    ]
    if "descriptor" in schema.names:
        values = pyarrow.array(region_map.descriptors_of(rows).ravel())
        columns.append(pyarrow.FixedSizeListArray.from_arrays(values, region_map.descriptor_size))
    return [*columns, _points(pyarrow, tiles)]


def _points(pyarrow: Any, tiles: npt.NDArray[np.void]) -> Any:
    """Centres as WKB, one buffer for all."""
    points = np.zeros(len(tiles), _WKB_POINT)
    points["order"], points["type"] = 1, 1
    points["x"], points["y"] = tiles["longitude_deg"], tiles["latitude_deg"]
    ends = np.arange(len(tiles) + 1, dtype=np.int32) * _WKB_POINT.itemsize
    buffers = [None, pyarrow.py_buffer(ends), pyarrow.py_buffer(points.tobytes())]
    return pyarrow.Array.from_buffers(pyarrow.binary(), len(tiles), buffers)


def _metadata(region_map: RegionMap) -> dict[str, str]:
    geometry = {"encoding": "WKB", "geometry_types": ["Point"]}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    manifest = region_map.manifest
    told = {
        key: manifest.get(key)
        for key in ("encoder_sha256", "encoder", "storage", "imagery", "levels")
    }
    return {"geo": json.dumps(geo), "region_map": json.dumps(told)}
