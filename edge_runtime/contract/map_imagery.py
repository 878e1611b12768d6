"""The region's satellite picture as a drone carries it: windows of a tiled GeoTIFF, on demand.

`imagery.tif` is a BigTIFF of 256-pixel tiles, each a whole JPEG stream, in the map's own frame,
and a mask of one bit a pixel, deflated, of where there is a picture. GDAL reads it as any GeoTIFF.
Here the few tiles under a window are found by their offsets and decoded by OpenCV, so that neither
GDAL nor a TIFF library has to be on the drone, and memory does not grow with the region.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.descriptor_store import advise
from edge_runtime.contract.errors import MapError

IMAGERY_FILE = "imagery.tif"
TILE_PX = 256
MASK_BYTES = TILE_PX * TILE_PX // 8
LEAST_COVERED = 0.95
"""A view shows a window if this share of it has a picture, as a map keeps a tile."""

HEADER = struct.Struct("<2sHHHQ")
ENTRY = struct.Struct("<HHQ8s")
BIG_TIFF = (b"II", 43, 8, 0)
TAG_WIDTH, TAG_HEIGHT, TAG_COMPRESSION = 256, 257, 259
TAG_TILE_WIDTH, TAG_TILE_HEIGHT, TAG_TILE_OFFSETS, TAG_TILE_BYTES = 322, 323, 324, 325
TAG_PIXEL_SCALE, TAG_TIE_POINT = 33550, 33922
TYPES = {2: "S1", 3: "<u2", 4: "<u4", 12: "<f8", 16: "<u8"}
JPEG, DEFLATE = 7, 8

_MOST_ENTRIES = 64
_MOST_TILES_ALONG = 1 << 20
_MOST_TILES_OF_VIEW = 4096
_LARGEST_VIEW_PX = 4096
_TILES_KEPT = 32
_RESIDENT_BYTES = 16 << 20
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


@dataclass(frozen=True)
class ImageryGrid:
    """Where the picture's tiles lie in the map's frame; row 0 is the northernmost."""

    west_m: float
    north_m: float
    metres_per_pixel: float
    rows: int
    columns: int

    @property
    def tile_m(self) -> float:
        """Ground along a tile's side."""
        return TILE_PX * self.metres_per_pixel


