"""Pictures of 8 bits put side by side as one raster for GDAL: RGB and a mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader
from rasterio.transform import Affine

_COLOURS = ("Red", "Green", "Blue")
_OPAQUE = 255


@dataclass(frozen=True)
class PlacedPicture:
    """A picture, and the rectangle of the mosaic that it fills.

    Args:
        palette: None without a colour table, else whether its colours may be transparent.
    """

    path: Path
    left: int
    top: int
    width: int
    height: int
    own_width: int
    own_height: int
    bands: int
    dtype: str
    palette: bool | None

    def moved(self, left: int, top: int, width: int, height: int) -> PlacedPicture:
        """The same picture in another place."""
        return replace(self, left=left, top=top, width=width, height=height)


def placed_picture(
    dataset: DatasetReader, path: Path, left: int, top: int, width: int, height: int
) -> PlacedPicture:
    """What a mosaic has to know of an open picture."""
    palette = None
    if dataset.colorinterp[0] == ColorInterp.palette:
        alphas = {colour[3] for colour in dataset.colormap(1).values()}
        palette = dataset.nodata is None and min(alphas, default=_OPAQUE) < _OPAQUE
    return PlacedPicture(
        path.absolute(),
        left,
        top,
        width,
        height,
        dataset.width,
        dataset.height,
        dataset.count,
        "UInt16" if dataset.dtypes[0] == "uint16" else "Byte",
        palette,
    )


def mosaic_xml(
    pictures: Iterable[PlacedPicture],
    crs: CRS,
    transform: Affine,
    size: tuple[int, int],
    block: tuple[int, int],
) -> str:
    """A GDAL VRT of the pictures; where none is, or where one is transparent, it is masked out.

    Args:
        size: Columns and rows of the mosaic.
        block: Columns and rows that are read at once.
    """
    root = ElementTree.Element("VRTDataset", rasterXSize=str(size[0]), rasterYSize=str(size[1]))
    ElementTree.SubElement(root, "SRS").text = crs.to_wkt()
    ElementTree.SubElement(root, "GeoTransform").text = ", ".join(
        repr(float(value)) for value in transform.to_gdal()
    )
    blocks = {"dataType": "Byte", "blockXSize": str(block[0]), "blockYSize": str(block[1])}
    bands = [
        ElementTree.SubElement(root, "VRTRasterBand", blocks | {"band": str(number + 1)})
        for number in range(3)
    ]
    for band, colour in zip(bands, _COLOURS, strict=True):
        ElementTree.SubElement(band, "ColorInterp").text = colour
    mask = ElementTree.SubElement(ElementTree.SubElement(root, "MaskBand"), "VRTRasterBand", blocks)
    for picture in pictures:
        for number, band in enumerate(bands):
            if picture.palette is None:
                _add_source(band, picture, str(number + 1 if picture.bands >= 3 else 1))
            else:
                _add_source(band, picture, "1", component=number + 1)
        if picture.palette:
            _add_source(mask, picture, "1", component=4)
        else:
            _add_source(mask, picture, "mask,1")
    return ElementTree.tostring(root, encoding="unicode")


def _add_source(
    band: ElementTree.Element, picture: PlacedPicture, number: str, component: int | None = None
) -> None:
    """Add a picture's band, or a component of its colour table: red, green, blue, alpha."""
    source = ElementTree.SubElement(band, "SimpleSource" if component is None else "ComplexSource")
    name = ElementTree.SubElement(source, "SourceFilename", relativeToVRT="0")
    name.text = str(picture.path)
    ElementTree.SubElement(source, "SourceBand").text = number
    own = {"xSize": str(picture.own_width), "ySize": str(picture.own_height)}
    ElementTree.SubElement(
        source,
        "SourceProperties",
        RasterXSize=own["xSize"],
        RasterYSize=own["ySize"],
        DataType=picture.dtype,
    )
    ElementTree.SubElement(source, "SrcRect", own | {"xOff": "0", "yOff": "0"})
    ElementTree.SubElement(
        source,
        "DstRect",
        xOff=str(picture.left),
        yOff=str(picture.top),
        xSize=str(picture.width),
        ySize=str(picture.height),
    )
    if component is not None:
        ElementTree.SubElement(source, "ColorTableComponent").text = str(component)
