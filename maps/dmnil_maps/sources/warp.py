"""One layer warped into a window of the map's frame, around whatever is damaged in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
import rasterio.windows
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.transform import Affine, rowcol, xy

from dmnil_maps.sources.damage import Damage
from dmnil_maps.sources.layer import Layer
from dmnil_maps.sources.reading_errors import READING_ERRORS, one_line
from edge_runtime.contract.errors import MapError

WARP_TOLERANCE_PX = 0.01
_POINTS_PER_EDGE = 9
_MARGIN_PX = 3
_LARGEST_PIECE_PX = 2**22
"""Around damage the source is held in memory, in pieces of at most this many pixels."""
_FULL_TURN_DEG = 360.0
_BESIDE_ORIGIN_M = 1e-4

Warped = tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Window:
    """A rectangle of the frame and its pixels: edges, not pixels' centres, in metres."""

    west_m: float
    north_m: float
    metres_per_pixel: tuple[float, float]
    width: int
    height: int

    @property
    def transform(self) -> Affine:
        """From (column, row) into the frame."""
        east_step, north_step = self.metres_per_pixel
        # Pixels of 1 m from (0, 0) pass for a picture without georeference, and nearly so too.
        near_origin = max(abs(self.west_m), abs(self.north_m)) < _BESIDE_ORIGIN_M
        west_m = _BESIDE_ORIGIN_M if near_origin else self.west_m
        return Affine(east_step, 0.0, west_m, 0.0, -north_step, self.north_m)

    def halves(self) -> tuple[Window, Window]:
        """West and east, or north and south, of the longer side."""
        east_step, north_step = self.metres_per_pixel
        if self.width >= self.height:
            middle = self.width // 2
            east = self.west_m + middle * east_step
            return replace(self, width=middle), replace(
                self, west_m=east, width=self.width - middle
            )
        middle = self.height // 2
        south = self.north_m - middle * north_step
        return replace(self, height=middle), replace(
            self, north_m=south, height=self.height - middle
        )


