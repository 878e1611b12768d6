"""The whole loss of a training step of DMNIL (arXiv 2502.11381).

A step is `remember_batch`, `dmnil_loss`, the gradient, `update_memories`. The first and the last
take the gathered batch of all processes, so that their memories stay equal; the loss takes each
process's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dmnil_train.encoder.heads import unit_length
from dmnil_train.objective.config import ObjectiveConfig, Stage
from dmnil_train.objective.consistency import mutual_information, neighbour_consistency
from dmnil_train.objective.instance_memory import InstanceMemory, nearest, neighbours
from dmnil_train.objective.memories import Memories, ViewBatch, ViewMemories
from dmnil_train.objective.neighbour_loss import neighbour_loss
from dmnil_train.objective.precision import without_autocast


@dataclass(frozen=True)
class StepLoss:
    """What a step minimises.

    Args:
        total: Scalar to differentiate.
        terms: What each term adds to it, by name, without gradient.
    """

    total: Tensor
    terms: dict[str, Tensor]


def dmnil_loss(
    config: ObjectiveConfig,
    stage: Stage,
    memories: Memories,
    satellite: ViewBatch,
    drone: ViewBatch | None = None,
) -> StepLoss:
    """The sum of the stage's terms; no memory changes, and none carries a gradient.

    Terms of weight 0 are not computed, nor those that need a drone batch where there is none.

    Raises:
        ValueError: If no term is left.
    """
    with without_autocast(satellite.features):
        terms = _weighted_terms(config, stage, memories, satellite, drone)
        if not terms:
            raise ValueError("the objective has no term left: nothing to train")
        total = torch.stack(list(terms.values())).sum()
    return StepLoss(total, {name: term.detach() for name, term in terms.items()})


def _weighted_terms(
    config: ObjectiveConfig,
    stage: Stage,
    memories: Memories,
    satellite: ViewBatch,
    drone: ViewBatch | None,
) -> dict[str, Tensor]:
    satellite_half = _Half(memories.satellite, satellite)
    halves = {"satellite": satellite_half}
    if drone is not None and memories.drone is not None:
        halves["drone"] = _Half(memories.drone, drone)

    terms: dict[str, Tensor] = {}
    for view, half in halves.items():
        clusters = half.memories.clusters if memories.shared is None else memories.shared
        if stage.intra_view > 0.0 and clusters is not None:
            terms[f"{view}_intra_view"] = stage.intra_view * clusters.loss(
                half.queries, half.labels
            )
        short_long = half.memories.short_long
        if stage.short_long > 0.0 and short_long is not None:
            terms[f"{view}_short_long"] = stage.short_long * short_long.loss(
                half.queries, half.labels
            )
    inside_weights = {
        "satellite": stage.satellite_inside_view,
        "drone": stage.drone_inside_view,
    }
    for view, half in halves.items():
        if inside_weights[view] > 0.0:
            similarities = half.similarities(config, half.instances)
            loss = half.neighbour_loss(config, similarities, half.instances)
            terms[f"{view}_inside_view"] = inside_weights[view] * loss
    if "drone" in halves:
        if stage.satellites_learn_across:
            learner, other = halves["satellite"], halves["drone"]
        else:
            learner, other = halves["drone"], halves["satellite"]
        terms.update(_cross_view_terms(config, stage, learner, other.instances))
    return terms


def _cross_view_terms(
    config: ObjectiveConfig, stage: Stage, learner: _Half, other: InstanceMemory
) -> dict[str, Tensor]:
    terms: dict[str, Tensor] = {}
    if stage.cross_view > 0.0 or stage.consistency > 0.0:
        similarities = learner.similarities(config, other, config.consistency_neighbours)
    if stage.cross_view > 0.0:
        loss = learner.neighbour_loss(config, similarities, other)
        terms["cross_view"] = stage.cross_view * loss
    if stage.consistency > 0.0:
        nearest_rows = nearest(similarities, config.consistency_neighbours)
        if learner.line is not None:
            nearest_rows = nearest_rows[learner.line]
        terms["consistency"] = stage.consistency * neighbour_consistency(
            learner.queries, other.rows, nearest_rows, config.temperature
        )
    if stage.mutual_information > 0.0:
        information = mutual_information(learner.queries, other.rows, config.temperature)
        terms["mutual_information"] = -stage.mutual_information * information
    return terms


class _Half:
    """One view's batch beside its memories.

    The stored row of an image is compared once, however often the image is in the batch: a
    satellite cluster of one image comes eight times a batch.
    """

    def __init__(self, memories: ViewMemories, batch: ViewBatch) -> None:
        self.memories = memories
        self.instances = memories.instances
        self.labels = batch.labels
        self.queries = unit_length(batch.features.to(memories.instances.rows.dtype))
        self.images, self.line = _distinct(batch.indexes)

    def similarities(self, config: ObjectiveConfig, to: InstanceMemory, nearest: int = 1) -> Tensor:
        """Cosines (U, N) of the stored rows of the batch's images with a memory's rows."""
        stored = self.instances.rows[self.images]
        return to.similarities(stored, config.neighbour_ratio, nearest)

    def neighbour_loss(
        self, config: ObjectiveConfig, similarities: Tensor, memory: InstanceMemory
    ) -> Tensor:
        """Loss against the neighbours that the batch's stored rows have in a memory."""
        return neighbour_loss(
            self.queries,
            memory.rows,
            neighbours(similarities, config.neighbour_ratio),
            self.line,
            config.temperature,
            config.probability_floor,
            memory.coarse_rows,
        )


def _distinct(indexes: Tensor) -> tuple[Tensor, Tensor | None]:
    """Distinct indexes, and the place of each index among them; None where none repeats."""
    distinct, places = torch.unique(indexes, return_inverse=True)
    return (indexes, None) if len(distinct) == len(indexes) else (distinct, places)
