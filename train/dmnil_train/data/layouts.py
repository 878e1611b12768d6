"""Open whatever a configuration names: pools to train on, tasks to evaluate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dmnil_train.data import denseuav, sues200, university1652
from dmnil_train.data.config import DataConfig
from dmnil_train.data.labelled_files import LabelledFiles, TrainingFiles
from dmnil_train.data.pool import PreparedPool, RetrievalTask, TrainingData
from dmnil_train.data.prepare import prepare_pool
from dmnil_train.data.region import region_retrieval_tasks, region_training_data
from dmnil_train.data.resize import ResizedPool
from edge_runtime.contract.errors import ConfigError, SourceError


def open_training_data(config: DataConfig, height: int, width: int) -> TrainingData:
    """The two pools, decoded at the encoder's input size; from the cache if they were before.

    Raises:
        SourceError: If a folder is missing, empty, or holds too much that cannot be decoded.
        MapError: If a region's raster cannot be used.
        TelemetryError: If a flight's telemetry cannot be used.
        ConfigError: If the settings do not fit the encoder's input.
        OutputError: If the cache cannot be written.
    """
    if config.layout == "region":
        return region_training_data(config, height, width)
    files = _training_files(config)
    is_single = config.single_satellite_images
    return TrainingData(
        satellite=_prepared(files.satellite, config, height, width, "satellite"),
        drone=_prepared(files.drone, config, height, width, config.drone_view),
        single_satellite_images=files.single_satellite_images if is_single is None else is_single,
    )


def open_retrieval_tasks(config: DataConfig, height: int, width: int) -> list[RetrievalTask]:
    """What to evaluate, every picture (height, width); none for a region without truth.

    Public datasets are decoded whenever they are read: their test images outnumber those that
    are trained on, and are needed once an epoch.

    Raises:
        DmnilError: As `open_training_data`.
    """
    if config.layout == "region":
        return region_retrieval_tasks(config, height, width)
    tasks = _retrieval_tasks(config)
    pools = {id(pool): pool for task in tasks for pool in (task.queries, task.gallery)}
    # Tasks that share a pool go on sharing it: it is then embedded once.
    at_size = {key: ResizedPool(pool, height, width) for key, pool in pools.items()}
    return [
        replace(task, queries=at_size[id(task.queries)], gallery=at_size[id(task.gallery)])
        for task in tasks
    ]


def _training_files(config: DataConfig) -> TrainingFiles:
    root = _root_of(config)
    if config.layout == "university1652":
        return university1652.training_files(root, config.drone_view, config.satellite_view)
    if config.layout == "sues200":
        return sues200.training_files(root, config.heights_m)
    return denseuav.training_files(root)


def _retrieval_tasks(config: DataConfig) -> list[RetrievalTask]:
    root = _root_of(config)
    if config.layout == "university1652":
        return university1652.retrieval_tasks(root, config.drone_view, config.satellite_view)
    if config.layout == "sues200":
        return sues200.retrieval_tasks(root, config.heights_m)
    return denseuav.retrieval_tasks(root)


def _root_of(config: DataConfig) -> Path:
    if config.root is None:
        raise ConfigError("data.root is missing")
    if not config.root.is_dir():
        raise SourceError(f"{config.root}: no such folder; data.root is where {config.layout} lies")
    return config.root


def _prepared(
    images: LabelledFiles, config: DataConfig, height: int, width: int, view: str
) -> PreparedPool:
    return prepare_pool(
        images.files,
        height,
        width,
        config.cache_folder,
        label=f"{config.layout}-{view}",
        places=images.places,
        threads=config.threads,
    )