@dataclass(frozen=True)
class LayerWarper:
    """Warps layers into the frame of one reference system, and keeps account of damage."""

    crs: CRS
    damage: Damage

    def warp(
        self, dataset: DatasetReader, layer: Layer, window: Window, coarser: bool, note: bool = True
    ) -> Warped:
        """Values (h, w, 3) of the layer's own type, and where there are any (h, w).

        Args:
            coarser: The window's pixels are larger than the layer's.
            note: Count what is read; not for overviews, which have blocks of their own.

        Raises:
            MapError: If the layer cannot be read there, and no single block is to blame.
        """
        for (row, column), reason in tuple(layer.left_out.items()):
            self.damage.note_read(layer, slice(row, row + 1), slice(column, column + 1))
            self.damage.note_damaged(layer, row, column, reason)
        if note:
            self._note_read(layer, window)
        source = rasterio.band(dataset, list(range(1, layer.bands.last + 1)))
        try:
            return self._reproject(source, layer, window, coarser, src_alpha=layer.bands.alpha or 0)
        except READING_ERRORS as error:
            if not note:
                raise MapError(f"{layer.name} cannot be read: {one_line(error)}") from error
            return self._warp_around_damage(dataset, layer, window, coarser, error)

    def _reproject(
        self, source: object, layer: Layer, window: Window, coarser: bool, **more: object
    ) -> Warped:
        # rasterio 1.4 mixes bands up unless they are the first ones in order, so warp those.
        bands = np.zeros((layer.bands.last + 1, window.height, window.width), layer.dtype)
        # Unlike a WarpedVRT, which warps by small blocks, this reads the source only once.
        rasterio.warp.reproject(
            source,
            bands,
            dst_crs=self.crs,
            dst_transform=window.transform,
            dst_alpha=layer.bands.last + 1,
            init_dest_nodata=False,
            resampling=Resampling.average if coarser else Resampling.bilinear,
            tolerance=WARP_TOLERANCE_PX,
            **more,
        )
        values = np.stack([bands[number - 1] for number in layer.bands.colours], axis=-1)
        covered = bands[-1] > 0
        if values.dtype.kind == "f":
            covered &= np.isfinite(values).all(axis=-1)
        return values, covered

    def _note_read(self, layer: Layer, window: Window) -> None:
        box = self._source_box(layer.transform, layer.width, layer.height, layer.crs, window)
        if box is not None:
            self.damage.note_read(
                layer,
                slice(box[1] // layer.block_height, -(-box[3] // layer.block_height)),
                slice(box[0] // layer.block_width, -(-box[2] // layer.block_width)),
            )

    def _source_box(
        self, transform: Affine, width: int, height: int, crs: CRS, window: Window
    ) -> tuple[int, int, int, int] | None:
        """First column and row, and those past the last, under a window; None for none."""
        along = np.linspace(0.0, 1.0, _POINTS_PER_EDGE)
        start, end = np.zeros_like(along), np.ones_like(along)
        east_step, north_step = window.metres_per_pixel
        across = np.concatenate([along, along, start, end]) * (window.width * east_step)
        down = np.concatenate([start, end, along, along]) * (window.height * north_step)
        try:
            x, y = rasterio.warp.transform(
                self.crs, crs, window.west_m + across, window.north_m - down
            )
        except READING_ERRORS:
            return 0, 0, width, height
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return 0, 0, width, height
        if crs.is_geographic:  # PROJ answers in -180 to 180; a raster may lie across
            centre = xy(transform, height / 2, width / 2, offset="ul")[0]
            turns = np.rint((centre - np.asarray(x)) / _FULL_TURN_DEG)
            x = np.asarray(x) + turns * _FULL_TURN_DEG
        source_rows, source_columns = rowcol(transform, x, y, op=np.asarray)
        scale = max(np.ptp(source_columns) / window.width, np.ptp(source_rows) / window.height)
        margin = _MARGIN_PX + math.ceil(scale)
        left = max(0, math.floor(source_columns.min()) - margin)
        top = max(0, math.floor(source_rows.min()) - margin)
        right = min(width, math.ceil(source_columns.max()) + margin)
        bottom = min(height, math.ceil(source_rows.max()) + margin)
        return (left, top, right, bottom) if left < right and top < bottom else None

    def _warp_around_damage(
        self,
        dataset: DatasetReader,
        layer: Layer,
        window: Window,
        coarser: bool,
        error: Exception,
    ) -> Warped:
        box = self._source_box(dataset.transform, dataset.width, dataset.height, layer.crs, window)
        if box is None:
            raise MapError(f"{layer.name} cannot be read: {one_line(error)}") from error
        pixels = (box[2] - box[0]) * (box[3] - box[1])
        if pixels > _LARGEST_PIECE_PX and max(window.width, window.height) > 1:
            halves = [
                self.warp(dataset, layer, half, coarser, note=True) for half in window.halves()
            ]
            axis = 1 if window.width >= window.height else 0
            return (
                np.concatenate([values for values, _ in halves], axis=axis),
                np.concatenate([covered for _, covered in halves], axis=axis),
            )
        bands, damaged = self._read_sound_blocks(dataset, layer, box)
        if not damaged:
            raise MapError(f"{layer.name} cannot be read: {one_line(error)}") from error
        x, y = xy(dataset.transform, box[1], box[0], offset="ul")
        a, b, _, d, e, _ = tuple(dataset.transform)[:6]
        return self._reproject(
            bands,
            layer,
            window,
            coarser,
            src_crs=layer.crs,
            src_transform=Affine(a, b, float(x), d, e, float(y)),
            src_alpha=layer.bands.last + 1,
        )

    def _read_sound_blocks(
        self, dataset: DatasetReader, layer: Layer, box: tuple[int, int, int, int]
    ) -> tuple[npt.NDArray[np.generic], int]:
        """Bands, the last being what there is of imagery, without the blocks that are damaged."""
        left, top, right, bottom = box
        block_height, block_width = dataset.block_shapes[0]
        numbers = list(range(1, layer.bands.last + 1))
        bands = np.zeros((len(numbers) + 1, bottom - top, right - left), layer.dtype)
        opaque = np.iinfo(bands.dtype).max if bands.dtype.kind in "iu" else 1
        damaged = 0
        for row in range(top // block_height, -(-bottom // block_height)):
            for column in range(left // block_width, -(-right // block_width)):
                first_row = max(top, row * block_height)
                first_column = max(left, column * block_width)
                past_row = min(bottom, (row + 1) * block_height)
                past_column = min(right, (column + 1) * block_width)
                window = rasterio.windows.Window(
                    first_column, first_row, past_column - first_column, past_row - first_row
                )
                try:
                    values = dataset.read(numbers, window=window)
                    mask = dataset.dataset_mask(window=window)
                except READING_ERRORS as error:
                    damaged += 1
                    self.damage.note_damaged(layer, row, column, one_line(error))
                    continue
                rows = slice(first_row - top, past_row - top)
                columns = slice(first_column - left, past_column - left)
                bands[:-1, rows, columns] = values
                bands[-1, rows, columns] = np.where(mask > 0, opaque, 0)
        return bands, damaged
