"""One training step: the batches of both views, and the loss on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dmnil_train.config import PlaceConfig
from dmnil_train.encoder.heads import unit_length
from dmnil_train.labelling import EpochLabels
from dmnil_train.objective.cluster_memory import ClusterMemory
from dmnil_train.objective.config import ObjectiveConfig, Stage
from dmnil_train.objective.dmnil_objective import StepLoss, dmnil_loss
from dmnil_train.objective.memories import Memories, ViewBatch
from dmnil_train.objective.place_contrast import place_contrast, soft_place_contrast
from dmnil_train.processes import Processes


@dataclass(frozen=True)
class EpochTargets:
    """What the features of an epoch's steps are compared with.

    Args:
        stage: Of the paper's schedule.
        memories: The paper's; none in recipes without its objective.
        tiles: Descriptors of all satellite tiles; none where a recipe does not look at them.
        tile_positions_m: (Ns, 2) east and north of the tiles' centres.
        tiles_of_drone: (Nd, K) tiles that each drone image is drawn to, -1 where there are fewer;
            none where none is drawn to any.
    """

    stage: Stage
    memories: Memories | None
    tiles: ClusterMemory | None
    tile_positions_m: Tensor
    tiles_of_drone: Tensor | None


def view_batches(
    features: Tensor,
    satellite_rows: npt.NDArray[np.int64],
    drone_rows: npt.NDArray[np.int64] | None,
    labels: EpochLabels,
    processes: Processes,
) -> tuple[ViewBatch, ViewBatch | None]:
    """This process's features (B, D), satellites first, beside their images and labels."""
    count = len(satellite_rows)
    satellite = ViewBatch(
        features[:count],
        processes.tensor(satellite_rows),
        processes.tensor(labels.satellite[satellite_rows]),
    )
    if drone_rows is None:
        return satellite, None
    own = np.zeros_like(drone_rows) if labels.drone is None else labels.drone[drone_rows]
    return satellite, ViewBatch(
        features[count:], processes.tensor(drone_rows), processes.tensor(own)
    )


def joint_batches(
    satellite: ViewBatch, drone: ViewBatch | None, processes: Processes
) -> tuple[ViewBatch, ViewBatch | None]:
    """The batch of all processes together, so that every one moves its memories alike."""

    def gathered(batch: ViewBatch) -> ViewBatch:
        parts = (batch.features.float(), batch.indexes, batch.labels)
        return ViewBatch(*(processes.gathered(part) for part in parts))

    return gathered(satellite), None if drone is None else gathered(drone)


def step_loss(
    objective: ObjectiveConfig,
    places: PlaceConfig,
    targets: EpochTargets,
    satellite: ViewBatch,
    drone: ViewBatch | None,
    processes: Processes,
) -> StepLoss:
    """The recipe's loss on this process's batches; without gradient if they give no term one."""
    total = satellite.features.new_zeros(())
    terms: dict[str, Tensor] = {}
    if targets.memories is not None:
        loss = dmnil_loss(objective, targets.stage, targets.memories, satellite, drone)
        total = total + loss.total
        terms.update(loss.terms)
    for name, term in _tile_terms(places, targets, satellite, drone, processes).items():
        total = total + term
        terms[name] = term.detach()
    return StepLoss(total, terms)


def _tile_terms(
    places: PlaceConfig,
    targets: EpochTargets,
    satellite: ViewBatch,
    drone: ViewBatch | None,
    processes: Processes,
) -> dict[str, Tensor]:
    """Satellite images against all tiles; drone images against those they are drawn to."""
    terms: dict[str, Tensor] = {}
    if targets.tiles is None:
        return terms
    if places.satellite_weight > 0.0:
        terms["tiles"] = places.satellite_weight * place_contrast(
            unit_length(satellite.features.float()),
            satellite.indexes,
            targets.tiles.centroids,
            targets.tile_positions_m,
            places.radius_m,
            places.temperature,
        )
    if drone is not None and targets.tiles_of_drone is not None:
        positives = targets.tiles_of_drone[drone.indexes]
        weight = processes.weight_of_mean((positives >= 0).any(dim=1).sum())
        terms["cross_view_tiles"] = (weight * places.cross_view_weight) * soft_place_contrast(
            unit_length(drone.features.float()),
            positives,
            (positives >= 0).float(),
            targets.tiles.centroids,
            targets.tile_positions_m,
            places.radius_m,
            places.temperature,
        )
    return terms
