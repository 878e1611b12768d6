"""The learning rate and the optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from dmnil_train.config import OptimiserConfig


def build_optimiser(
    config: OptimiserConfig, parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """The optimiser of a run."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if config.method == "sgd":
        return torch.optim.SGD(
            trained,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(trained, lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate_at(config: OptimiserConfig, epoch: int, epochs: int, epoch_share: float) -> float:
    """The learning rate of a step.

    Args:
        epoch: The first is 0.
        epochs: Of the whole run.
        epoch_share: Share of the epoch's steps that are done, 0-1.
    """
    if config.schedule == "step":
        return config.learning_rate * config.step_factor ** (epoch // config.step_epochs)
    done = (epoch + epoch_share) / epochs
    if done < config.warm_up_share:
        return config.learning_rate * done / config.warm_up_share
    along = (done - config.warm_up_share) / (1.0 - config.warm_up_share)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * along))
