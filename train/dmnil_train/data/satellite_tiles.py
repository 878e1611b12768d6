"""A raster's tiles as the region map has them, each with real surroundings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dmnil_maps.raster import Imagery, open_imagery
from dmnil_maps.tiling import MINIMUM_COVERED_SHARE, lattice_over, tile_windows
from dmnil_train.data.picture_cache import PictureWriter, cached_pictures
from dmnil_train.data.picture_files import fingerprint_of
from dmnil_train.data.pool import PreparedPool
from dmnil_train.data.prepare import stored_size
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.region_map import MapLevel
from edge_runtime.progress import progress_bar

_QUIET_S = 1.0


def prepare_tiles(
    imagery_path: Path,
    height: int,
    width: int,
    cache: Path,
    *,
    footprint_m: float,
    stride_ratio: float,
    margin: float = 1.0,
    zoom: int | None = None,
) -> tuple[PreparedPool, LocalFrame]:
    """The tiles that `dmnil-map build` makes of this raster, and the frame of their positions.

    A tile's surroundings are the raster's own; where that ends, or has a hole, the ground beside
    it is mirrored.

    Args:
        height: Rows of what the encoder is to see; pictures have `margin` times as many.

    Raises:
        MapError: If the raster cannot be read, or holds no tile.
        OutputError: If the cache cannot be written.
    """
    stored_height, stored_width = stored_size(height, width, margin)
    made_from = {
        "raster": _fingerprint(imagery_path),
        "zoom": zoom,
        "footprint_m": footprint_m,
        "stride_ratio": stride_ratio,
        "seen": [height, width],
    }
    with open_imagery(imagery_path, zoom) as imagery:
        level = lattice_over(imagery.bounds, footprint_m, stride_ratio * footprint_m)

        def make(writer: PictureWriter) -> dict[str, Any]:
            lattice = []
            with progress_bar("satellite", level.rows * level.columns, "tile", _QUIET_S) as bar:
                for place, picture in tiles_with_surroundings(
                    imagery, level, height, width, margin
                ):
                    bar.update()
                    if picture is not None:
                        writer.append(picture)
                        lattice.append(place)
            if not lattice:
                raise MapError(
                    f"no {footprint_m:g} m tile of {imagery_path} is covered to "
                    f"{MINIMUM_COVERED_SHARE:.0%}: check its nodata value or choose a smaller "
                    "footprint"
                )
            return {"lattice": lattice}

        most = level.rows * level.columns
        cached = cached_pictures(
            cache, "satellite", made_from, (stored_height, stored_width), most, make
        )
        frame = imagery.frame
    lattice = np.array(cached.notes["lattice"], np.int64)
    pool = PreparedPool(
        pictures=cached.pictures,
        names=tuple(f"row {row} column {column}" for row, column in lattice),
        places=np.full(len(lattice), -1, np.int64),
        positions_m=level.centre(lattice[:, 0], lattice[:, 1]),
        footprint_m=footprint_m,
        margin=margin,
    )
    return pool, frame


def tiles_with_surroundings(
    imagery: Imagery, level: MapLevel, height: int, width: int, margin: float
) -> Iterator[tuple[tuple[int, int], npt.NDArray[np.uint8] | None]]:
    """Every lattice position with its tile's picture, None where the tile is not covered.

    The middle (height, width) of a picture shows the tile, at the map's own pixels.
    """
    stored_height, stored_width = stored_size(height, width, margin)
    # Of an odd difference the window has the larger half on both sides; the first row is cut off.
    left, above = (stored_width - width + 1) // 2, (stored_height - height + 1) // 2
    rows, columns = slice(-stored_height, None), slice(-stored_width, None)
    for window in tile_windows(imagery, level, width, height, (left, above)):
        picture = None
        if window.kept:
            picture = mirrored_into_holes(window.rgb, window.covered)[rows, columns]
        yield window.place, picture


def mirrored_into_holes(
    rgb: npt.NDArray[np.uint8], covered: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """A picture (h, w, 3) whose uncovered pixels show the covered ground beside them, mirrored.

    Each takes the pixel as far behind the nearest covered one as it lies before it, or that
    nearest one itself if there is no ground so far behind.
    """
    if covered.all() or not covered.any():
        return rgb
    _, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    place_of_label = np.zeros((int(labels.max()) + 1, 2), np.int64)
    place_of_label[labels[covered]] = np.argwhere(covered)
    holes = np.argwhere(~covered)
    nearest = place_of_label[labels[~covered]]
    mirrored = 2 * nearest - holes
    last = np.array(covered.shape) - 1
    inside = ((mirrored >= 0) & (mirrored <= last)).all(axis=1)
    mirrored = np.where(inside[:, None], mirrored, nearest)
    has_ground = covered[mirrored[:, 0], mirrored[:, 1]]
    source = np.where(has_ground[:, None], mirrored, nearest)
    filled = rgb.copy()
    filled[holes[:, 0], holes[:, 1]] = rgb[source[:, 0], source[:, 1]]
    return np.asarray(filled, np.uint8)


def _fingerprint(imagery: Path) -> str:
    """Names, sizes and times of a raster with the files beside it, or of a folder's tiles."""
    if imagery.is_dir():
        files = sorted(path for path in imagery.rglob("*") if path.is_file())
        return fingerprint_of(files, imagery)
    beside = imagery.parent.glob(f"{imagery.stem}.*") if imagery.parent.is_dir() else iter(())
    return fingerprint_of(sorted(path for path in beside if path.is_file()), imagery.parent)
