"""What a VRT may make GDAL open: local rasters in its own folder, and nothing else.

A VRT is a text that tells GDAL which files or servers to read. One that came with a download must
not fetch from a network or read about the disk, so plain mosaics only are taken, and every name in
them is checked before GDAL sees the file.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from dmnil_maps.sources.formats import MOSAIC_DRIVER, driver_of, open_raster
from edge_runtime.contract.errors import MapError

_LARGEST_BYTES = 2**28
_DEEPEST = 4
_FILE_NAME = "sourcefilename"
_NOT_PLAIN = frozenset({"sourcedataset", "gdalwarpoptions", "pixelfunctiontype", "relativetovrt"})
_PLAIN_CLASS = "vrtsourcedrasterband"
_FREE_TEXT = frozenset({"metadata", "srs", "description", "categorynames"})
_REMOTE = re.compile(r"/vsi|://", re.IGNORECASE)
_CONNECTION = re.compile(r"<|^\w{2,}:")
_REMEDY = (
    "only plain mosaics of local rasters beside or below the VRT are read: name the files "
    "themselves, or make one raster with gdal_translate -of COG"
)


def check_mosaic(path: Path, depth: int = 0) -> None:
    """Refuse a VRT that names anything but rasters in its own folder or below.

    Raises:
        MapError: If it does, or a raster that it names is not there or not readable.
    """
    if depth > _DEEPEST:
        raise MapError(f"{path} is a VRT of a VRT, more than {_DEEPEST} deep: {_REMEDY}")
    if path.stat().st_size > _LARGEST_BYTES:
        raise MapError(f"{path} is larger than a VRT can be: {_REMEDY}")
    content = path.read_bytes()
    # Comments and the like split a name in two for GDAL and not for Python's reader.
    if b"<!" in content or b"<?" in content[1:]:
        raise MapError(f"{path} is a VRT with more than plain elements in it: {_REMEDY}")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise MapError(f"{path} is not a well-formed VRT: {error}") from error
    for source in sorted(_sources_of(root, path)):
        try:
            driver = driver_of(source)
            if driver == MOSAIC_DRIVER:
                check_mosaic(source, depth + 1)
            else:
                open_raster(source, driver).close()
        except MapError as error:
            raise MapError(f"{path}: {error}" if depth == 0 else str(error)) from error


def _sources_of(root: ElementTree.Element, path: Path) -> set[Path]:
    """Every file that the VRT names. GDAL reads tags and attributes alike, in any case."""
    sources = set()
    pending = [root]
    while pending:
        element = pending.pop()
        tag, text = element.tag.lower(), (element.text or "").strip()
        if tag in _FREE_TEXT:
            continue
        attributes = {name.lower(): value for name, value in element.attrib.items()}
        subclass = attributes.pop("subclass", text if tag == "subclass" else _PLAIN_CLASS)
        if subclass.lower() != _PLAIN_CLASS:
            raise MapError(f"{path} is a {subclass[:80]}: {_REMEDY}")
        if tag == _FILE_NAME and not len(element):
            relative = attributes.pop("relativetovrt", "0") == "1"
            sources.add(_local_source(text, path, relative))
        elif {tag, *attributes} & (_NOT_PLAIN | {_FILE_NAME}):
            raise MapError(f"{path} is a VRT with {element.tag}: {_REMEDY}")
        elif any(_REMOTE.search(value) for value in (text, *attributes.values())):
            raise MapError(f"{path} is a VRT that names {text[:80]!r}: {_REMEDY}")
        pending.extend(element)
    if not sources:
        raise MapError(f"{path} is a VRT without sources: {_REMEDY}")
    return sources


def _local_source(name: str, path: Path, relative: bool) -> Path:
    if not name or _REMOTE.search(name) or _CONNECTION.search(name):
        raise MapError(f"{path} is a VRT that names {name[:80]!r}: {_REMEDY}")
    folder = path.parent.resolve()
    source = ((folder if relative else Path.cwd()) / name).resolve()
    if not source.is_relative_to(folder):
        raise MapError(f"{path} is a VRT that names {name[:80]!r} outside its folder: {_REMEDY}")
    if not source.is_file():
        raise MapError(f"{path} is a VRT that names {name[:80]!r}, which is not there")
    return source
