"""The writing side of `imagery.tif`: tiles in their order, then where each one ended up."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import OutputError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_imagery import (
    BIG_TIFF,
    DEFLATE,
    ENTRY,
    HEADER,
    JPEG,
    TAG_COMPRESSION,
    TAG_HEIGHT,
    TAG_PIXEL_SCALE,
    TAG_TIE_POINT,
    TAG_TILE_BYTES,
    TAG_TILE_HEIGHT,
    TAG_TILE_OFFSETS,
    TAG_TILE_WIDTH,
    TAG_WIDTH,
    TILE_PX,
    TYPES,
    ImageryGrid,
)

JPEG_QUALITY = 80

EncodedTile = tuple[int, int, bytes, bytes]
"""Row and column of a tile, its JPEG stream and its deflated mask."""

_BYTE_CODES = {np.dtype(text).str: code for code, text in TYPES.items()}
_TAG_COPYRIGHT = 33432
_USER_DEFINED = 32767
_ORTHOGRAPHIC = 21
_GEO_DOUBLES = 34736


def write_map_imagery(
    path: Path,
    frame: LocalFrame,
    grid: ImageryGrid,
    tiles: Iterable[EncodedTile],
    attribution: str = "",
) -> int:
    """Write a map's picture tile by tile, in any order; returns how many tiles it has.

    Places that no tile is given for have no picture and take no room.

    Raises:
        OutputError: If the file cannot be written.
    """
    count = grid.rows * grid.columns
    places = np.zeros((2, count, 2), np.uint64)
    directories = [_picture_tags(frame, grid, attribution), _mask_tags(grid)]
    masks: dict[bytes, int] = {}
    written = 0
    try:
        with path.open("wb") as stream:
            stream.write(_head(directories, places))
            for row, column, picture, mask in tiles:
                number = row * grid.columns + column
                places[0, number] = stream.tell(), len(picture)
                stream.write(picture)
                # Most masks are alike, all covered, and stand in the file once.
                if mask not in masks:
                    masks[mask] = stream.tell()
                    stream.write(mask)
                places[1, number] = masks[mask], len(mask)
                written += 1
            stream.seek(0)
            stream.write(_head(directories, places))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return written


def encode_tile(
    rgb: npt.NDArray[np.uint8], covered: npt.NDArray[np.bool_]
) -> tuple[bytes, bytes] | None:
    """A tile (256, 256, 3) and where it is covered (256, 256) as stored; None if nowhere.

    Raises:
        OutputError: If OpenCV cannot encode it.
    """
    if not covered.any():
        return None
    done, content = cv2.imencode(
        ".jpg",
        cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
        [
            cv2.IMWRITE_JPEG_QUALITY,
            JPEG_QUALITY,
            cv2.IMWRITE_JPEG_OPTIMIZE,
            1,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
            cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        ],
    )
    if not done:
        raise OutputError("a tile of the map's picture cannot be encoded")
    return content.tobytes(), zlib.compress(np.packbits(covered, axis=1).tobytes(), 9)


_Tags = dict[int, npt.NDArray[Any]]


def _picture_tags(frame: LocalFrame, grid: ImageryGrid, attribution: str) -> _Tags:
    tags = {
        **_size_tags(grid),
        258: _shorts(8, 8, 8),  # bits per sample
        TAG_COMPRESSION: _shorts(JPEG),
        262: _shorts(6),  # photometric: YCbCr
        277: _shorts(3),  # samples per pixel
        284: _shorts(1),  # planar: interleaved
        530: _shorts(2, 2),  # chroma halved in both directions
        TAG_PIXEL_SCALE: np.array([grid.metres_per_pixel, grid.metres_per_pixel, 0.0]),
        TAG_TIE_POINT: np.array([0.0, 0.0, 0.0, grid.west_m, grid.north_m, 0.0]),
        34735: _geo_keys(),
        _GEO_DOUBLES: np.array([frame.longitude_deg, frame.latitude_deg, 0.0, 0.0]),
    }
    if attribution:
        credit = attribution.encode("utf-8", "replace") + b"\0"
        tags[_TAG_COPYRIGHT] = np.frombuffer(credit, "S1")
    return tags


def _mask_tags(grid: ImageryGrid) -> _Tags:
    return {
        254: np.array([4], "<u4"),  # a mask of the picture before
        **_size_tags(grid),
        258: _shorts(1),
        TAG_COMPRESSION: _shorts(DEFLATE),
        262: _shorts(4),  # photometric: mask
        277: _shorts(1),
        284: _shorts(1),
    }


def _size_tags(grid: ImageryGrid) -> _Tags:
    return {
        TAG_WIDTH: np.array([grid.columns * TILE_PX], "<u4"),
        TAG_HEIGHT: np.array([grid.rows * TILE_PX], "<u4"),
        TAG_TILE_WIDTH: _shorts(TILE_PX),
        TAG_TILE_HEIGHT: _shorts(TILE_PX),
    }


def _geo_keys() -> npt.NDArray[np.uint16]:
    """GeoTIFF keys of the orthographic projection of WGS84 at the frame's origin."""
    keys = [
        (1024, 0, 1, 1),  # a projected system
        (1025, 0, 1, 1),  # a pixel is an area
        (2048, 0, 1, 4326),  # of WGS84
        (3072, 0, 1, _USER_DEFINED),
        (3074, 0, 1, _USER_DEFINED),
        (3075, 0, 1, _ORTHOGRAPHIC),
        (3076, 0, 1, 9001),  # in metres
        (3080, _GEO_DOUBLES, 1, 0),  # longitude of the origin
        (3081, _GEO_DOUBLES, 1, 1),  # latitude
        (3082, _GEO_DOUBLES, 1, 2),  # false easting
        (3083, _GEO_DOUBLES, 1, 3),  # false northing
    ]
    return np.array([(1, 1, 0, len(keys)), *keys], "<u2").ravel()


def _head(directories: list[_Tags], places: npt.NDArray[np.uint64]) -> bytes:
    """Header and both directories with their values; as long whatever the places are."""
    whole = [
        {**tags, TAG_TILE_OFFSETS: place[:, 0], TAG_TILE_BYTES: place[:, 1]}
        for tags, place in zip(directories, places, strict=True)
    ]
    sizes = [8 + len(tags) * ENTRY.size + 8 for tags in whole]
    starts = [HEADER.size, HEADER.size + sizes[0]]
    values_at = starts[1] + sizes[1]
    head, values = [HEADER.pack(*BIG_TIFF, starts[0])], bytearray()
    for tags, after in zip(whole, (starts[1], 0), strict=True):
        head.append(struct.pack("<Q", len(tags)))
        for tag in sorted(tags):
            value = np.ascontiguousarray(tags[tag])
            content = value.tobytes()
            if len(content) > 8:
                place = values_at + len(values)
                values += content + bytes(-len(content) % 8)
                content = struct.pack("<Q", place)
            code = _BYTE_CODES[value.dtype.str]
            head.append(ENTRY.pack(tag, code, value.size, content.ljust(8, b"\0")))
        head.append(struct.pack("<Q", after))
    return b"".join(head) + bytes(values)


def _shorts(*values: int) -> npt.NDArray[np.uint16]:
    return np.array(values, "<u2")
