"""What a path given by the user holds: a file, a folder of rasters or of tiles, a list."""

from __future__ import annotations

import logging
from pathlib import Path

from rasterio.crs import CRS

from dmnil_maps.sources.damage import LARGEST_SHARE
from dmnil_maps.sources.formats import UnreadableRasterError
from dmnil_maps.sources.layer import Layer
from dmnil_maps.sources.raster_file import raster_layers
from dmnil_maps.sources.tile_folder import is_tile_folder, tile_folder_layers
from edge_runtime.contract.errors import MapError

logger = logging.getLogger(__name__)

_LIST_SUFFIX = ".txt"
_RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".img")
_WORLD_SUFFIXES = {
    ".jpg": (".jgw", ".jpgw"),
    ".jpeg": (".jgw", ".jpgw", ".jpegw"),
    ".png": (".pgw", ".pngw"),
    ".webp": (".webpw",),
}
_ANY_WORLD_SUFFIX = ".wld"


def layers_of(
    path: Path, zoom: int | None = None, crs: CRS | None = None, tms: bool | None = None
) -> list[Layer]:
    """The layers that a path stands for, the first ones on top.

    Args:
        path: Raster file, folder of tiles (zoom/x/y.jpg), folder of rasters, or text file of
            paths, one a line, which start from the list's own folder.
        zoom: Zoom of tile folders and MBTiles; the highest present when None.
        crs: For files that name no coordinate reference system.
        tms: Rows of tile folders are counted from the south; found out when None.

    Raises:
        MapError: If there is nothing there, or nothing that knows its place on Earth.
    """
    if not path.exists():
        raise MapError(f"{path}: no such file or folder of imagery")
    if path.is_dir():
        if is_tile_folder(path):
            return tile_folder_layers(path, zoom, tms)
        files = [file for file in sorted(path.rglob("*")) if _is_raster(file)]
        if not files:
            raise MapError(
                f"{path} holds no XYZ tiles (folders zoom/x with pictures y.jpg, y.png or y.webp) "
                f"and no rasters ({', '.join(_RASTER_SUFFIXES)}, pictures with world files)"
            )
        return _layers_of_files(files, path, zoom, crs)
    if path.suffix.lower() == _LIST_SUFFIX:
        return _layers_of_files(_listed(path), path, zoom, crs)
    return raster_layers(path, zoom, crs)


def _layers_of_files(
    files: list[Path], holder: Path, zoom: int | None, crs: CRS | None
) -> list[Layer]:
    layers = []
    unreadable = []
    for file in files:
        try:
            layers.extend(raster_layers(file, zoom, crs))
        except UnreadableRasterError as error:
            unreadable.append(str(error))
            logger.warning("its ground is left out: %s", error)
    if len(unreadable) > LARGEST_SHARE * len(files):
        raise MapError(
            f"{len(unreadable)} of {len(files)} rasters of {holder} cannot be read, where "
            f"{LARGEST_SHARE:.0%} is borne: {unreadable[0]}"
        )
    return layers


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MapError(f"{path} is not a list of rasters, one path a line: {error}") from error
    files = [path.parent / line.strip() for line in lines if line.strip()]
    if not files:
        raise MapError(f"{path} lists no rasters: write one path a line")
    for file in files:
        if not file.is_file():
            raise MapError(f"{path} lists {str(file)[:200]}, which is not there")
    return files


def _is_raster(file: Path) -> bool:
    suffix = file.suffix.lower()
    if suffix in _RASTER_SUFFIXES:
        return file.is_file()
    worlds = _WORLD_SUFFIXES.get(suffix, ())
    return bool(worlds) and any(
        file.with_suffix(world).is_file() for world in (*worlds, _ANY_WORLD_SUFFIX)
    )
