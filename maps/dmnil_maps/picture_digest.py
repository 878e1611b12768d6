"""A digest of each tile's picture, kept in the map, so that an update finds what changed."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.descriptor_store import open_array
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.region_map import RegionMap

DIGESTS_FILE = "picture_digests.npy"
_DIGEST_BYTES = 8


def picture_digests(pictures: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint64]:
    """Digests (N,) of N tile pictures (H, W, 3); equal pictures have equal ones."""
    digests = b"".join(
        blake2b(np.ascontiguousarray(picture).data, digest_size=_DIGEST_BYTES).digest()
        for picture in pictures
    )
    return np.array(np.frombuffer(digests, "<u8"), np.uint64)


def write_digests(staging: Path, digests: npt.NDArray[np.uint64]) -> None:
    """Write digests (N,) in the order of the map's tiles; the manifest has to come after."""
    np.save(staging / DIGESTS_FILE, digests.astype("<u8"))


def read_digests(region_map: RegionMap) -> npt.NDArray[np.uint64] | None:
    """A map's digests (N,), or None if it was built without.

    Raises:
        MapError: If they are not one for each tile.
    """
    if DIGESTS_FILE not in region_map.manifest["files"]:
        return None
    digests = open_array(region_map.folder / DIGESTS_FILE)
    if digests.dtype != np.uint64 or digests.shape != region_map.tiles.shape:
        raise MapError(f"{region_map.folder / DIGESTS_FILE} is not a digest for each tile")
    return digests
