"""Where on a map one picture fits: what to look at when a flight finds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_maps.preview.view import Look, Picture, ViewConfig, read_picture, rectified_looks
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError, ConfigError
from edge_runtime.contract.region_map import RegionMap
from edge_runtime.engines import Engine, open_engine
from edge_runtime.localize.query import QueryProjector
from edge_runtime.localize.search import TileSearch
from edge_runtime.telemetry.log import TelemetrySample

PLACES = 10
_CANDIDATES = 4096
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """A tile that looks like the view."""

    level: int
    lattice_row: int
    lattice_column: int
    latitude_deg: float
    longitude_deg: float
    score: float


@dataclass(frozen=True)
class LevelView:
    """The view as one level's tiles show ground, and how much each of them looks like it."""

    level: int
    view: Picture
    """(S, S, 3) RGB, what the encoder saw."""
    heading_deg: float
    coverage: float
    """Share of the footprint that the camera sees, 0-1."""
    offset_m: tuple[float, float]
    """East and north from the drone to the view's centre."""
    fault: str
    """Why a flight would not use this view; empty if it would."""
    scores: Scores
    """(tiles of the level,) in standard deviations above chance."""
    places: tuple[Place, ...]
    """The best ones, each a footprint or more from those before it."""


@dataclass(frozen=True)
class ViewSearch:
    """A picture and what became of it on every level."""

    image: Picture
    name: str
    sample: TelemetrySample | None
    levels: tuple[LevelView, ...]

    @property
    def best(self) -> LevelView:
        """The level with the highest score."""
        return max(self.levels, key=lambda level: level.places[0].score)


def search_view(region_map: RegionMap, config: ViewConfig) -> ViewSearch:
    """Rectify a picture as a flight would, and compare it with every tile of the map.

    Raises:
        BundleError: If there is no encoder, or an unusable one.
        ConfigError: If the lens of a camera frame is unknown.
        EngineError: If the encoder cannot be run.
        MapError: If it is not the map's encoder.
        SourceError: If the picture cannot be read, or shows less than one tile.
        TelemetryError: If the telemetry cannot be read or lacks the picture.
    """
    bundle = load_encoder_bundle(_encoder_path(region_map, config))
    region_map.require_encoder(bundle)
    if bundle.input_height != bundle.input_width:
        raise BundleError(f"{bundle.folder}: the runtime needs a square encoder input")
    image = read_picture(config.image)
    looks, sample = rectified_looks(region_map, config, image, bundle)
    engine = open_engine(bundle, config.precision, threads=config.threads)
    search = TileSearch(region_map)
    query = QueryProjector(region_map)
    levels = [_searched(region_map, search, query, engine, level, looks[level]) for level in looks]
    return ViewSearch(image, config.image.name, sample, tuple(levels))


def _searched(
    region_map: RegionMap,
    search: TileSearch,
    query: QueryProjector,
    engine: Engine,
    level: int,
    looks: list[Look],
) -> LevelView:
    descriptors = engine.encode(np.stack([look.view for look in looks]))
    best: tuple[Look, Scores] | None = None
    for look, descriptor in zip(looks, descriptors, strict=True):
        scores = search.scores(query.project(descriptor, level), level)
        if best is None or scores.max() > best[1].max():
            best = look, scores
    if best is None:
        raise ConfigError(f"{region_map.folder}: level {level} was not looked at")
    look, scores = best
    return LevelView(
        level,
        look.view,
        look.heading_deg,
        look.coverage,
        look.offset_m,
        look.fault,
        scores,
        best_places(region_map, level, scores),
    )


def best_places(region_map: RegionMap, level: int, scores: Scores) -> tuple[Place, ...]:
    """The highest scores of a level, each at least a footprint away from higher ones."""
    first_row = region_map.rows_of_level(level).start
    candidates = np.argsort(-scores, kind="stable")[:_CANDIDATES]
    tiles = region_map.tiles[first_row + candidates]
    geometry = region_map.levels[level]
    centres = geometry.centre(tiles["lattice_row"], tiles["lattice_column"])
    chosen: list[int] = []
    for number in range(len(candidates)):
        apart = np.abs(centres[chosen] - centres[number]).max(axis=1)
        if (apart >= geometry.footprint_m).all():
            chosen.append(number)
            if len(chosen) == PLACES:
                break
    return tuple(
        Place(
            level,
            int(tiles["lattice_row"][number]),
            int(tiles["lattice_column"][number]),
            float(tiles["latitude_deg"][number]),
            float(tiles["longitude_deg"][number]),
            float(scores[candidates[number]]),
        )
        for number in chosen
    )


def _encoder_path(region_map: RegionMap, config: ViewConfig) -> Path:
    if config.encoder is not None:
        return config.encoder
    name = str(region_map.manifest.get("encoder", {}).get("name", ""))
    beside = region_map.folder.absolute().parent / f"{name}.encoder"
    if not name or not beside.is_dir():
        raise BundleError(
            f"the encoder {name or 'of the map'} does not lie beside {region_map.folder}: name it "
            "with --encoder"
        )
    return beside
