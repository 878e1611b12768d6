"""Features of whole pools: those that are trained, and those that the two views are matched by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dmnil_train.augmentation import headings_deg
from dmnil_train.config import MatchingConfig, TrainConfig
from dmnil_train.encoder.halves import TrainedHalf
from dmnil_train.encoder.heads import GridAverage
from dmnil_train.inputs import ViewInputs
from dmnil_train.objective.precision import autocast
from dmnil_train.processes import Processes

_MATCHING_GRID = 4


def pool_features(
    half: TrainedHalf, inputs: ViewInputs, config: TrainConfig, processes: Processes
) -> Tensor:
    """Features f (N, D) of a whole pool, unaugmented; of image and mirror image where wanted."""

    def described(rows: npt.NDArray[np.int64]) -> Tensor:
        features: Tensor = half(inputs.clean(rows))
        if config.mirrored_features:
            features = (features + half(inputs.clean(rows, mirrored=True))) / 2
        return features.float()

    return _of_every_image(described, len(inputs), config, processes)


def compares_trained_features(half: TrainedHalf, config: TrainConfig) -> bool:
    """Whether `matching_features` would only repeat `pool_features`."""
    same_head = _compared(half, config.matching) is half
    return same_head and config.matching.headings == 1 and not config.mirrored_features


def matching_features(
    half: TrainedHalf,
    satellite: ViewInputs,
    drone: ViewInputs,
    config: TrainConfig,
    processes: Processes,
) -> tuple[Tensor, Tensor]:
    """What `config.matching` compares: satellites (Ns, headings, D), drone images (Nd, D)."""
    compared = _compared(half, config.matching)
    turns_deg = headings_deg(config.matching.headings)

    def turned(rows: npt.NDArray[np.int64]) -> Tensor:
        features = [compared(satellite.turned(rows, turn_deg)) for turn_deg in turns_deg]
        return torch.stack(features, dim=1).float()

    def as_seen(rows: npt.NDArray[np.int64]) -> Tensor:
        features: Tensor = compared(drone.clean(rows)).float()
        return features

    return (
        _of_every_image(turned, len(satellite), config, processes),
        _of_every_image(as_seen, len(drone), config, processes),
    )


def _compared(half: TrainedHalf, matching: MatchingConfig) -> TrainedHalf:
    """What describes images for matching; a head that has cells is a grid already."""
    if matching.features == "grid" and not isinstance(half.head, GridAverage):
        return half.as_grid(_MATCHING_GRID)
    return half


def _of_every_image(
    described: Callable[[npt.NDArray[np.int64]], Tensor],
    count: int,
    config: TrainConfig,
    processes: Processes,
) -> Tensor:
    """Rows for images 0 to count - 1, a share of them from each process."""
    part = -(-count // processes.count)
    rows = processes.share_of(np.arange(part * processes.count) % count)
    with torch.inference_mode(), autocast(config.precision, processes.device):
        found = [
            described(rows[start : start + config.feature_batch])
            for start in range(0, len(rows), config.feature_batch)
        ]
    return processes.gathered(torch.cat(found))[:count].clone()
