"""A folder of XYZ tiles (z/x/y.jpg, Web Mercator) as one GDAL mosaic."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import morecantile
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

from edge_runtime.contract.errors import MapError

logger = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_WEB_MERCATOR = morecantile.tms.get("WebMercatorQuad")
_LAST_ZOOM = 30
_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class XyzTile:
    """A picture of the pyramid: its place and what its header says."""

    path: Path
    x: int
    y: int
    width: int
    height: int
    bands: int
    has_palette: bool


def tile_folder_mosaic(folder: Path, zoom: int | None = None) -> str:
    """A GDAL VRT (as XML) of one zoom's tiles; missing and unreadable tiles are masked out.

    Args:
        zoom: Zoom level to read; the highest present when None.

    Raises:
        MapError: If the folder holds no tiles in z/x/y layout, or not that zoom.
    """
    level = _chosen_zoom(folder, zoom)
    tiles = list(_readable_tiles(folder / str(level), level))
    if not tiles:
        raise MapError(
            f"{folder / str(level)} holds no readable tiles: expected {level}/x/y with one of "
            f"{', '.join(SUFFIXES)}"
        )
    return _vrt(tiles, level)


def _chosen_zoom(folder: Path, zoom: int | None) -> int:
    zooms = [
        number
        for number, entry in _numbered(folder)
        if number <= _LAST_ZOOM and any(child.is_dir() for _, child in _numbered(entry))
    ]
    if not zooms:
        raise MapError(
            f"{folder} holds no XYZ tiles: expected folders zoom/x with pictures y"
            f"{', y'.join(SUFFIXES)} in them"
        )
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


def _readable_tiles(folder: Path, zoom: int) -> Iterator[XyzTile]:
    last_number = 2**zoom - 1
    for x, column in _numbered(folder):
        taken: set[int] = set()
        for y, path in _numbered(column):
            if path.suffix.lower() not in SUFFIXES or y in taken:
                continue
            if max(x, y) > last_number:
                raise MapError(f"{path}: zoom {zoom} has tile numbers 0 to {last_number} only")
            tile = _read_header(path, x, y)
            if tile is not None:
                taken.add(y)
                yield tile


def _read_header(path: Path, x: int, y: int) -> XyzTile | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as picture:
                palette = picture.colorinterp[0] == ColorInterp.palette
                return XyzTile(
                    path.absolute(), x, y, picture.width, picture.height, picture.count, palette
                )
    except RasterioIOError as error:
        logger.warning("%s cannot be read, its ground is left out: %s", path, error)
        return None


def _vrt(tiles: list[XyzTile], zoom: int) -> str:
    first_x, first_y = min(tile.x for tile in tiles), min(tile.y for tile in tiles)
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    columns = max(tile.x for tile in tiles) - first_x + 1
    rows = max(tile.y for tile in tiles) - first_y + 1
    corner = _WEB_MERCATOR.xy_bounds(morecantile.Tile(first_x, first_y, zoom))
    metres_x = (corner.right - corner.left) / width
    metres_y = (corner.top - corner.bottom) / height

    root = ElementTree.Element(
        "VRTDataset", rasterXSize=str(columns * width), rasterYSize=str(rows * height)
    )
    ElementTree.SubElement(root, "SRS").text = "EPSG:3857"
    ElementTree.SubElement(root, "GeoTransform").text = ", ".join(
        repr(float(value)) for value in (corner.left, metres_x, 0.0, corner.top, 0.0, -metres_y)
    )
    bands = [
        ElementTree.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number + 1))
        for number in range(3)
    ]
    for band, colour in zip(bands, _COLOURS, strict=True):
        ElementTree.SubElement(band, "ColorInterp").text = colour
    mask_holder = ElementTree.SubElement(root, "MaskBand")
    mask = ElementTree.SubElement(mask_holder, "VRTRasterBand", dataType="Byte")
    for tile in tiles:
        place = {
            "xOff": str((tile.x - first_x) * width),
            "yOff": str((tile.y - first_y) * height),
            "xSize": str(width),
            "ySize": str(height),
        }
        for number, band in enumerate(bands):
            _add_source(band, tile, place, number)
        _add_source(mask, tile, place, None)
    return ElementTree.tostring(root, encoding="unicode")


def _add_source(
    band: ElementTree.Element, tile: XyzTile, place: dict[str, str], colour: int | None
) -> None:
    """Add a tile to a band of the mosaic; colour None is the mask."""
    from_palette = tile.has_palette and colour is not None
    source = ElementTree.SubElement(band, "ComplexSource" if from_palette else "SimpleSource")
    ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0").text = str(tile.path)
    colour_band = "1" if colour is None or tile.bands < 3 else str(colour + 1)
    ElementTree.SubElement(source, "SourceBand").text = "mask,1" if colour is None else colour_band
    ElementTree.SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(tile.width),
        RasterYSize=str(tile.height),
        DataType="Byte",
    )
    ElementTree.SubElement(
        source,
        "SrcRect",
        xOff="0",
        yOff="0",
        xSize=str(tile.width),
        ySize=str(tile.height),
    )
    ElementTree.SubElement(source, "DstRect", place)
    if colour is not None and from_palette:
        ElementTree.SubElement(source, "ColorTableComponent").text = str(colour + 1)
