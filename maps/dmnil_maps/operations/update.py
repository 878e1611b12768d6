"""A map brought up to newer imagery: only tiles whose ground changed are described again."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmnil_maps.map_bounds import local_bounds_of
from dmnil_maps.map_picture import carry_picture
from dmnil_maps.map_terrain import carry_terrain
from dmnil_maps.operations.describe_changes import FoundTiles, describe_changes
from dmnil_maps.operations.parts import PlacedTiles, placed_from, provenance_after, write_parts
from dmnil_maps.operations.tile_changes import ChangeFinder, GrownLevels, grown_levels
from dmnil_maps.picture_digest import read_digests
from dmnil_maps.preview.mosaic import write_mosaic
from dmnil_maps.raster import open_imagery
from dmnil_maps.work_folder import work_folder
from edge_runtime.contract.artefact import staged_directory
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import ConfigError, MapError
from edge_runtime.contract.region_map import MAP_KIND, RegionMap, load_region_map
from edge_runtime.contract.region_map_writer import tiles_on_lattice
from edge_runtime.engines import open_engine


@dataclass(frozen=True)
class UpdateConfig:
    """What to update, and from what."""

    map: Path
    """Region map to start from; it stays as it is."""
    imagery: tuple[Path, ...]
    """Newer imagery, of all the map's ground or of a part; the first one is on top."""
    encoder: Path
    """The map's encoder bundle."""
    output: Path
    """The map to write, NAME.map."""
    previous: tuple[Path, ...] = ()
    """The imagery that the map was made of, to find what changed."""
    limit: float = 0.0
    """Mean difference of grey levels up to which ground counts as the same (with previous)."""
    everything: bool = False
    """Describe all tiles again that the newer imagery shows."""
    extend: bool = False
    """Add tiles where the newer imagery shows ground that the map has none of."""
    zoom: int | None = None
    """Zoom of tile folders; the highest present if left out."""
    crs: str | None = None
    """Coordinate reference system of imagery that names none."""
    tms: bool | None = None
    """Whether rows of tile folders are counted from the south; found out if left out."""
    precision: str | None = None
    """Graph of the encoder to run; the one that made the map if left out."""
    engine: str = "onnxruntime"
    """What runs the graph, as for edge_runtime run."""
    threads: int = 0
    """The encoder's threads; 0 leaves it to the engine."""
    batch_size: int = 16
    """Tiles encoded at a time."""
    imagery_date: str | None = None
    """When the newer imagery was taken; the map's if left out."""
    attribution: str | None = None
    """Whom to credit for it as well; the map's if left out."""

    def __post_init__(self) -> None:
        if not self.imagery:
            raise ConfigError("an update needs newer imagery")
        if self.batch_size < 1 or self.threads < 0:
            raise ConfigError("batch size must be 1 or more and threads 0 or more")
        if not 0.0 <= self.limit < 255.0:
            raise ConfigError(f"limit must be 0 or more grey levels, below 255: {self.limit}")
        if self.limit and not self.previous:
            raise ConfigError("a limit needs the previous imagery to compare with")


@dataclass(frozen=True)
class UpdateReport:
    """What an update did.

    Args:
        tiles: In the new map.
        compared: Of the old map's tiles, those that the newer imagery shows.
        changed: Of them, those described again.
        added: Tiles at places where the old map had none.
    """

    output: Path
    tiles: int
    compared: int
    changed: int
    added: int
    wall_s: float
    encoder_s: float

    def as_dict(self) -> dict[str, Any]:
        """The report for programs to read."""
        return {
            "output": str(self.output),
            "tiles": self.tiles,
            "compared": self.compared,
            "changed": self.changed,
            "added": self.added,
            "wall_s": round(self.wall_s, 3),
            "encoder_s": round(self.encoder_s, 3),
        }