class MapImagery:
    """A map's picture; several threads may read at a time."""

    def __init__(
        self,
        path: Path,
        grid: ImageryGrid,
        content: npt.NDArray[np.uint8],
        pictures: npt.NDArray[np.uint64],
        masks: npt.NDArray[np.uint64],
    ) -> None:
        """Over an open file; see `open_map_imagery`.

        Args:
            content: The file's bytes, memory-mapped.
            pictures: (rows * columns, 2) offset and length of each tile's JPEG; 0, 0 for none.
            masks: Likewise of each tile's mask.
        """
        self.path = path
        self.grid = grid
        self._content = content
        self._pictures = pictures
        self._masks = masks
        self._kept: OrderedDict[tuple[int, int], _Decoded] = OrderedDict()
        self._bytes_read = 0
        self._lock = threading.Lock()

    def view(
        self,
        centre_east_north_m: npt.ArrayLike,
        footprint_m: float,
        size: int,
        least_covered: float = LEAST_COVERED,
    ) -> npt.NDArray[np.uint8] | None:
        """A square of ground, north up, as (size, size, 3) RGB; None where it has no picture.

        Args:
            centre_east_north_m: In the map's frame.
            least_covered: Share of the square that must have a picture; the rest takes the
                picture's mean colour.
        Raises:
            ValueError: If the square is no square of ground, or too large to be read at once.
        """
        east, north = np.asarray(centre_east_north_m, np.float64)
        if not (np.isfinite([east, north, footprint_m]).all() and footprint_m > 0.0):
            raise ValueError(f"no square of ground: {footprint_m} m around {east}, {north}")
        if not 1 <= size <= _LARGEST_VIEW_PX:
            raise ValueError(f"a view has 1 to {_LARGEST_VIEW_PX} pixels a side, not {size}")
        step = footprint_m / size
        reduction = max(r for r in _REDUCED if r == 1 or r * self.grid.metres_per_pixel <= step)
        source_step = reduction * self.grid.metres_per_pixel
        left = (east - footprint_m / 2 - self.grid.west_m) / source_step
        top = (self.grid.north_m - north - footprint_m / 2) / source_step
        window = self._window(left, top, footprint_m / source_step, reduction)
        if window is None:
            return None
        rgb, covered, (first_column, first_row) = window
        # Two samples a pixel and their mean where the view is coarser than its source.
        finer = 2 if step > 1.001 * source_step else 1
        ratio = step / source_step / finer
        to_source = np.array(
            [
                [ratio, 0.0, left - first_column + (ratio - 1) / 2],
                [0.0, ratio, top - first_row + (ratio - 1) / 2],
            ]
        )
        shape = (finer * size, finer * size)
        inverse = cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(covered, to_source, shape, flags=cv2.INTER_NEAREST | inverse)
        if float(seen.mean()) < least_covered:
            return None
        border = cv2.BORDER_REPLICATE
        view = cv2.warpAffine(
            rgb, to_source, shape, flags=cv2.INTER_LINEAR | inverse, borderMode=border
        )
        if not seen.all():
            view[seen == 0] = np.rint(view[seen != 0].mean(axis=0))
        if finer > 1:
            view = cv2.resize(view, (size, size), interpolation=cv2.INTER_AREA)
        return np.asarray(view, np.uint8)

    def has_tile(self, row: int, column: int) -> bool:
        """Whether any of a tile's ground has a picture."""
        return bool(self._pictures[row * self.grid.columns + column, 1])

    def encoded(self, row: int, column: int) -> tuple[bytes, bytes] | None:
        """A tile's JPEG stream and deflated mask as they are stored, None where it has none."""
        if not self.has_tile(row, column):
            return None
        number = row * self.grid.columns + column
        return self._bytes(self._pictures[number]), self._bytes(self._masks[number])

    def decoded(
        self, row: int, column: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]] | None:
        """A tile's RGB (256, 256, 3) and where it is covered (256, 256), None where it has none.

        Raises:
            MapError: If the tile is damaged.
        """
        if not self.has_tile(row, column):
            return None
        tile = self._decode(row * self.grid.columns + column, 1)
        if tile is None:
            raise MapError(f"{self.path} is damaged at tile {row}, {column}: copy the map again")
        return tile.rgb, tile.covered.astype(np.bool_)

    def _window(
        self, left: float, top: float, side: float, reduction: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], tuple[int, int]] | None:
        """Pixels of a reduced picture under a window and around it, and which column and row."""
        tile_px = TILE_PX // reduction
        limits = np.array([self.grid.rows, self.grid.columns]) * tile_px
        corner_px = np.array([top, left])
        first = np.clip(np.floor(corner_px - 2), 0, limits).astype(np.int64)
        last = np.clip(np.ceil(corner_px + side + 2), 0, limits).astype(np.int64)
        if (first >= last).any():
            return None
        (row, column), (last_row, last_column) = first // tile_px, (last - 1) // tile_px
        if (last_row - row + 1) * (last_column - column + 1) > _MOST_TILES_OF_VIEW:
            raise ValueError(
                f"the view spans more than {_MOST_TILES_OF_VIEW} tiles of {self.path}: take a "
                "smaller footprint"
            )
        rgb = np.zeros((*(last - first), 3), np.uint8)
        covered = np.zeros(last - first, np.uint8)
        for at_row in range(row, last_row + 1):
            for at_column in range(column, last_column + 1):
                tile = self._tile(at_row * self.grid.columns + at_column, reduction)
                if tile is None:
                    continue
                corner = np.array([at_row, at_column]) * tile_px
                start, end = np.maximum(first, corner), np.minimum(last, corner + tile_px)
                into = tuple(slice(*span) for span in zip(start - first, end - first, strict=True))
                out = tuple(slice(*span) for span in zip(start - corner, end - corner, strict=True))
                rgb[into], covered[into] = tile.rgb[out], tile.covered[out]
        return rgb, covered, (int(first[1]), int(first[0]))

    def _tile(self, number: int, reduction: int) -> _Decoded | None:
        """A tile, from among those seen last where it is; None where it has no picture."""
        if not self._pictures[number, 1]:
            return None
        key = number, reduction
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        tile = self._decode(number, reduction)
        if tile is not None:
            with self._lock:
                self._kept[key] = tile
                while len(self._kept) > _TILES_KEPT:
                    self._kept.popitem(last=False)
        return tile

    def _decode(self, number: int, reduction: int) -> _Decoded | None:
        """A tile as it is stored, None where it is damaged: a flight does without."""
        encoded = np.frombuffer(self._bytes(self._pictures[number]), np.uint8)
        side = TILE_PX // reduction
        try:
            unpacked = zlib.decompressobj().decompress(self._bytes(self._masks[number]), MASK_BYTES)
            bgr = cv2.imdecode(encoded, _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION)
        except (cv2.error, zlib.error):
            return None
        if bgr is None or bgr.shape != (side, side, 3) or len(unpacked) != MASK_BYTES:
            return None
        bits = np.unpackbits(np.frombuffer(unpacked, np.uint8)).reshape(TILE_PX, TILE_PX)
        covered = bits.reshape(side, reduction, side, reduction).min(axis=(1, 3))
        return _Decoded(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), covered)

    def _bytes(self, place: npt.NDArray[np.uint64]) -> bytes:
        start, length = (int(value) for value in place)
        if start + length > len(self._content):
            return b""
        content = self._content[start : start + length].tobytes()
        with self._lock:
            self._bytes_read += length
            if self._bytes_read > _RESIDENT_BYTES:
                advise(self._content, "MADV_DONTNEED")
                self._bytes_read = 0
        return content


