"""Satellite imagery of any projection, read window by window in the region map's own frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader
from rasterio.transform import Affine, xy

from dmnil_maps.tile_folder import tile_folder_mosaic
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame

ORIGIN_DECIMALS = 6
"""The frame's origin is rounded to 1e-6 degrees (0.1 m)."""
WARP_TOLERANCE_PX = 0.01
BLOCK_CACHE_MIB = 256
_POINTS_PER_EDGE = 41
_PERCENTILES = (2.0, 98.0)
_SAMPLE_PX = 1024
_LONGEST_MESSAGE = 200
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class LocalBounds:
    """A rectangle in the map's frame, in metres."""

    west_m: float
    south_m: float
    east_m: float
    north_m: float

    @property
    def width_m(self) -> float:
        """Extent from west to east."""
        return self.east_m - self.west_m

    @property
    def height_m(self) -> float:
        """Extent from south to north."""
        return self.north_m - self.south_m


@dataclass(frozen=True)
class Picture:
    """Ground as the map sees it: north up, (h, w, 3) RGB and where it is covered at all (h, w)."""

    rgb: npt.NDArray[np.uint8]
    covered: npt.NDArray[np.bool_]


class Imagery:
    """An open raster with its frame: origin at the raster's centre, true ground metres."""

    def __init__(self, dataset: DatasetReader, name: str) -> None:
        self._dataset = dataset
        self._name = name
        self._colour_bands, self._alpha_band = _choose_bands(dataset, name)
        self.coordinate_reference_system = _name_of(dataset.crs)
        self.frame = self._frame_at_centre()
        self._crs = CRS.from_string(self.frame.proj_string)
        self.ground_sample_distance_m = self._ground_sample_distance_m()
        self.bounds = self._bounds()
        self._stretch = self._percentiles() if dataset.dtypes[0] != "uint8" else None

    def read(
        self,
        west_m: float,
        north_m: float,
        metres_per_pixel: tuple[float, float],
        width: int,
        height: int,
    ) -> Picture:
        """Warp a window of the frame; only the source's blocks under it are read.

        Args:
            west_m: The window's west edge, not a pixel's centre; likewise north_m.
            metres_per_pixel: Pixel size in east and in north direction.

        Raises:
            MapError: If the source cannot be read there.
        """
        coarser = max(metres_per_pixel) >= self.ground_sample_distance_m
        east_step, north_step = metres_per_pixel
        # rasterio 1.4 mixes bands up unless they are the first ones in order, so warp those.
        last_band = max(self._colour_bands)
        bands = np.zeros((last_band + 1, height, width), self._dataset.dtypes[0])
        try:
            # Unlike a WarpedVRT, which warps by small blocks, this reads the source only once.
            rasterio.warp.reproject(
                rasterio.band(self._dataset, list(range(1, last_band + 1))),
                bands,
                src_alpha=self._alpha_band or 0,
                dst_crs=self._crs,
                dst_transform=Affine(east_step, 0.0, west_m, 0.0, -north_step, north_m),
                dst_alpha=last_band + 1,
                init_dest_nodata=False,
                resampling=Resampling.average if coarser else Resampling.bilinear,
                tolerance=WARP_TOLERANCE_PX,
            )
        except (RasterioError, CPLE_BaseError) as error:
            raise MapError(f"{self._name} cannot be read: {_one_line(error)}") from error
        rgb = np.stack([bands[number - 1] for number in self._colour_bands], axis=-1)
        return Picture(self._to_8_bit(rgb), bands[-1] > 0)

    def _to_8_bit(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
        if self._stretch is None:
            return values.astype(np.uint8, copy=False)
        low, high = self._stretch
        scaled = (values.astype(np.float32) - low) * (255.0 / (high - low))
        return np.asarray(np.rint(np.clip(np.nan_to_num(scaled), 0.0, 255.0)), np.uint8)

    def _percentiles(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        shape = (3, min(self._dataset.height, _SAMPLE_PX), min(self._dataset.width, _SAMPLE_PX))
        try:
            sample = self._dataset.read(list(self._colour_bands), out_shape=shape, masked=True)
        except (RasterioError, CPLE_BaseError) as error:
            raise MapError(f"{self._name} cannot be read: {_one_line(error)}") from error
        limits = []
        for band in sample:
            values = band.compressed()
            values = values[np.isfinite(values)]
            low, high = np.percentile(values, _PERCENTILES) if values.size else (0.0, 1.0)
            limits.append((low, max(high, low + 1e-6 * max(1.0, abs(low)))))
        low_high = np.asarray(limits, np.float32)
        return low_high[:, 0], low_high[:, 1]

    def _frame_at_centre(self) -> LocalFrame:
        centre = np.array([[self._dataset.width / 2, self._dataset.height / 2]])
        longitude, latitude = self._project_pixels(centre, CRS.from_epsg(4326))[0]
        return LocalFrame(
            round(float(latitude), ORIGIN_DECIMALS), round(float(longitude), ORIGIN_DECIMALS)
        )

    def _ground_sample_distance_m(self) -> float:
        column, row = self._dataset.width / 2, self._dataset.height / 2
        corners = [(column, row), (column + 1, row), (column, row + 1)]
        origin, right, down = self._project_pixels(np.array(corners), self._crs)
        (a, b), (c, d) = right - origin, down - origin
        return float(np.sqrt(abs(a * d - b * c)))

    def _bounds(self) -> LocalBounds:
        along = np.linspace(0.0, 1.0, _POINTS_PER_EDGE)
        start, end = np.zeros_like(along), np.ones_like(along)
        edges = np.stack(
            [
                np.concatenate([along, along, start, end]) * self._dataset.width,
                np.concatenate([start, end, along, along]) * self._dataset.height,
            ],
            axis=-1,
        )
        ring = self._project_pixels(edges, self._crs)
        (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
        return LocalBounds(float(west), float(south), float(east), float(north))

    def _project_pixels(self, pixels: npt.NDArray[np.float64], crs: CRS) -> npt.NDArray[np.float64]:
        """Positions (N, 2) in a reference system of the raster's own (column, row) (N, 2)."""
        places = xy(self._dataset.transform, pixels[:, 1], pixels[:, 0], offset="ul")
        try:
            x, y = rasterio.warp.transform(self._dataset.crs, crs, *places)
        except (RasterioError, CPLE_BaseError) as error:
            raise self._beyond_frame(_one_line(error)) from error
        projected = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=-1)
        if not np.isfinite(projected).all():
            raise self._beyond_frame("it lies on the far side of the globe")
        return projected

    def _beyond_frame(self, reason: str) -> MapError:
        return MapError(
            f"{self._name} does not convert from {self.coordinate_reference_system} into one "
            f"map's frame ({reason}): cut it to a region, or check its georeference"
        )


@contextmanager
def open_imagery(path: Path, zoom: int | None = None) -> Iterator[Imagery]:
    """Open a GeoTIFF, or a folder of XYZ tiles.

    Args:
        zoom: Zoom level of a tile folder; the highest present when None.

    Raises:
        MapError: If there is nothing there, or nothing that knows its place on Earth.
    """
    if not path.exists():
        raise MapError(f"{path}: no such file or folder of imagery")
    source = tile_folder_mosaic(path, zoom) if path.is_dir() else str(path.absolute())
    if zoom is not None and not path.is_dir():
        raise MapError(f"{path} is a file: a zoom applies to folders of XYZ tiles only")
    with rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE_MIB), _open_dataset(source, path) as dataset:
        yield Imagery(dataset, str(path))


def _open_dataset(source: str, path: Path) -> DatasetReader:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(source)
    except RasterioIOError as error:
        raise MapError(f"{path} is not a raster that GDAL can read: {_one_line(error)}") from error
    if dataset.crs is None or dataset.transform.is_identity:
        dataset.close()
        raise MapError(
            f"{path} has no georeference: add one with gdal_translate -a_srs and -a_ullr, or "
            "warp it with gdalwarp if it has control points"
        )
    return dataset


def _choose_bands(dataset: DatasetReader, name: str) -> tuple[tuple[int, int, int], int | None]:
    """Numbers of the red, green and blue bands, and of the alpha band if there is one."""
    meanings = list(dataset.colorinterp)
    if meanings[0] == ColorInterp.palette:
        raise MapError(f"{name} has a colour table: expand it with gdal_translate -expand rgb")
    alpha = meanings.index(ColorInterp.alpha) + 1 if ColorInterp.alpha in meanings else None
    if all(colour in meanings for colour in _COLOURS):
        red, green, blue = (meanings.index(colour) + 1 for colour in _COLOURS)
        return (red, green, blue), alpha
    pictures = [number + 1 for number in range(len(meanings)) if number + 1 != alpha]
    if not pictures:
        raise MapError(f"{name} has an alpha band only")
    if len(pictures) < 3:
        return (pictures[0], pictures[0], pictures[0]), alpha
    return (pictures[0], pictures[1], pictures[2]), alpha


def _one_line(error: Exception) -> str:
    """GDAL's own words, which rasterio often hides behind 'see the previous exception'."""
    cause = error.__cause__ or error
    words = " ".join(str(cause).split()) or type(error).__name__
    return words if len(words) <= _LONGEST_MESSAGE else f"{words[:_LONGEST_MESSAGE]}..."


def _name_of(crs: CRS) -> str:
    """EPSG:3857 or the like where there is a code, else PROJ's own notation."""
    authority = crs.to_authority()
    return (
        ":".join(authority) if authority else str(crs.to_proj4()).replace(" +no_defs", "").strip()
    )
