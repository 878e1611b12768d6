"""The preview picture of a map made of other maps: cut and put together from theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.preview.overview import LONGEST_SIDE_PX
from dmnil_maps.raster import Imagery, LocalBounds
from edge_runtime.contract.errors import OutputError
from edge_runtime.contract.region_map import PREVIEW_FILE, PreviewPicture, RegionMap
from edge_runtime.outputs.track_picture import read_preview

_JPEG_QUALITY = 92
_BLACK = 8
"""JPEG smears the black of ground without imagery a little."""


def write_mosaic(
    staging: Path,
    sources: Sequence[RegionMap],
    bounds: LocalBounds,
    newer: Imagery | None = None,
) -> PreviewPicture:
    """Write the preview of a part of some maps' ground; where they overlap, the first is on top.

    A single source's pixels are kept as they are.

    Args:
        sources: Maps of one frame.
        newer: Imagery in that frame that goes on top of all.
    Raises:
        MapError: If a source's preview or the imagery cannot be read.
        OutputError: If the picture cannot be written.
    """
    finest = min(source.preview.metres_per_pixel for source in sources)
    scale = max(finest, max(bounds.width_m, bounds.height_m) / LONGEST_SIDE_PX)
    corner = sources[0].preview
    # On the first source's own pixel grid, so that its pixels need no resampling.
    left = int(np.floor((bounds.west_m - corner.west_m) / scale + 1e-6))
    top = int(np.floor((corner.north_m - bounds.north_m) / scale + 1e-6))
    placed = PreviewPicture(corner.west_m + left * scale, corner.north_m - top * scale, scale)
    width = max(1, int(np.ceil((bounds.east_m - placed.west_m) / scale - 1e-6)))
    height = max(1, int(np.ceil((placed.north_m - bounds.south_m) / scale - 1e-6)))
    canvas = np.zeros((height, width, 3), np.uint8)
    for source in reversed(sources):
        picture = _resampled(source, placed, width, height)
        seen = picture.max(axis=2) > _BLACK
        canvas[seen] = picture[seen]
    if newer is not None:
        shown = newer.read(
            placed.west_m, placed.north_m, (scale, scale), width, height, overviews=True
        )
        canvas[shown.covered] = shown.rgb[shown.covered][:, ::-1]
    write_preview_picture(staging / PREVIEW_FILE, canvas)
    return placed


def write_preview_picture(path: Path, bgr: npt.NDArray[np.uint8]) -> None:
    """Write a preview (h, w, 3) as JPEG.

    Raises:
        OutputError: If it cannot be encoded.
    """
    encoded, content = cv2.imencode(path.suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise OutputError(f"cannot encode the preview {path}")
    path.write_bytes(content.tobytes())


def _resampled(
    source: RegionMap, placed: PreviewPicture, width: int, height: int
) -> npt.NDArray[np.uint8]:
    """A map's preview (height, width, 3) on another pixel grid of the same frame."""
    own = source.preview
    ratio = placed.metres_per_pixel / own.metres_per_pixel
    # Pixel centres: where the new picture's pixel (0, 0) and its steps lie in the source's.
    x = (placed.west_m - own.west_m) / own.metres_per_pixel + (ratio - 1) / 2
    y = (own.north_m - placed.north_m) / own.metres_per_pixel + (ratio - 1) / 2
    to_source = np.array([[ratio, 0.0, x], [0.0, ratio, y]])
    picture = read_preview(source)
    exact = abs(ratio - 1) < 1e-9 and abs(x - round(x)) + abs(y - round(y)) < 1e-6
    flags = cv2.INTER_NEAREST if exact else cv2.INTER_LINEAR
    return np.asarray(
        cv2.warpAffine(picture, to_source, (width, height), flags=flags | cv2.WARP_INVERSE_MAP),
        np.uint8,
    )
