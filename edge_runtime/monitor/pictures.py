"""The live page's pictures, encoded when somebody asks, and once however many ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.contract.errors import MapError
from edge_runtime.contract.map_imagery import MapImagery, open_map_imagery
from edge_runtime.contract.region_map import PREVIEW_FILE, RegionMap
from edge_runtime.monitor.details import PosteriorGrid
from edge_runtime.monitor.tally import Tally
from edge_runtime.monitor.tile_match import TileMatch, tile_matches

Picture = npt.NDArray[np.uint8]

JPEG_TYPE, PNG_TYPE = "image/jpeg", "image/png"
_CAMERA_PX = 640
_VIEW_PX = 384
_TILE_PX = 192
_MAP_PX = 1600
_LARGEST_PREVIEW_PX = 64_000_000
_POSTERIOR_PX = 400
_SMALLEST_TILE_PX = 24
_JPEG_QUALITY = 78
_FAINTEST = 0.02


@dataclass(frozen=True)
class EncodedPicture:
    """A picture's file, and where it lies in the map's frame, if it does."""

    content_type: str
    data: bytes
    west_north_width_height_m: tuple[float, float, float, float] | None = None


class Pictures:
    """Encodes the newest of each picture; for one thread."""

    def __init__(self, tally: Tally, region_map: RegionMap) -> None:
        self._tally = tally
        self._map = region_map
        self._kept: dict[str, tuple[object, EncodedPicture | None]] = {}
        self._matches: tuple[int, tuple[TileMatch, ...]] | None = None
        self._imagery: MapImagery | None = None
        self._preview: Picture | None = None
        self._preview_read = False

    def named(self, name: str) -> EncodedPicture | None:
        """A picture by its address without the slash; None where there is none at present."""
        details = self._tally.handover.details
        number = None if details is None else details.number
        if name == "camera.jpg":
            frame = self._tally.handover.frame
            key = None if frame is None else frame.number
            return self._once(name, key, self._camera)
        if name == "view.jpg":
            return self._once(name, number, self._view)
        if name == "posterior.png":
            return self._once(name, number, self._posterior)
        if name == "map.jpg":
            return self._once(name, 0, self._whole_map)
        stem, dot, ending = name.partition(".")
        rank = stem.removeprefix("match-")
        if stem != rank and dot and ending == "jpg" and rank in ("0", "1", "2", "3", "4"):
            matched = self._tally.handover.matched
            key = None if matched is None else matched.number
            return self._once(name, key, lambda: self._match(int(rank)))
        return None

    def matches(self) -> tuple[TileMatch, ...]:
        """The best tiles of the last search."""
        seen = self._tally.handover.matched
        if seen is None:
            return ()
        if self._matches is None or self._matches[0] != seen.number:
            self._matches = seen.number, tile_matches(self._map, seen.details)
        return self._matches[1]

    def shows_tiles_of(self, footprint_m: float) -> bool:
        """Whether the map holds pictures fine enough to show a tile."""
        if self._map.imagery is not None:
            return True
        return footprint_m / self._map.preview.metres_per_pixel >= _SMALLEST_TILE_PX

    def _once(
        self, name: str, key: object, encode: Callable[[], EncodedPicture | None]
    ) -> EncodedPicture | None:
        kept = self._kept.get(name)
        if kept is None or kept[0] != key:
            kept = (key, None if key is None else encode())
            self._kept[name] = kept
        return kept[1]

    def _camera(self) -> EncodedPicture | None:
        frame = self._tally.handover.frame
        return None if frame is None or frame.image is None else _jpeg(frame.image, _CAMERA_PX)

    def _view(self) -> EncodedPicture | None:
        seen = self._tally.handover.details
        return None if seen is None or seen.details.view is None else _jpeg(seen.details.view)

    def _posterior(self) -> EncodedPicture | None:
        seen = self._tally.handover.details
        grid = None if seen is None else seen.details.posterior
        if grid is None or not grid.mass.size:
            return None
        rows, columns = grid.mass.shape
        size_m = (columns * grid.cell_m, rows * grid.cell_m)
        encoded = cv2.imencode(".png", heat_picture(grid), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
        return EncodedPicture(PNG_TYPE, encoded.tobytes(), (grid.west_m, grid.north_m, *size_m))

    def _match(self, rank: int) -> EncodedPicture | None:
        matches = self.matches()
        if rank >= len(matches):
            return None
        tile = self._tile(matches[rank])
        return None if tile is None else _jpeg(tile, _TILE_PX)

    def _tile(self, match: TileMatch) -> Picture | None:
        view = self._from_imagery(match)
        if view is not None:
            return view
        preview = self._preview_rgb()
        if preview is None or not self.shows_tiles_of(match.footprint_m):
            return None
        place = self._map.preview
        half_m = match.footprint_m / 2
        # Pixel centres of the preview lie half a pixel inside its corner.
        left = (match.east_m - half_m - place.west_m) / place.metres_per_pixel - 0.5
        top = (place.north_m - match.north_m - half_m) / place.metres_per_pixel - 0.5
        scale = match.footprint_m / place.metres_per_pixel / _TILE_PX
        from_tile = np.array([[scale, 0.0, left], [0.0, scale, top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(
            cv2.warpAffine(preview, from_tile, (_TILE_PX, _TILE_PX), flags=flags), np.uint8
        )

    def _from_imagery(self, match: TileMatch) -> Picture | None:
        """A tile from the map's imagery, by a reader of its own: the flight must not wait for us,
        nor find its tiles pushed out of the shared one's memory."""
        if self._map.imagery is None:
            return None
        try:
            if self._imagery is None:
                self._imagery = open_map_imagery(self._map.imagery.path)
            return self._imagery.view((match.east_m, match.north_m), match.footprint_m, _TILE_PX)
        except (MapError, ValueError):
            return None

    def _whole_map(self) -> EncodedPicture | None:
        preview = self._preview_rgb()
        if preview is None:
            return None
        height, width = preview.shape[:2]
        step = self._map.preview.metres_per_pixel
        place = (self._map.preview.west_m, self._map.preview.north_m, width * step, height * step)
        encoded = _jpeg(preview, _MAP_PX)
        return EncodedPicture(encoded.content_type, encoded.data, place)

    def _preview_rgb(self) -> Picture | None:
        if not self._preview_read:
            self._preview_read = True
            read = cv2.imread(str(self._map.folder / PREVIEW_FILE), cv2.IMREAD_COLOR)
            if read is not None and read.shape[0] * read.shape[1] <= _LARGEST_PREVIEW_PX:
                self._preview = np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)
        return self._preview


