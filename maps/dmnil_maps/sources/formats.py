"""Which files GDAL is given to open, and as what; nothing here reaches beyond local files."""

from __future__ import annotations

import sqlite3
import warnings
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader

from dmnil_maps.sources.reading_errors import one_line
from edge_runtime.contract.errors import MapError

READING_OPTIONS = {
    "GDAL_CACHEMAX": 256,
    # The shortcut for whole pictures passes over a PNG that is cut short.
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # GDAL 3.10 loses the errors of the threads in which it reads large parts of a mosaic.
    "VRT_NUM_THREADS": "1",
    # Sources that name the network are refused before; these are the second lock. Nobody answers
    # on the port of the proxy, so what tries to fetch fails at once.
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_HTTP_PROXY": "127.0.0.1:9",
    "GDAL_HTTPS_PROXY": "127.0.0.1:9",
    "GDAL_HTTP_MAX_RETRY": "0",
}
"""GDAL's configuration while imagery is open; the cache of decoded blocks is in MiB."""

MOSAIC_DRIVER = "VRT"
LARGEST_PICTURE_PX = 2**27
"""PNG, JPEG and WebP are decoded whole, so larger ones are refused: 134 million pixels."""
LARGEST_BLOCK_BYTES = 2**28
_DECODED_WHOLE = ("PNG", "JPEG", "WEBP")
_HEADER_BYTES = 4096
_BESIDE = ":::BASE:::"
_SIGNATURES = (
    (b"II*\x00", "GTiff"),
    (b"MM\x00*", "GTiff"),
    (b"II+\x00", "GTiff"),
    (b"MM\x00+", "GTiff"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x00\x00\x00\x0cjP  ", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"EHFA_HEADER_TAG", "HFA"),
)
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")
_KNOWN = (
    "GeoTIFF, VRT, MBTiles, GeoPackage, JPEG 2000, Erdas Imagine, ENVI, PNG, JPEG and WebP are "
    "read; bring others into GeoTIFF with gdal_translate -of COG"
)


class UnreadableRasterError(MapError):
    """GDAL cannot open a file that may be a raster."""


def driver_of(path: Path) -> str:
    """The GDAL driver for a file, by its first bytes.

    Raises:
        MapError: If it is an archive, vector tiles or nothing that is read here.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except OSError as error:
        raise MapError(f"{path} cannot be read: {one_line(error)}") from error
    for signature, driver in _SIGNATURES:
        if head.startswith(signature):
            return driver
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"SQLite format 3\x00"):
        return _driver_of_database(path)
    if b"<vrtdataset" in head.lower():
        return MOSAIC_DRIVER
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        raise MapError(f"{path} is an archive: unpack it and name the imagery in it")
    headers = (path.with_suffix(".hdr"), path.with_name(f"{path.name}.hdr"))
    if any(header.is_file() and _starts_with(header, b"ENVI") for header in headers):
        return "ENVI"
    raise UnreadableRasterError(f"{path} is not a raster that GDAL can read here: {_KNOWN}")


def open_raster(path: Path, driver: str, **options: Any) -> DatasetReader:
    """Open a local file by one driver.

    Raises:
        MapError: If GDAL cannot, or reading it would need memory without bounds.
    """
    dataset = open_by_gdal(str(path.absolute()), str(path), driver=driver, **options)
    try:
        _check_overviews(dataset, path)
        _check_size(dataset, path)
    except MapError:
        dataset.close()
        raise
    return dataset


def open_by_gdal(connection: str, name: str, **options: Any) -> DatasetReader:
    """`rasterio.open`, whose errors become a line of ours.

    Raises:
        MapError: If GDAL cannot open it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(connection, **options)
    except RasterioIOError as error:
        raise UnreadableRasterError(
            f"{name} is not a raster that GDAL can read: {one_line(error)}"
        ) from error


def _check_overviews(dataset: DatasetReader, path: Path) -> None:
    """A raster, or the .aux.xml beside it, may send GDAL anywhere for its overviews."""
    named = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE", "").removeprefix(_BESIDE)
    if any(separator in named for separator in "/\\:<"):
        raise MapError(
            f"{path} names {named[:80]!r} for its overviews, which are read only from beside it: "
            "remove its .aux.xml, or copy it with gdal_translate -of COG"
        )


def _check_size(dataset: DatasetReader, path: Path) -> None:
    remedy = "make it a tiled one with gdal_translate -of COG"
    if dataset.driver in _DECODED_WHOLE and dataset.width * dataset.height > LARGEST_PICTURE_PX:
        raise MapError(
            f"{path} has {dataset.width} x {dataset.height} pixels that can only be decoded whole "
            f"(at most {LARGEST_PICTURE_PX // 10**6} million are): {remedy}"
        )
    if not dataset.count or dataset.driver in _DECODED_WHOLE:
        return
    rows, columns = dataset.block_shapes[0]
    block_bytes = rows * columns * dataset.count * _bytes_per_value(dataset.dtypes[0])
    if block_bytes > LARGEST_BLOCK_BYTES:
        raise MapError(
            f"{path} is stored in blocks of {columns} x {rows} pixels, {block_bytes // 2**20} MiB "
            f"each (at most {LARGEST_BLOCK_BYTES // 2**20} are read): {remedy}"
        )


def _bytes_per_value(dtype: str) -> int:
    digits = "".join(character for character in dtype if character.isdigit())
    return int(digits) // 8 if digits else 1


def _driver_of_database(path: Path) -> str:
    """MBTiles or GeoPackage; tiles of vectors hold no picture."""
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            if "gpkg_contents" in tables:
                return "GPKG"
            if not {"metadata", "tiles"} <= tables:
                raise MapError(f"{path} is a database without tiles: {_KNOWN}")
            stated = database.execute("SELECT value FROM metadata WHERE name = 'format'").fetchone()
            first = database.execute("SELECT tile_data FROM tiles LIMIT 1").fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        raise MapError(f"{path} cannot be read: {one_line(error)}") from error
    if first is None:
        raise MapError(f"{path} holds no tiles")
    if (stated and str(stated[0]).lower() in ("pbf", "mvt")) or bytes(first[0][:2]) == b"\x1f\x8b":
        raise MapError(vector_tiles(path))
    return "MBTiles"


def vector_tiles(path: Path) -> str:
    """What is said of vector tiles, of a file or a folder."""
    return f"{path} holds vector tiles: a region map needs pictures, so get raster tiles of imagery"


def _starts_with(path: Path, signature: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(signature)) == signature
