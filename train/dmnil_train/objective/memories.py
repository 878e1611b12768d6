"""All memories of one epoch: built from its features and labels, moved after every step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dmnil_train.encoder.heads import unit_length
from dmnil_train.objective.cluster_memory import ClusterMemory, unit_centroids
from dmnil_train.objective.config import ObjectiveConfig, Stage
from dmnil_train.objective.instance_memory import InstanceMemory
from dmnil_train.objective.short_long_memory import ShortLongMemory


@dataclass(frozen=True)
class ViewPool:
    """One view's images at the start of an epoch.

    Args:
        features: (N, D) of every image, before normalisation.
        labels: (N,) cluster of each, -1 none.
    """

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ViewBatch:
    """One view's part of a step.

    Args:
        features: (B, D) that the encoder returned, before normalisation.
        indexes: (B,) which image of the view's pool each is.
        labels: (B,) cluster of each.
    """

    features: Tensor
    indexes: Tensor
    labels: Tensor


class ViewMemories(nn.Module):
    """Memories of one view; without cluster memories of its own where both views share one."""

    def __init__(
        self,
        instances: InstanceMemory,
        clusters: ClusterMemory | None,
        short_long: ShortLongMemory | None,
    ) -> None:
        super().__init__()
        self.instances = instances
        self.clusters = clusters
        self.short_long = short_long


class Memories(nn.Module):
    """Memories of an epoch; without a drone view only satellite images are trained.

    Everything in it is a buffer: `to` moves it to a device and `state_dict` holds it.
    """

    def __init__(
        self,
        satellite: ViewMemories,
        drone: ViewMemories | None = None,
        shared: ClusterMemory | None = None,
    ) -> None:
        super().__init__()
        self.satellite = satellite
        self.drone = drone
        self.shared = shared


def build_memories(
    config: ObjectiveConfig, stage: Stage, satellite: ViewPool, drone: ViewPool | None = None
) -> Memories:
    """The memories that a stage needs, from the features of its first moment.

    Raises:
        ValueError: If a view has no cluster, or labels leave a gap.
    """
    if stage.shared_labels and drone is not None:
        shared = ClusterMemory.from_features(
            torch.cat([satellite.features, drone.features]),
            torch.cat([satellite.labels, drone.labels]),
            config.temperature,
            stage.cluster_momentum,
        )
        return Memories(
            _instances_alone(config, satellite), _instances_alone(config, drone), shared
        )
    return Memories(
        _view_memories(config, stage, satellite),
        None if drone is None else _view_memories(config, stage, drone),
    )


def _instances_alone(config: ObjectiveConfig, pool: ViewPool) -> ViewMemories:
    return ViewMemories(_instances(config, pool), None, None)


def _instances(config: ObjectiveConfig, pool: ViewPool) -> InstanceMemory:
    coarse = config.instance_precision == "bf16"
    return InstanceMemory.from_features(pool.features, config.instance_momentum, coarse)


def _view_memories(config: ObjectiveConfig, stage: Stage, pool: ViewPool) -> ViewMemories:
    centroids = unit_centroids(pool.features.float(), pool.labels)
    momentum = stage.cluster_momentum
    return ViewMemories(
        _instances(config, pool),
        ClusterMemory(centroids, config.temperature, momentum),
        ShortLongMemory(centroids, config.temperature, momentum, config.short_long_combined_weight),
    )


def remember_batch(
    stage: Stage, memories: Memories, satellite: ViewBatch, drone: ViewBatch | None = None
) -> None:
    """Moves the short- and long-term memories, before the loss of a step reads them."""
    for view, batch in _views(memories, satellite, drone):
        if stage.short_long > 0.0 and view.short_long is not None:
            view.short_long.remember(unit_length(batch.features.detach().float()), batch.labels)


def update_memories(
    stage: Stage, memories: Memories, satellite: ViewBatch, drone: ViewBatch | None = None
) -> None:
    """Moves all other memories, after the step's gradient; a shared one by satellites first."""
    for view, batch in _views(memories, satellite, drone):
        features = batch.features.detach().float()
        queries = unit_length(features)
        clusters = view.clusters if memories.shared is None else memories.shared
        if clusters is not None:
            clusters.update(queries, batch.labels)
        if stage.short_long > 0.0 and view.short_long is not None:
            view.short_long.update(queries, batch.labels)
        view.instances.update(features, batch.indexes)


def _views(
    memories: Memories, satellite: ViewBatch, drone: ViewBatch | None
) -> list[tuple[ViewMemories, ViewBatch]]:
    views = [(memories.satellite, satellite)]
    if memories.drone is not None and drone is not None:
        views.append((memories.drone, drone))
    return views
