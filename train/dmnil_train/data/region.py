"""One's own region: drone images and a satellite raster, unpaired and unlabelled."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmnil_train.data.config import DataConfig
from dmnil_train.data.drone_views import DroneViews, prepare_drone_views
from dmnil_train.data.picture_files import FilePool
from dmnil_train.data.pool import PreparedPool, RetrievalTask, TrainingData
from dmnil_train.data.prepare import prepare_pool
from dmnil_train.data.resize import ChosenPool
from dmnil_train.data.satellite_tiles import prepare_tiles
from edge_runtime.contract.errors import ConfigError, SourceError, TelemetryError
from edge_runtime.contract.geodesy import LocalFrame
from edge_runtime.sources.folder import PICTURE_SUFFIXES, natural_order
from edge_runtime.telemetry.truth import TruePlace, read_truth

logger = logging.getLogger(__name__)

_POINTS_AT_A_TIME = 64


@dataclass(frozen=True)
class RegionSatellite:
    """The satellite pool; `frame` places its positions on Earth, None for plain images."""

    pool: PreparedPool
    frame: LocalFrame | None


def region_training_data(config: DataConfig, height: int, width: int) -> TrainingData:
    """Both pools of a region; without drone images the satellite's alone.

    Raises:
        DmnilError: If a source cannot be used.
    """
    satellite = prepare_satellite(config, height, width).pool
    is_single = True if config.single_satellite_images is None else config.single_satellite_images
    if not config.drone_sources:
        return TrainingData(satellite, None, is_single)
    drone = prepare_drone_views(config, height, width)
    if config.view == "rectified" or not config.telemetry_files or height != width:
        return TrainingData(satellite, drone.pool, is_single)
    rectified = prepare_drone_views(replace(config, view="rectified"), height, width)
    rows = {frame: row for row, frame in enumerate(_frames_of(drone))}
    shown = np.array([rows.get(frame, -1) for frame in _frames_of(rectified)], np.int64)
    return TrainingData(satellite, drone.pool, is_single, rectified.pool, shown)


def region_retrieval_tasks(config: DataConfig, height: int, width: int) -> list[RetrievalTask]:
    """One task a flight with true places; none where truth is unknown.

    A tile counts as found if its centre, moved as the runtime moves it from the middle of the
    view to the centre of the camera's picture, lies within `hit_radius_m` of the ground truly
    viewed. Frames whose place no tile shows are left out, counted in a warning.

    Raises:
        ConfigError: If the satellite images know no positions.
        TelemetryError: If a flight's truth covers none of its frames.
        DmnilError: If a source cannot be used.
    """
    if not config.truth_files:
        return []
    satellite = prepare_satellite(config, height, width)
    if satellite.frame is None:
        raise ConfigError(
            f"data.truth cannot be scored: the images of {config.satellite} know no positions; "
            "give a GeoTIFF or a folder of XYZ tiles"
        )
    views = prepare_drone_views(config, height, width)
    several = len(config.truth_files) > 1
    tasks = []
    for number, path in enumerate(config.truth_files):
        name = "drone->satellite" + (f", {config.drone_sources[number]}" if several else "")
        tasks.append(
            region_retrieval_task(
                name,
                views,
                number,
                satellite.pool,
                satellite.frame,
                path,
                config.first_frame,
                config.hit_radius_m,
            )
        )
    return tasks


def region_retrieval_task(
    name: str,
    views: DroneViews,
    source: int,
    satellite: PreparedPool,
    frame: LocalFrame,
    truth_path: Path,
    first_frame: str | None = None,
    hit_radius_m: float = 50.0,
) -> RetrievalTask:
    """A flight's views among all tiles, by the ground that they truly show.

    Args:
        source: Which of the views' sources.
        frame: Of the satellite tiles' positions.
        first_frame: Leave out frames whose name sorts before this one, numbers by their value.

    Raises:
        TelemetryError: If the truth covers none of the frames.
    """
    truth = read_truth(truth_path)
    first = None if first_frame is None else natural_order(Path(first_frame))
    wanted = [
        index
        for index in np.flatnonzero(views.sources == source)
        if views.frames[index] in truth
        and (first is None or natural_order(Path(views.frames[index])) >= first)
    ]
    if not wanted:
        after = "" if first_frame is None else f" from {first_frame} on"
        raise TelemetryError(
            f"{truth_path} has no true place of any usable frame{after}: do they belong together?"
        )
    if satellite.positions_m is None:
        raise ConfigError(f"{truth_path} cannot be scored: satellite images have no positions")
    places = [truth[views.frames[index]] for index in wanted]
    middles_m = _viewed_m(places, frame) - views.to_image_centre_m[wanted]
    relevant = _within(middles_m, satellite.positions_m, hit_radius_m)
    is_shown = relevant.any(axis=1)
    if not is_shown.any():
        raise TelemetryError(
            f"{truth_path}: no tile lies within {hit_radius_m:g} m of any true place; do the "
            "flight and the satellite imagery belong together?"
        )
    if not is_shown.all():
        logger.warning(
            "%s: %d of %d frames show ground that no satellite tile does; they are left out",
            truth_path,
            np.count_nonzero(~is_shown),
            len(wanted),
        )
    kept = np.array(wanted, np.int64)[is_shown]
    return RetrievalTask(
        name=name,
        queries=ChosenPool(views.pool, tuple(kept.tolist())),
        gallery=satellite,
        query_places=np.full(len(kept), -1, np.int64),
        gallery_places=np.full(len(satellite), -1, np.int64),
        relevant=relevant[is_shown],
        turnable_side="gallery",
    )


def prepare_satellite(config: DataConfig, height: int, width: int) -> RegionSatellite:
    """The satellite images of a region: tiles of a raster, or plain images as they are.

    Raises:
        SourceError: If there is no such path, or a folder holds nothing to decode.
        MapError: If a raster cannot be read or holds no tile.
        OutputError: If the cache cannot be written.
    """
    path = config.satellite
    if path is None:
        raise ConfigError("data.satellite is missing")
    if not path.exists():
        raise SourceError(
            f"{path}: no such GeoTIFF, folder of XYZ tiles (z/x/y.jpg) or folder of images"
        )
    if path.is_dir() and not _is_tile_folder(path):
        plain = prepare_pool(
            _plain_images(path),
            height,
            width,
            config.cache_folder,
            label="satellite",
            threads=config.threads,
        )
        return RegionSatellite(plain, None)
    pool, frame = prepare_tiles(
        path,
        height,
        width,
        config.cache_folder,
        footprint_m=config.footprint_m,
        stride_ratio=config.stride_ratio,
        margin=config.margin,
        zoom=config.zoom,
    )
    return RegionSatellite(pool, frame)


def _frames_of(views: DroneViews) -> list[tuple[int, str]]:
    return list(zip(views.sources.tolist(), views.frames, strict=True))


def _plain_images(folder: Path) -> FilePool:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    files = sorted(
        (path for path in found if path.is_file()),
        key=lambda path: [natural_order(Path(part)) for part in path.relative_to(folder).parts],
    )
    layout = "satellite images, or XYZ tiles (z/x/y.jpg)"
    return FilePool(tuple(files), folder, layout)


def _is_tile_folder(folder: Path) -> bool:
    """Whether it holds folders zoom/x, both named by numbers."""
    return any(
        column.is_dir() and column.name.isdecimal()
        for zoom in folder.iterdir()
        if zoom.is_dir() and zoom.name.isdecimal()
        for column in zoom.iterdir()
    )


def _viewed_m(places: list[TruePlace], frame: LocalFrame) -> npt.NDArray[np.float64]:
    """East and north (N, 2) of the ground truly in the image centre."""
    return frame.to_local(
        [place.viewed_ground_latitude_deg for place in places],
        [place.viewed_ground_longitude_deg for place in places],
    )


def _within(
    points_m: npt.NDArray[np.float64], centres_m: npt.NDArray[np.float64], radius_m: float
) -> npt.NDArray[np.bool_]:
    """Whether each of (Q, 2) points lies within a distance of each of (G, 2) centres, (Q, G)."""
    near = np.zeros((len(points_m), len(centres_m)), np.bool_)
    for start in range(0, len(points_m), _POINTS_AT_A_TIME):  # bounds memory on large maps
        part = slice(start, start + _POINTS_AT_A_TIME)
        offsets_m = points_m[part, None] - centres_m
        near[part] = np.hypot(offsets_m[..., 0], offsets_m[..., 1]) <= radius_m
    return near
