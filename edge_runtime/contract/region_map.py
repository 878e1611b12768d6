"""The region map: descriptors of satellite tiles on regular lattices of true ground metres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.artefact import (
    MANIFEST_NAME,
    field_of,
    read_manifest,
    sha256_of_file,
    verify_hashes,
)
from edge_runtime.contract.descriptor_store import (
    DescriptorStore,
    Rows,
    open_array,
    open_descriptors,
)
from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import MapError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.contract.map_imagery import IMAGERY_FILE, MapImagery, open_map_imagery
from edge_runtime.contract.map_lattice import MapLattice, open_lattice
from edge_runtime.contract.terrain_grid import TerrainGrid, open_terrain

MAP_KIND = "region map"
MAP_SCHEMA_VERSION = 2
TILES_FILE = "tiles.npy"
MEAN_FILE = "descriptor_mean.npy"
PROJECTION_FILE = "projection.npy"
PREVIEW_FILE = "preview.jpg"

TILE_DTYPE = np.dtype(
    [
        ("latitude_deg", "<f8"),
        ("longitude_deg", "<f8"),
        ("footprint_m", "<f4"),
        ("level", "<u2"),
        ("lattice_row", "<u4"),
        ("lattice_column", "<u4"),
        ("distinctiveness", "<f2"),
    ]
)
"""One tile; its descriptor stands in the same row of the descriptors.

Its distinctiveness, 0-1, tells how much it stands out from the map's others; 1 where not computed.
"""


@dataclass(frozen=True)
class MapLevel:
    """A regular lattice of square tiles of one size; row 0 is the northernmost."""

    footprint_m: float
    stride_m: float
    rows: int
    columns: int
    first_east_m: float
    first_north_m: float

    def __post_init__(self) -> None:
        sizes = np.array([self.footprint_m, self.stride_m, self.first_east_m, self.first_north_m])
        if not np.isfinite(sizes).all() or min(self.footprint_m, self.stride_m) <= 0:
            raise MapError(f"map level has impossible metres: {self}")
        if min(self.rows, self.columns) < 1:
            raise MapError(f"map level has no rows or columns: {self}")

    def centre(
        self, lattice_row: npt.ArrayLike, lattice_column: npt.ArrayLike
    ) -> npt.NDArray[np.float64]:
        """East and north metres (..., 2) of lattice positions in the map's frame."""
        east = self.first_east_m + np.asarray(lattice_column, np.float64) * self.stride_m
        north = self.first_north_m - np.asarray(lattice_row, np.float64) * self.stride_m
        return np.stack(np.broadcast_arrays(east, north), axis=-1)


@dataclass(frozen=True)
class PreviewPicture:
    """Where the preview lies: its top left corner in the map's frame, and its scale."""

    west_m: float
    north_m: float
    metres_per_pixel: float


@dataclass(frozen=True)
class RegionMap:
    """A map as the drone opens it: descriptors stay on disk until a window is read.

    A tile's descriptor is unit((encoder's descriptor - level's mean) @ projection): the encoder's
    own shared part removed, and the rest brought to the axes in which this region's tiles differ.
    Tiles stand by level, then along a Hilbert curve over the lattice.
    """

    folder: Path
    manifest: dict[str, Any]
    frame: LocalFrame
    levels: tuple[MapLevel, ...]
    tiles_per_level: tuple[int, ...]
    tiles: npt.NDArray[np.void]
    store: DescriptorStore
    lattice: MapLattice
    descriptor_mean: npt.NDArray[np.float32]
    """(levels, D_encoder)."""
    projection: npt.NDArray[np.float32]
    """(D_encoder, D)."""
    preview: PreviewPicture
    imagery: MapImagery | None = None
    """The ground itself, where the map was built with it."""
    terrain: TerrainGrid | None = None
    """Its elevations, likewise."""

    @cached_property
    def manifest_sha256(self) -> str:
        """What tells this map from any other: the hash of its manifest, which hashes all files."""
        return sha256_of_file(self.folder / MANIFEST_NAME)

    @property
    def encoder_sha256(self) -> str:
        """Identity of the encoder that made the descriptors."""
        return str(self.manifest["encoder_sha256"])

    @property
    def descriptor_size(self) -> int:
        """Values of a tile's descriptor."""
        return self.store.size

    def descriptors_of(self, rows: Rows | slice) -> npt.NDArray[np.float32]:
        """Descriptors (n, D) of some of the map's rows, decoded whatever the storage."""
        return self.store.decoded(rows)

    def rows_of_level(self, level: int) -> slice:
        """A level's tiles, which stand together."""
        first = sum(self.tiles_per_level[:level])
        return slice(first, first + self.tiles_per_level[level])

    def rows_at(
        self, level: int, rows: slice = slice(None), columns: slice = slice(None)
    ) -> npt.NDArray[np.int32]:
        """The map's row at each position of a window of a level's lattice, -1 for none.

        Args:
            rows: Lattice rows, without a step; all of them by default.
            columns: Lattice columns, likewise.
        Raises:
            MapError: If the lattice names tiles that do not exist.
        """
        return self.lattice.rows_at(level, rows, columns)

    def require_encoder(self, bundle: EncoderBundle) -> None:
        """Refuse an encoder other than the one that made this map.

        Raises:
            MapError: If the two do not belong together.
        """
        if bundle.encoder_sha256 != self.encoder_sha256:
            raise MapError(
                f"{self.folder} was built with encoder {self.encoder_sha256[:12]}, "
                f"{bundle.folder} is {bundle.encoder_sha256[:12]}: rebuild the map with this "
                "encoder, or fly with that one"
            )
        if bundle.descriptor_size != self.projection.shape[0]:
            raise MapError(
                f"{self.folder} projects descriptors of {self.projection.shape[0]} values, "
                f"{bundle.folder} gives {bundle.descriptor_size}"
            )

    def verify(self) -> None:
        """Hash every file against the manifest.

        Raises:
            MapError: Naming the first file that differs.
        """
        verify_hashes(self.folder, self.manifest, MapError)