def update_map(config: UpdateConfig) -> UpdateReport:
    """Write a map of newer imagery in an older map's frame and on its axes.

    What changed is found by the tiles' digests if the map has them, else by comparing with the
    previous imagery. The result is that of describing every tile anew on the same axes.

    Raises:
        BundleError: If the encoder bundle is unusable.
        ConfigError: If nothing tells what changed.
        EngineError: If the encoder cannot be run.
        MapError: If the map or the imagery cannot be used, or share no tile.
        OutputError: If the new map cannot be written.
    """
    started = time.perf_counter()
    region_map = load_region_map(config.map)
    bundle = load_encoder_bundle(config.encoder)
    region_map.require_encoder(bundle)
    digests = read_digests(region_map)
    if digests is None and not (config.previous or config.everything):
        raise ConfigError(
            f"{config.map} was built without digests of its pictures: give the imagery that it "
            "was made of with --previous, or --everything to describe all tiles again"
        )
    made_with = region_map.manifest.get("encoder", {}).get("precision", "fp32")
    precision = str(made_with) if config.precision is None else config.precision
    engine = open_engine(bundle, precision, config.engine, config.threads)
    with ExitStack() as stack:
        newer = stack.enter_context(_opened(config.imagery, config, region_map))
        previous = None
        if config.previous:
            previous = stack.enter_context(_opened(config.previous, config, region_map))
        work = stack.enter_context(work_folder(config.output)).path
        staging = stack.enter_context(staged_directory(config.output, MAP_KIND))
        grown = grown_levels(region_map.levels, newer.bounds if config.extend else None)
        finder = ChangeFinder(
            region_map,
            grown,
            newer,
            previous,
            digests,
            config.everything,
            config.extend,
            config.limit,
            (bundle.input_width, bundle.input_height),
        )
        found = describe_changes(region_map, bundle, engine, finder, config.batch_size, work)
        for imagery in (newer, previous):
            if imagery is not None:
                imagery.check_damage()  # before anything is written
        if not found.seen:
            raise MapError(
                f"{', '.join(map(str, config.imagery))} shows no tile of {config.map} whole: do "
                "they lie in the same place?"
            )
        parts = _parts(region_map, grown, found)
        every_tile = np.concatenate([part.tiles for part in parts])
        bounds = local_bounds_of(region_map.frame, every_tile)
        preview = write_mosaic(staging, [region_map], bounds, newer)
        carry_picture(staging, [region_map], every_tile, newer)
        terrain = carry_terrain(staging, [region_map], every_tile)
        tiles = write_parts(
            staging,
            region_map,
            grown.levels,
            region_map.descriptor_mean,
            parts,
            preview,
            {**terrain, **_provenance(region_map, config, found)},
        )
    return UpdateReport(
        output=config.output,
        tiles=tiles,
        compared=found.seen - found.added,
        changed=len(found.tiles) - found.added,
        added=found.added,
        wall_s=time.perf_counter() - started,
        encoder_s=found.encoder_s,
    )


def _opened(sources: tuple[Path, ...], config: UpdateConfig, region_map: RegionMap) -> Any:
    return open_imagery(sources, config.zoom, config.crs, config.tms, region_map.frame)


def _parts(region_map: RegionMap, grown: GrownLevels, found: FoundTiles) -> list[PlacedTiles]:
    """The old map's tiles that stay, and the new ones, on the grown lattices."""
    had_distinctiveness = bool((region_map.tiles["distinctiveness"] < 1.0).any())
    kept = np.flatnonzero(~found.replaced)
    moved = np.array(region_map.tiles[kept])
    rows, columns = np.array(grown.first, np.uint32)[moved["level"]].T
    moved["lattice_row"] += rows
    moved["lattice_column"] += columns
    old = placed_from(region_map, kept, moved)
    fresh = found.tiles
    new = PlacedTiles(
        tiles=tiles_on_lattice(
            region_map.frame,
            grown.levels,
            fresh["level"],
            fresh["lattice_row"],
            fresh["lattice_column"],
        ),
        rows=np.arange(len(fresh)),
        descriptors_of=lambda rows: found.descriptors[rows].astype(np.float32),
        digests=fresh["digest"] if old.digests is not None else None,
        contrast=fresh["contrast"] if had_distinctiveness else None,
    )
    if had_distinctiveness:
        old = PlacedTiles(
            old.tiles, old.rows, old.descriptors_of, old.digests, found.contrast[kept]
        )
    return [part for part in (old, new) if len(part.rows)]


def _provenance(region_map: RegionMap, config: UpdateConfig, found: FoundTiles) -> dict[str, Any]:
    details = {
        "imagery": [path.name for path in config.imagery],
        "described_again": len(found.tiles) - found.added,
        "added": found.added,
    }
    provenance = provenance_after([region_map], "update", details)
    imagery = dict(provenance.get("imagery", {}))
    if config.imagery_date is not None:
        imagery["date"] = config.imagery_date
    if config.attribution is not None:
        imagery["attribution"] = config.attribution
    return {**provenance, "imagery": imagery}
