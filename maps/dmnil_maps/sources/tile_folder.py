"""A folder of picture tiles, zoom/x/y.jpg in Web Mercator, as layers of a few hundred tiles."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import morecantile
import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.io import DatasetReader
from rasterio.transform import Affine

from dmnil_maps.sources.formats import (
    UnreadableRasterError,
    driver_of,
    open_by_gdal,
    open_raster,
    vector_tiles,
)
from dmnil_maps.sources.layer import Bands, Layer
from dmnil_maps.sources.picture_mosaic import PlacedPicture, mosaic_xml, placed_picture
from edge_runtime.contract.errors import MapError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_VECTOR_SUFFIXES = (".pbf", ".mvt")
_WEB_MERCATOR = morecantile.tms.get("WebMercatorQuad")
_WEB_MERCATOR_CRS = CRS.from_epsg(3857)
_LAST_ZOOM = 24
_CHUNK = 16
"""Tiles along a side of a layer, so that memory does not grow with the folder."""
_LARGEST_TILE_PX = 4096
_MERCATOR_DEG = 85.06
_TMS_DESCRIPTION = "tilemapresource.xml"
_DESCRIPTIONS = ("metadata.json", "tilejson.json", "tiles.json")


@dataclass(frozen=True)
class _Listing:
    """Tiles of one zoom: their XYZ numbers (N,) and files."""

    folder: Path
    zoom: int
    x: npt.NDArray[np.int64]
    y: npt.NDArray[np.int64]
    names: npt.NDArray[np.bytes_]

    def path(self, number: int) -> Path:
        """A tile's file."""
        return self.folder / bytes(self.names[number]).decode()


def is_tile_folder(folder: Path) -> bool:
    """Whether it holds folders zoom/x, named by numbers, with tiles in them."""
    return any(True for _ in _zooms(folder))


def tile_folder_layers(folder: Path, zoom: int | None, tms: bool | None) -> list[Layer]:
    """The tiles of one zoom; missing tiles are ground without imagery.

    Args:
        zoom: Zoom level to read; the highest present when None.
        tms: Rows are counted from the south; taken from the folder's description when None.

    Raises:
        MapError: If the folder holds no picture tiles in z/x/y layout, or not that zoom.
    """
    level = _chosen_zoom(folder, zoom)
    from_south = _rows_from_south(folder, level) if tms is None else tms
    listing = _list_tiles(folder / str(level), level, from_south)
    width, height = _size_of_tiles(listing)
    chunk_x, chunk_y = listing.x // _CHUNK, listing.y // _CHUNK
    order = np.lexsort((chunk_x, chunk_y))
    steps = np.diff(chunk_x[order]) | np.diff(chunk_y[order])
    groups = np.split(order, np.flatnonzero(steps) + 1)
    return [_chunk_layer(listing, numbers, width, height) for numbers in groups]


def _zooms(folder: Path) -> Iterator[int]:
    for number, entry in _numbered(folder):
        columns = (child for _, child in _numbered(entry) if child.is_dir())
        if number <= _LAST_ZOOM and any(
            file.suffix.lower() in SUFFIXES + _VECTOR_SUFFIXES
            for column in columns
            for _, file in _numbered(column)
        ):
            yield number