def load_region_map(folder: Path) -> RegionMap:
    """Open a map, checking its manifest, the size of every file and every array's shape.

    Raises:
        MapError: If it is missing, cut short or malformed.
    """
    manifest = read_manifest(folder, MAP_KIND, MAP_SCHEMA_VERSION, MapError)
    field_of(manifest, "encoder_sha256", str, folder, MapError)
    tiles = open_array(folder / TILES_FILE)
    mean = open_array(folder / MEAN_FILE)
    projection = open_array(folder / PROJECTION_FILE)
    size = int(field_of(manifest, "descriptor_size", int, folder, MapError))
    storage = str(field_of(manifest, "storage", str, folder, MapError))
    level_entries = field_of(manifest, "levels", list, folder, MapError)
    levels = _levels(level_entries, folder)
    if tiles.dtype != TILE_DTYPE or tiles.ndim != 1 or not len(tiles):
        raise MapError(f"{folder / TILES_FILE} is not a non-empty list of tiles")
    store = open_descriptors(folder, storage, len(tiles), size)
    encoder_size = int(field_of(manifest, "encoder_descriptor_size", int, folder, MapError))
    if projection.dtype != np.float32 or projection.shape != (encoder_size, size):
        raise MapError(f"{folder / PROJECTION_FILE} is not float32 {(encoder_size, size)}")
    if mean.dtype != np.float32 or mean.shape != (len(levels), encoder_size):
        raise MapError(f"{folder / MEAN_FILE} is not float32 {(len(levels), encoder_size)}")
    counts = _tiles_per_level(level_entries, tiles, folder)
    lattice = open_lattice(folder, levels, len(tiles))
    origin = _numbers(field_of(manifest, "frame", dict, folder, MapError), folder, "frame")
    preview = _numbers(field_of(manifest, "preview", dict, folder, MapError), folder, "preview")
    has_imagery = IMAGERY_FILE in manifest["files"]
    try:
        return RegionMap(
            folder=folder,
            manifest=manifest,
            frame=LocalFrame(origin["origin_latitude_deg"], origin["origin_longitude_deg"]),
            levels=levels,
            tiles_per_level=counts,
            tiles=tiles,
            store=store,
            lattice=lattice,
            descriptor_mean=np.asarray(mean),
            projection=np.asarray(projection),
            preview=PreviewPicture(**preview),
            imagery=open_map_imagery(folder / IMAGERY_FILE) if has_imagery else None,
            terrain=open_terrain(folder, manifest),
        )
    except (KeyError, TypeError) as error:
        raise MapError(
            f"{folder}: manifest lacks a field of its frame or preview: {error}"
        ) from error


def _levels(entries: list[Any], folder: Path) -> tuple[MapLevel, ...]:
    try:
        return tuple(
            MapLevel(
                footprint_m=float(entry["footprint_m"]),
                stride_m=float(entry["stride_m"]),
                rows=int(entry["rows"]),
                columns=int(entry["columns"]),
                first_east_m=float(entry["first_east_m"]),
                first_north_m=float(entry["first_north_m"]),
            )
            for entry in entries
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise MapError(f"{folder}: manifest describes a malformed level: {error}") from error


def _tiles_per_level(
    entries: list[Any], tiles: npt.NDArray[np.void], folder: Path
) -> tuple[int, ...]:
    """The manifest's counts; of the tiles themselves only each level's first and last are read."""
    counts = [entry.get("tiles") for entry in entries]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise MapError(f"{folder}: manifest has levels without a count of tiles")
    if not all(counts):
        raise MapError(f"{folder / TILES_FILE} has no tile of level {counts.index(0)}")
    if sum(counts) != len(tiles):
        raise MapError(
            f"{folder / TILES_FILE} has {len(tiles)} tiles, its levels have {sum(counts)}"
        )
    ends = np.cumsum(counts)
    for number, (end, count) in enumerate(zip(ends, counts, strict=True)):
        if tiles["level"][end - count] != number or tiles["level"][end - 1] != number:
            raise MapError(
                f"{folder / TILES_FILE} names a level that the manifest does not describe there"
            )
    return tuple(counts)


def _numbers(entry: Mapping[str, Any], folder: Path, name: str) -> dict[str, float]:
    try:
        numbers = {key: float(value) for key, value in entry.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise MapError(f"{folder}: manifest field '{name}' is malformed: {error}") from error
    if not np.isfinite(list(numbers.values())).all():
        raise MapError(f"{folder}: manifest field '{name}' is not finite: {numbers}")
    return numbers
