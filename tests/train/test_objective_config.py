from __future__ import annotations

from typing import Any

import pytest

from dmnil_train.objective.config import ObjectiveConfig, Stage
from edge_runtime.contract.errors import ConfigError


def weights(stage: Stage) -> tuple[float, ...]:
    return (
        stage.intra_view,
        stage.short_long,
        stage.satellite_inside_view,
        stage.drone_inside_view,
        stage.cross_view,
        stage.consistency,
    )


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, (1.0, 1.0, 0.0, 0.0, 0.0, 0.0)),
        (1, (1.0, 1.0, 0.5, 0.5, 0.0, 0.0)),
        (9, (1.0, 1.0, 0.5, 0.5, 0.0, 0.0)),
        (10, (1.0, 1.0, 0.5, 0.5, 0.275, 0.01)),
        (11, (1.0, 1.0, 0.5, 0.5, 0.25, 0.0)),
        (20, (2.0, 0.0, 0.05, 0.05, 0.055, 0.01)),
        (21, (2.0, 0.0, 0.05, 0.05, 0.05, 0.0)),
    ],
)
def test_the_papers_schedule(epoch: int, expected: tuple[float, ...]) -> None:
    stage = ObjectiveConfig().stage(epoch)
    assert weights(stage) == pytest.approx(expected)
    assert stage.shared_labels == (epoch >= 20)
    assert stage.satellites_learn_across == (epoch % 2 == 0)
    assert stage.cluster_momentum == (0.2 if epoch == 0 else 0.1)
    assert stage.mutual_information == 0.0


def test_a_start_of_null_never_comes() -> None:
    config = ObjectiveConfig(inside_view_start=None, cross_view_start=None, shared_start=None)
    assert weights(config.stage(1000)) == (1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    assert not config.stage(1000).shared_labels


def test_mutual_information_acts_in_every_epoch_of_the_cross_view_stage() -> None:
    config = ObjectiveConfig(mutual_information_weight=0.3)
    assert [config.stage(epoch).mutual_information for epoch in (9, 10, 11, 20)] == [
        0,
        0.3,
        0.3,
        0.3,
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.0},
        {"cluster_momentum": 1.0},
        {"instance_momentum": -0.1},
        {"intra_view_weight": -1.0},
        {"cross_view_start": -1},
        {"neighbour_ratio": 1.0},
        {"instance_precision": "fp16"},
        {"probability_floor": 0.0},
        {"consistency_neighbours": 0},
    ],
)
def test_a_setting_out_of_range_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        ObjectiveConfig(**fields)