def _chosen_zoom(folder: Path, zoom: int | None) -> int:
    zooms = sorted(_zooms(folder))
    if zoom is None:
        return zooms[-1]
    if zoom not in zooms:
        raise MapError(f"{folder} holds no zoom {zoom}, only {', '.join(map(str, zooms))}")
    return zoom


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Entries of a folder that are named by a number (and a suffix), in its order."""
    if not folder.is_dir():
        return []
    entries = [
        (int(entry.stem), entry)
        for entry in folder.iterdir()
        if entry.stem.isascii() and entry.stem.isdigit()
    ]
    return sorted(entries, key=lambda item: (item[0], item[1].name))


def _list_tiles(folder: Path, zoom: int, from_south: bool) -> _Listing:
    matrix = _WEB_MERCATOR.matrix(zoom)
    last = matrix.matrixHeight - 1
    numbers: list[tuple[int, int]] = []
    names: list[str] = []
    vectors = False
    for x, column in _numbered(folder):
        taken: set[int] = set()
        for y, path in _numbered(column):
            suffix = path.suffix.lower()
            vectors |= suffix in _VECTOR_SUFFIXES
            if suffix not in SUFFIXES or y in taken:
                continue
            if max(x, y) > last:
                raise MapError(f"{path}: zoom {zoom} has tile numbers 0 to {last} only")
            if not path.stat().st_size:
                continue  # many tools note so that a tile does not exist
            taken.add(y)
            numbers.append((x, last - y if from_south else y))
            names.append(f"{column.name}/{path.name}")
    if not numbers:
        if vectors:
            raise MapError(vector_tiles(folder.parent))
        raise MapError(_no_tiles(folder, zoom))
    x_of_tiles, y_of_tiles = np.array(numbers, np.int64).T
    return _Listing(
        folder, zoom, x_of_tiles, y_of_tiles, np.array([name.encode() for name in names])
    )


def _no_tiles(folder: Path, zoom: int) -> str:
    return (
        f"{folder} holds no readable tiles: expected {zoom}/x/y with one of {', '.join(SUFFIXES)}"
    )


def _size_of_tiles(listing: _Listing) -> tuple[int, int]:
    """Columns and rows of the first tile that opens."""
    for number in range(len(listing.x)):
        try:
            with _open_tile(listing.path(number)) as tile:
                return tile.width, tile.height
        except MapError:
            continue
    raise MapError(_no_tiles(listing.folder, listing.zoom))


def _open_tile(path: Path) -> DatasetReader:
    tile = open_raster(path, driver_of(path))
    if max(tile.width, tile.height) > _LARGEST_TILE_PX:
        tile.close()
        raise MapError(f"{path} is larger than a tile, which has {_LARGEST_TILE_PX} px at most")
    return tile


def _chunk_layer(
    listing: _Listing, numbers: npt.NDArray[np.int64], tile_width: int, tile_height: int
) -> Layer:
    x, y = listing.x[numbers], listing.y[numbers]
    first_x, first_y = int(x.min()), int(y.min())
    columns, rows = int(x.max()) - first_x + 1, int(y.max()) - first_y + 1
    present = np.zeros((rows, columns), np.bool_)
    present[y - first_y, x - first_x] = True
    north_west = _WEB_MERCATOR.xy_bounds(morecantile.Tile(first_x, first_y, listing.zoom))
    south_east = _WEB_MERCATOR.xy_bounds(
        morecantile.Tile(first_x + columns - 1, first_y + rows - 1, listing.zoom)
    )

    def transform_of(width: int, height: int) -> Affine:
        return Affine(
            (south_east.right - north_west.left) / (columns * width),
            0.0,
            north_west.left,
            0.0,
            (south_east.bottom - north_west.top) / (rows * height),
            north_west.top,
        )

    written: list[bytes] = []

    def write_chunk() -> str:
        pictures: list[tuple[int, int, PlacedPicture]] = []
        for row, column, number in zip(
            (y - first_y).tolist(), (x - first_x).tolist(), numbers.tolist(), strict=True
        ):
            path = listing.path(number)
            try:
                with _open_tile(path) as tile:
                    pictures.append((row, column, placed_picture(tile, path, 0, 0, 0, 0)))
            except UnreadableRasterError:
                layer.left_out[row, column] = "it is not a picture that GDAL can read"
            except MapError as error:
                layer.left_out[row, column] = str(error)
        width = max((picture.own_width for _, _, picture in pictures), default=tile_width)
        height = max((picture.own_height for _, _, picture in pictures), default=tile_height)
        placed = (
            picture.moved(column * width, row * height, width, height)
            for row, column, picture in pictures
        )
        size = columns * width, rows * height
        return mosaic_xml(
            placed, _WEB_MERCATOR_CRS, transform_of(width, height), size, (width, height)
        )

    def open_chunk(overview: int | None) -> DatasetReader:
        # Every tile's header is read once; what is kept of it is some 50 bytes.
        if not written:
            written.append(zlib.compress(write_chunk().encode()))
        return open_by_gdal(zlib.decompress(written[0]).decode(), layer.name)

    def name_of_block(row: int, column: int) -> str:
        return str(listing.path(int(numbers[(y == first_y + row) & (x == first_x + column)][0])))

    layer = Layer(
        name=str(listing.folder),
        crs=_WEB_MERCATOR_CRS,
        transform=transform_of(tile_width, tile_height),
        width=columns * tile_width,
        height=rows * tile_height,
        block_width=tile_width,
        block_height=tile_height,
        bands=Bands((1, 2, 3)),
        dtype="uint8",
        bits=8,
        open=open_chunk,
        name_of_block=name_of_block,
        present=present,
    )
    return layer


def _rows_from_south(folder: Path, zoom: int) -> bool:
    """What the folder's own description says of its rows: TMS counts from the south."""
    described = folder / _TMS_DESCRIPTION
    if described.is_file():
        _check_tile_map(described)
        return True
    for name in _DESCRIPTIONS:
        if (folder / name).is_file():
            return _is_tms(folder, folder / name, zoom)
    return False


def _check_tile_map(path: Path) -> None:
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise MapError(f"{path} is not a TMS description: {error}") from error
    sets = root.find("TileSets")
    profile = "" if sets is None else sets.get("profile", "")
    if profile not in ("", "mercator", "global-mercator"):
        raise MapError(
            f"{path} describes tiles of profile {profile}, only mercator is read: build the map "
            "from the raster that the tiles were made of"
        )


def _is_tms(folder: Path, path: Path, zoom: int) -> bool:
    """By the bounds that a description states, else by its scheme.

    mb-util and others keep the scheme of the MBTiles in it that the folder no longer has.
    """
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False
    if not isinstance(description, dict):
        return False
    stated = description.get("scheme") == "tms"
    bounds = description.get("bounds")
    try:
        edges = bounds.split(",") if isinstance(bounds, str) else bounds
        west, south, east, north = (float(edge) for edge in edges or ())
    except (ValueError, TypeError):
        return stated
    if not -_MERCATOR_DEG < south < north < _MERCATOR_DEG:
        return stated
    middle = _WEB_MERCATOR.tile((west + east) / 2, (south + north) / 2, zoom).y
    rows = {y for _, column in _numbered(folder / str(zoom)) for y, _ in _numbered(column)}
    inside = min(rows) <= middle <= max(rows)
    flipped = min(rows) <= _WEB_MERCATOR.matrix(zoom).matrixHeight - 1 - middle <= max(rows)
    return stated if inside == flipped else flipped
