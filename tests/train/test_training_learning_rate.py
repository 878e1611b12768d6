from __future__ import annotations

import pytest
import torch
from torch import nn

from dmnil_train.config import OptimiserConfig
from dmnil_train.learning_rate import build_optimiser, learning_rate_at

STEPS = OptimiserConfig(learning_rate=0.5, schedule="step", step_epochs=3, step_factor=0.1)
COSINE = OptimiserConfig(learning_rate=0.5, schedule="cosine", warm_up_share=0.2)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.5), (2, 0.5), (3, 0.05), (5, 0.05), (6, 0.005)])
@pytest.mark.parametrize("share", [0.0, 0.99])
def test_steps_come_between_epochs(epoch: int, rate: float, share: float) -> None:
    assert learning_rate_at(STEPS, epoch, 10, share) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("epoch", "share", "rate"),
    [
        (1, 0.0, 0.25),  # half way up
        (2, 0.0, 0.5),  # the warm-up's end
        (6, 0.0, 0.25),  # half way down
        (9, 1.0, 0.0),
    ],
)
def test_the_cosine_rises_to_its_highest_and_falls_to_nothing(
    epoch: int, share: float, rate: float
) -> None:
    assert learning_rate_at(COSINE, epoch, 10, share) == pytest.approx(rate, abs=1e-12)


def test_a_warm_up_rises_in_a_line_from_nothing() -> None:
    rates = [learning_rate_at(COSINE, 0, 10, share) for share in (0.0, 0.25, 0.5)]
    assert rates[0] == 0.0
    assert rates[2] == pytest.approx(2.0 * rates[1])


def test_without_a_warm_up_the_cosine_starts_at_its_highest() -> None:
    config = OptimiserConfig(learning_rate=0.5, schedule="cosine", warm_up_share=0.0)
    assert learning_rate_at(config, 0, 10, 0.0) == 0.5


def test_the_optimiser_leaves_frozen_weights_out() -> None:
    trained, frozen = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1), requires_grad=False)
    for method in ("sgd", "adamw"):
        config = OptimiserConfig(method=method, weight_decay=0.25)  # type: ignore[arg-type]
        optimiser = build_optimiser(config, [trained, frozen])
        (group,) = optimiser.param_groups
        assert group["params"] == [trained]
        assert group["weight_decay"] == 0.25
        assert type(optimiser).__name__.lower() == method