def heat_picture(grid: PosteriorGrid) -> Picture:
    """A posterior as a picture (rows, columns, 4) to lay over a map, blue, green, red, opacity.

    Colour tells the mass against the likeliest cell, on a root scale that keeps rivals visible.
    A posterior that knows nothing is a dark faint veil, one that knows the place an opaque spot.
    """
    mass = np.nan_to_num(np.maximum(grid.mass, 0.0))
    longest = max(mass.shape)
    if longest > _POSTERIOR_PX:
        scale = _POSTERIOR_PX / longest
        rows, columns = (max(1, round(side * scale)) for side in mass.shape)
        mass = cv2.resize(mass, (columns, rows), interpolation=cv2.INTER_AREA)
    peak = float(mass.max())
    share = np.sqrt(mass / peak) if peak > 0.0 else np.zeros_like(mass)
    certainty = _certainty(mass)
    brightness = (0.3 + 0.7 * certainty) * share
    coloured = cv2.applyColorMap((255 * brightness).astype(np.uint8), cv2.COLORMAP_INFERNO)
    strongest = 0.25 + 0.6 * certainty
    opacity = np.where(share < _FAINTEST, 0.0, strongest * (0.25 + 0.75 * share))
    return np.dstack([coloured, (255 * opacity).astype(np.uint8)])


def _certainty(mass: npt.NDArray[np.float32]) -> float:
    """1 where all mass is in one cell, 0 where it is spread evenly."""
    total = float(mass.sum(dtype=np.float64))
    if total <= 0.0 or mass.size < 2:
        return 0.0
    parts = mass[mass > 0.0].astype(np.float64) / total
    return float(1.0 + (parts * np.log(parts)).sum() / np.log(mass.size))


def _jpeg(picture: Picture, longest_px: int = _VIEW_PX) -> EncodedPicture:
    scale = longest_px / max(picture.shape[:2])
    if scale < 1.0:
        picture = np.asarray(
            cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return EncodedPicture(JPEG_TYPE, encoded.tobytes())