@dataclass(frozen=True)
class _Decoded:
    rgb: npt.NDArray[np.uint8]
    covered: npt.NDArray[np.uint8]


def open_map_imagery(path: Path) -> MapImagery:
    """Open a map's picture, reading its header only.

    Raises:
        MapError: If it cannot be read, or is not such a file as maps are built with.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
        picture, after = _directory(content, _first_directory(content))
        mask, _ = _directory(content, after)
        grid = _grid(picture)
        return MapImagery(
            path, grid, content, _places(picture, grid, JPEG), _places(mask, grid, DEFLATE)
        )
    except (OSError, ValueError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise MapError(
            f"{path} is not a map's picture as this release writes it ({error}): build the map "
            "again"
        ) from error


def _first_directory(content: npt.NDArray[np.uint8]) -> int:
    *kind, offset = HEADER.unpack(content[: HEADER.size].tobytes())
    if tuple(kind) != BIG_TIFF:
        raise ValueError("no little-endian BigTIFF")
    return int(offset)


def _directory(
    content: npt.NDArray[np.uint8], offset: int
) -> tuple[dict[int, npt.NDArray[Any]], int]:
    """Values of a directory's tags, memory-mapped, and where the next directory stands."""
    count = int(_array(content, offset, 1, "<u8")[0])
    if not 0 < count <= _MOST_ENTRIES:
        raise ValueError(f"a directory of {count} entries")
    values: dict[int, npt.NDArray[Any]] = {}
    for number in range(count):
        start = offset + 8 + number * ENTRY.size
        tag, kind, length, _ = ENTRY.unpack(content[start : start + ENTRY.size].tobytes())
        if kind not in TYPES:
            continue
        at = start + ENTRY.size - 8
        if length * np.dtype(TYPES[kind]).itemsize > 8:
            at = int(_array(content, at, 1, "<u8")[0])
        values[tag] = _array(content, at, length, TYPES[kind])
    return values, int(_array(content, offset + 8 + count * ENTRY.size, 1, "<u8")[0])


def _array(content: npt.NDArray[np.uint8], offset: int, count: int, kind: str) -> npt.NDArray[Any]:
    end = offset + count * np.dtype(kind).itemsize
    if end > len(content):
        raise ValueError("it ends too early")
    return content[offset:end].view(kind)


def _grid(picture: dict[int, npt.NDArray[Any]]) -> ImageryGrid:
    width, height = int(picture[TAG_WIDTH][0]), int(picture[TAG_HEIGHT][0])
    tile = int(picture[TAG_TILE_WIDTH][0]), int(picture[TAG_TILE_HEIGHT][0])
    if tile != (TILE_PX, TILE_PX) or width % TILE_PX or height % TILE_PX:
        raise ValueError(f"{width} x {height} pixels in tiles of {tile}")
    rows, columns = height // TILE_PX, width // TILE_PX
    if not 0 < rows <= _MOST_TILES_ALONG or not 0 < columns <= _MOST_TILES_ALONG:
        raise ValueError(f"{rows} x {columns} tiles")
    scale, tie = picture[TAG_PIXEL_SCALE][:3], picture[TAG_TIE_POINT][:6]
    if not np.isfinite([*scale, *tie]).all() or scale[0] <= 0.0 or scale[0] != scale[1]:
        raise ValueError(f"pixels of {scale} m at {tie}")
    return ImageryGrid(float(tie[3]), float(tie[4]), float(scale[0]), rows, columns)


def _places(
    directory: dict[int, npt.NDArray[Any]], grid: ImageryGrid, compression: int
) -> npt.NDArray[np.uint64]:
    """Offsets and lengths (N, 2) of a directory's tiles."""
    offsets, lengths = directory[TAG_TILE_OFFSETS], directory[TAG_TILE_BYTES]
    if int(directory[TAG_COMPRESSION][0]) != compression:
        raise ValueError(f"compression {int(directory[TAG_COMPRESSION][0])}")
    if not len(offsets) == len(lengths) == grid.rows * grid.columns:
        raise ValueError(f"{len(offsets)} tiles of {grid.rows * grid.columns}")
    return np.stack([offsets, lengths], axis=-1).astype(np.uint64)
