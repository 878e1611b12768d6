"""What training and evaluation ask of images, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Side = Literal["queries", "gallery"]


class ImagePool(Protocol):
    """Images of one view that can be read one at a time, in any order, from several threads."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name an image, for messages and pictures."""

    def __len__(self) -> int:
        """How many images there are."""

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """One image, (H, W, 3) RGB, of whatever size it has.

        Raises:
            SourceError: If it cannot be decoded.
        """


@dataclass(frozen=True)
class PreparedPool:
    """A pool decoded once, at one size: an array on disk, opened memory-mapped.

    Args:
        pictures: (N, H, W, 3) uint8 RGB. With a margin above 1 each picture shows that many times
            the side of what the encoder is to see, centred, at the encoder's own resolution.
        names: One name an image.
        places: (N,) which place each image shows, -1 unknown. Evaluation alone may look at it.
        positions_m: (N, 2) east and north of satellite tiles' centres, from the raster's own
            georeference; None where images have none.
        footprint_m: Ground side that the encoder is to see of a satellite tile; None if unknown.
        margin: Side of a picture over the side that the encoder is to see.
    """

    pictures: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    places: npt.NDArray[np.int64]
    positions_m: npt.NDArray[np.float64] | None = None
    footprint_m: float | None = None
    margin: float = 1.0

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width that the encoder is to see."""
        height, width = self.pictures.shape[1:3]
        return round(height / self.margin), round(width / self.margin)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The middle of one picture, as the encoder is to see it, (H, W, 3) RGB."""
        height, width = self.input_size
        top = (self.pictures.shape[1] - height) // 2
        left = (self.pictures.shape[2] - width) // 2
        return np.asarray(self.pictures[index, top : top + height, left : left + width])


@dataclass(frozen=True)
class TrainingData:
    """Two unpaired pools of one region; without a drone pool only satellite-only training works.

    Args:
        single_satellite_images: Every satellite image shows a place of its own, so that each is
            its own cluster; else the satellite pool is clustered as the drone pool is.
        rectified: Where the drone pool is raw but telemetry is known: the same flights' views
            rectified, which are far easier to match with the satellite pool.
        rectified_of: (R,) which drone image each of them shows, -1 one that is not in the pool.
    """

    satellite: PreparedPool
    drone: PreparedPool | None
    single_satellite_images: bool
    rectified: PreparedPool | None = None
    rectified_of: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class RetrievalTask:
    """Queries to be found in a gallery, and what counts as found.

    Args:
        name: Such as "drone->satellite" or "drone->satellite, 150 m".
        query_places: (Q,) place of each query.
        gallery_places: (G,) place of each gallery image; -1 is junk, left out of the ranking.
        query_positions_deg: (Q, 2) longitude and latitude; for SDM@K, DenseUAV alone.
        gallery_positions_deg: (G, 2) longitude and latitude.
        relevant: (Q, G) boolean where places do not tell, as on a region with true positions;
            `query_places` and `gallery_places` are then ignored.
        turnable_side: Which side a search over headings turns: pictures from straight above that
            views from the air are compared with; none where there is no such side.
    """

    name: str
    queries: ImagePool
    gallery: ImagePool
    query_places: npt.NDArray[np.int64]
    gallery_places: npt.NDArray[np.int64]
    query_positions_deg: npt.NDArray[np.float64] | None = None
    gallery_positions_deg: npt.NDArray[np.float64] | None = None
    relevant: npt.NDArray[np.bool_] | None = None
    turnable_side: Side | None = None
