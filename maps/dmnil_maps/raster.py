"""Satellite imagery of any projection, read window by window in the region map's own frame."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import xy

from dmnil_maps.sources.damage import Damage
from dmnil_maps.sources.find import layers_of
from dmnil_maps.sources.formats import READING_OPTIONS
from dmnil_maps.sources.georeference import crs_named, name_of
from dmnil_maps.sources.layer import Layer, OpenLayers
from dmnil_maps.sources.reading_errors import READING_ERRORS, one_line
from dmnil_maps.sources.stretch import agreed_stretches, depth_of
from dmnil_maps.sources.warp import LayerWarper, Window
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.geodesy import LocalFrame

ORIGIN_DECIMALS = 6
"""The frame's origin is rounded to 1e-6 degrees (0.1 m)."""
_POINTS_PER_EDGE = 41
_NAMED_SYSTEMS = 4
_WGS84 = CRS.from_epsg(4326)

FloatArray = npt.NDArray[np.float64]


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
    """Open rasters with one frame, by default around their centre: true ground metres.

    Several threads may read at a time.
    """

    def __init__(
        self, layers: Sequence[Layer], opened: OpenLayers, frame: LocalFrame | None = None
    ) -> None:
        self._layers = tuple(layers)
        self._opened = opened
        names = sorted({name_of(layer.crs) for layer in layers})
        more = ["..."] if len(names) > _NAMED_SYSTEMS else []
        self.coordinate_reference_system = ", ".join(names[:_NAMED_SYSTEMS] + more)
        self.frame = self._frame_at_centre() if frame is None else frame
        self._crs = CRS.from_string(self.frame.proj_string)
        self._steps_m = self._ground_sample_distances_m()
        self.ground_sample_distance_m = float(self._steps_m.min())
        self._boxes = self._boxes_in(self._crs)
        (west, south), (east, north) = self._boxes[:, 0].min(axis=0), self._boxes[:, 1].max(axis=0)
        self.bounds = LocalBounds(float(west), float(south), float(east), float(north))
        self._stretches = agreed_stretches(self._layers, opened)
        self.damage = Damage(self._layers)
        self._warper = LayerWarper(self._crs, self.damage)

    def read(
        self,
        west_m: float,
        north_m: float,
        metres_per_pixel: tuple[float, float],
        width: int,
        height: int,
        overviews: bool = False,
    ) -> Picture:
        """Warp a window of the frame; only the sources' blocks under it are read.

        Where several sources have imagery, the first one shows. Blocks that cannot be read are
        named in a warning, counted in `damage`, and are ground without imagery.

        Args:
            west_m: The window's west edge, not a pixel's centre; likewise north_m.
            metres_per_pixel: Pixel size in east and in north direction.
            overviews: Take the sources' own overviews where they are fine enough: much faster for
                a view of the whole, and as good as whoever made them.

        Raises:
            MapError: If a source cannot be read there, or too much of it is damaged.
        """
        window = Window(west_m, north_m, metres_per_pixel, width, height)
        rgb, covered = None, np.zeros((height, width), np.bool_)
        for number in self._under(window):
            values, has_data = self._read_layer(int(number), window, overviews)
            stretch = self._stretches.get(depth_of(self._layers[number]))
            as_8_bit = values.astype(np.uint8, copy=False) if stretch is None else stretch(values)
            if rgb is None:
                rgb = as_8_bit
                rgb[~has_data] = 0
            else:
                fresh = has_data & ~covered
                rgb[fresh] = as_8_bit[fresh]
            covered |= has_data
            if covered.all():
                break
        if rgb is None:
            rgb = np.zeros((height, width, 3), np.uint8)
        return Picture(rgb, covered)

    def check_damage(self) -> None:
        """Refuse the imagery if more than 1 % of what was read of it is damaged.

        Raises:
            MapError: If it is.
        """
        self.damage.check()

    def _read_layer(
        self, number: int, window: Window, overviews: bool
    ) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]:
        layer, step_m = self._layers[number], self._steps_m[number]
        ratio = max(window.metres_per_pixel) / step_m
        fitting = [n for n, coarser in enumerate(layer.overviews) if coarser <= ratio]
        if overviews and fitting:
            overview = max(fitting, key=lambda n: layer.overviews[n])
            try:
                with self._opened.borrow(layer, overview) as dataset:
                    return self._warper.warp(dataset, layer, window, ratio >= 1, note=False)
            except MapError:
                pass  # at full resolution, damage is known block by block
        with self._opened.borrow(layer) as dataset:
            return self._warper.warp(dataset, layer, window, ratio >= 1)

    def _under(self, window: Window) -> npt.NDArray[np.int64]:
        """Numbers of the layers whose boxes meet the window, the first ones on top."""
        east_step, north_step = window.metres_per_pixel
        margin = self._steps_m[:, None]
        low = self._boxes[:, 0] - margin
        high = self._boxes[:, 1] + margin
        east_m = window.west_m + window.width * east_step
        south_m = window.north_m - window.height * north_step
        meets = (low < (east_m, window.north_m)).all(axis=1)
        meets &= (high > (window.west_m, south_m)).all(axis=1)
        return np.flatnonzero(meets)

    def _frame_at_centre(self) -> LocalFrame:
        first = self._layers[0]
        middle = np.array([[first.width / 2, first.height / 2]])
        longitude, latitude = self._project(first, middle, _WGS84)[0]
        if len(self._layers) > 1:
            provisional = LocalFrame(float(latitude), float(longitude))
            boxes = self._boxes_in(CRS.from_string(provisional.proj_string))
            centre = (boxes[:, 0].min(axis=0) + boxes[:, 1].max(axis=0)) / 2
            latitude, longitude = provisional.to_geodetic(centre)
        return LocalFrame(
            round(float(latitude), ORIGIN_DECIMALS), round(float(longitude), ORIGIN_DECIMALS)
        )

    def _ground_sample_distances_m(self) -> FloatArray:
        steps = []
        for layer in self._layers:
            column, row = layer.width / 2, layer.height / 2
            corners = [(column, row), (column + 1, row), (column, row + 1)]
            origin, right, down = self._project(layer, np.array(corners), self._crs)
            (a, b), (c, d) = right - origin, down - origin
            steps.append(np.sqrt(abs(a * d - b * c)))
        return np.array(steps, np.float64)

    def _boxes_in(self, crs: CRS) -> FloatArray:
        """South-west and north-east corners (L, 2, 2) of the boxes around the layers."""
        along = np.linspace(0.0, 1.0, _POINTS_PER_EDGE)
        start, end = np.zeros_like(along), np.ones_like(along)
        edges = np.stack(
            [
                np.concatenate([along, along, start, end]),
                np.concatenate([start, end, along, along]),
            ],
            axis=-1,
        )
        boxes = []
        for layer in self._layers:
            ring = self._project(layer, edges * (layer.width, layer.height), crs)
            boxes.append([ring.min(axis=0), ring.max(axis=0)])
        return np.array(boxes, np.float64)

    def _project(self, layer: Layer, pixels: FloatArray, crs: CRS) -> FloatArray:
        """Positions (N, 2) in a reference system of a layer's own (column, row) (N, 2)."""
        places = xy(layer.transform, pixels[:, 1], pixels[:, 0], offset="ul")
        try:
            x, y = rasterio.warp.transform(layer.crs, crs, *places)
        except READING_ERRORS as error:
            raise _beyond_frame(layer, one_line(error)) from error
        projected = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=-1)
        if not np.isfinite(projected).all():
            raise _beyond_frame(layer, "it lies on the far side of the globe")
        return projected


