"""A raster in one file: GeoTIFF, VRT, MBTiles, a picture with a world file and the like."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader, MemoryFile

from dmnil_maps.sources.formats import (
    MOSAIC_DRIVER,
    driver_of,
    open_by_gdal,
    open_raster,
)
from dmnil_maps.sources.georeference import check_place, has_place
from dmnil_maps.sources.layer import Layer, Opener, choose_bands
from dmnil_maps.sources.mbtiles import Options, opening_options
from dmnil_maps.sources.mosaic_policy import check_mosaic
from dmnil_maps.sources.picture_mosaic import mosaic_xml, placed_picture
from edge_runtime.contract.errors import MapError


def raster_layers(path: Path, zoom: int | None = None, crs: CRS | None = None) -> list[Layer]:
    """A file as a layer, or as one either side of 180 degrees.

    Args:
        zoom: Zoom level of MBTiles; the highest when None.
        crs: Where the file itself names no coordinate reference system.

    Raises:
        MapError: If it is no raster, has no place on Earth, or one that cannot be.
    """
    driver = driver_of(path)
    if zoom is not None and driver != "MBTiles":
        raise MapError(
            f"{path} is no tile pyramid: a zoom applies to tile folders and MBTiles only"
        )
    if driver == MOSAIC_DRIVER:
        check_mosaic(path)
    if driver == "MBTiles":
        return [_layer(path, driver, crs, options) for options in opening_options(path, zoom)]
    return [_layer(path, driver, crs, {})]


def _layer(path: Path, driver: str, crs: CRS | None, options: Options) -> Layer:
    with open_raster(path, driver, **options) as dataset:
        if not dataset.count:
            raise MapError(f"{path} holds no picture, or several: name one with gdal_translate")
        place = dataset.crs or crs
        if place is None or not has_place(dataset):
            raise MapError(_no_georeference(path, dataset))
        check_place(place, dataset.transform, dataset.width, dataset.height, str(path))
        if np.dtype(dataset.dtypes[0]).kind not in "iuf":
            raise MapError(f"{path} has {dataset.dtypes[0]} pixels, which are no picture")
        xml = _as_mosaic(dataset, path, place)

        def reopen(overview: int | None) -> DatasetReader:
            if xml is not None:
                return open_by_gdal(xml, str(path))
            more = {} if overview is None else {"OVERVIEW_LEVEL": overview}
            return open_raster(path, driver, **options, **more)

        if xml is None:
            return _layer_of(dataset, path, place, reopen, tuple(dataset.overviews(1)))
    with reopen(None) as mosaic:
        return _layer_of(mosaic, path, place, reopen, ())


def _layer_of(
    dataset: DatasetReader, path: Path, crs: CRS, reopen: Opener, overviews: tuple[int, ...]
) -> Layer:
    bands = choose_bands(dataset, str(path))
    block_height, block_width = dataset.block_shapes[0]
    dtype = str(dataset.dtypes[bands.colours[0] - 1])
    used = dataset.tags(bands.colours[0], ns="IMAGE_STRUCTURE").get("NBITS")
    return Layer(
        name=str(path),
        crs=crs,
        transform=dataset.transform,
        width=dataset.width,
        height=dataset.height,
        block_width=block_width,
        block_height=block_height,
        bands=bands,
        dtype=dtype,
        bits=int(used) if used else np.dtype(dtype).itemsize * 8,
        open=reopen,
        overviews=overviews,
    )


def _as_mosaic(dataset: DatasetReader, path: Path, crs: CRS) -> str | None:
    """A VRT that gives the file its colours or its reference system, where it needs that."""
    if dataset.colorinterp[0] == ColorInterp.palette:
        size = dataset.width, dataset.height
        picture = placed_picture(dataset, path, 0, 0, *size)
        rows, columns = dataset.block_shapes[0]
        return mosaic_xml([picture], crs, dataset.transform, size, (columns, rows))
    if dataset.crs is not None:
        return None
    with MemoryFile(ext=".vrt") as memory:
        rasterio.shutil.copy(dataset, memory.name, driver=MOSAIC_DRIVER)
        root = ElementTree.fromstring(memory.read())
    reference = root.find("SRS")
    if reference is None:
        reference = ElementTree.SubElement(root, "SRS")
    reference.text = crs.to_wkt()
    return ElementTree.tostring(root, encoding="unicode")


def _no_georeference(path: Path, dataset: DatasetReader) -> str:
    if has_place(dataset):
        return (
            f"{path} has no georeference that is complete: it names no coordinate reference "
            "system, so name it with --crs EPSG:..."
        )
    return (
        f"{path} has no georeference: add one with gdal_translate -a_srs and -a_ullr, or "
        "warp it with gdalwarp if it has control points"
    )
