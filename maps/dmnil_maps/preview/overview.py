"""The small picture of the whole region that travels in a map."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dmnil_maps.raster import Imagery, LocalBounds
from edge_runtime.contract.errors import OutputError
from edge_runtime.contract.region_map import PreviewPicture

LONGEST_SIDE_PX = 1600
_JPEG_QUALITY = 85


def write_preview(
    imagery: Imagery, path: Path, bounds: LocalBounds | None = None
) -> PreviewPicture:
    """Write the region as a JPEG in the map's frame, north up; ground without imagery is black.

    Args:
        bounds: What to show; all the imagery when None.

    Raises:
        OutputError: If the picture cannot be written.
    """
    if bounds is None:
        bounds = imagery.bounds
    longest_m = max(bounds.width_m, bounds.height_m)
    metres_per_pixel = max(longest_m / LONGEST_SIDE_PX, imagery.ground_sample_distance_m)
    picture = imagery.read(
        west_m=bounds.west_m,
        north_m=bounds.north_m,
        metres_per_pixel=(metres_per_pixel, metres_per_pixel),
        width=max(1, int(bounds.width_m / metres_per_pixel)),
        height=max(1, int(bounds.height_m / metres_per_pixel)),
        overviews=True,
    )
    rgb = np.where(picture.covered[..., None], picture.rgb, np.uint8(0))
    encoded, content = cv2.imencode(
        path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not encoded:
        raise OutputError(f"cannot encode the preview {path}")
    path.write_bytes(content.tobytes())
    return PreviewPicture(bounds.west_m, bounds.north_m, metres_per_pixel)