def _beyond_frame(layer: Layer, reason: str) -> MapError:
    return MapError(
        f"{layer.name} does not convert from {name_of(layer.crs)} into one map's frame "
        f"({reason}): cut it to a region, or check its georeference"
    )


@contextmanager
def open_imagery(
    sources: Path | Sequence[Path],
    zoom: int | None = None,
    crs: str | None = None,
    tms: bool | None = None,
    frame: LocalFrame | None = None,
) -> Iterator[Imagery]:
    """Open imagery of one or several sources; the first one shows where several have data.

    Args:
        sources: Raster files (GeoTIFF, VRT, MBTiles, pictures with world files, ...), folders of
            tiles (zoom/x/y.jpg), folders of rasters, text files that list rasters.
        zoom: Zoom of tile folders and MBTiles; the highest present when None.
        crs: Coordinate reference system of files that name none, such as EPSG:32632.
        tms: Rows of tile folders are counted from the south; found out when None.
        frame: Frame to read in, such as an existing map's; around their centre when None.

    Raises:
        ConfigError: If the coordinate reference system is unknown, or no source is named.
        MapError: If there is nothing there, nothing that knows its place on Earth, or, once the
            imagery was used, more than 1 % of what was read of it is damaged.
    """
    paths = [sources] if isinstance(sources, Path) else list(sources)
    if not paths:
        raise ConfigError("no imagery is named: give one or more files or folders")
    system = None if crs is None else crs_named(crs)
    with rasterio.Env(**READING_OPTIONS), warnings.catch_warnings():
        # Set once for all threads: filters that threads change by themselves undo each other.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        layers = [layer for path in paths for layer in layers_of(path, zoom, system, tms)]
        opened = OpenLayers()
        try:
            imagery = Imagery(layers, opened, frame)
            yield imagery
            imagery.check_damage()
        finally:
            opened.close()
