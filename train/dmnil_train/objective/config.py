"""Weights and schedule of the training objective; any term can be switched off."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from edge_runtime.contract.errors import ConfigError

InstancePrecision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Stage:
    """What one epoch trains: each term's weight in the total, 0 where it is left out.

    Args:
        shared_labels: Both views carry the same cluster labels and train against one memory.
        cluster_momentum: Share of the old prototype in the new one.
        satellites_learn_across: The cross-view terms, which are the last three, train satellite
            images this epoch; else drone images.
    """

    shared_labels: bool
    cluster_momentum: float
    satellites_learn_across: bool
    intra_view: float
    short_long: float
    satellite_inside_view: float
    drone_inside_view: float
    cross_view: float
    consistency: float
    mutual_information: float


@dataclass(frozen=True)
class ObjectiveConfig:
    """Weights and schedule of DMNIL; the defaults are the paper's.

    A weight of 0 switches a term off; a start of null never comes.

    Args:
        temperature: What similarities are divided by.
        first_epoch_cluster_momentum: Share of the old prototype in the new one, in epoch 0.
        cluster_momentum: The same in later epochs.
        instance_momentum: Share of the old row in the new one, in instance memories.
        intra_view_weight: Weight of the loss against cluster memories.
        short_long_weight: Weight of the loss against short- and long-term memories.
        short_long_combined_weight: Weight, inside that, of its combined memory.
        shared_intra_view_weight: Weight of the loss against the shared memory; 2 because it takes
            the place of both memories.
        inside_view_start: First epoch of learning from neighbours in the own view.
        cross_view_start: First epoch of learning from neighbours in the other view.
        shared_start: First epoch in which both views share labels.
        satellite_inside_view_weight: Weight of satellite images learning from satellite images.
        drone_inside_view_weight: Weight of drone images learning from drone images.
        satellite_to_drone_weight: Weight of satellite images learning from drone images, in even
            epochs.
        drone_to_satellite_weight: Weight of drone images learning from satellite images, in odd
            epochs.
        inside_view_weight: Weight of both inside-view terms before the shared stage.
        cross_view_weight: Weight of the cross-view terms before the shared stage.
        shared_inside_view_weight: Weight of both inside-view terms in the shared stage.
        shared_cross_view_weight: Weight of the cross-view terms in the shared stage.
        neighbour_ratio: Neighbours are more similar than this share of the largest similarity.
        probability_floor: Smallest probability that a neighbour is scored with.
        consistency_weight: Weight of an even similarity to the nearest images of the other view,
            in even epochs.
        consistency_neighbours: How many nearest images that looks at.
        mutual_information_weight: Weight of sure and diverse cross-view matches. The published
            result was reached without.
        instance_precision: Of the softmax over an instance memory: fp32; or bf16, which takes half
            the time on a processor with units for it and is right to about half a percent. Which
            rows are neighbours is exact in both.
    """

    temperature: float = 0.05
    first_epoch_cluster_momentum: float = 0.2
    cluster_momentum: float = 0.1
    instance_momentum: float = 0.9
    intra_view_weight: float = 1.0
    short_long_weight: float = 1.0
    short_long_combined_weight: float = 0.2
    shared_intra_view_weight: float = 2.0
    inside_view_start: int | None = 1
    cross_view_start: int | None = 10
    shared_start: int | None = 20
    satellite_inside_view_weight: float = 0.5
    drone_inside_view_weight: float = 0.5
    satellite_to_drone_weight: float = 0.55
    drone_to_satellite_weight: float = 0.5
    inside_view_weight: float = 1.0
    cross_view_weight: float = 0.5
    shared_inside_view_weight: float = 0.1
    shared_cross_view_weight: float = 0.1
    neighbour_ratio: float = 0.9
    probability_floor: float = 1e-8
    consistency_weight: float = 0.01
    consistency_neighbours: int = 10
    mutual_information_weight: float = 0.0
    instance_precision: InstancePrecision = "fp32"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_weight") and value < 0.0:
                raise ConfigError(f"objective.{field.name} is {value}: use 0 to switch it off")
            if field.name.endswith("_start") and value is not None and value < 0:
                raise ConfigError(f"objective.{field.name} is {value}: use null to leave it out")
            if field.name.endswith("_momentum") and not 0.0 <= value < 1.0:
                raise ConfigError(f"objective.{field.name} is {value}: it must lie in 0 to 1")
        if not self.temperature > 0.0:
            raise ConfigError(f"objective.temperature is {self.temperature}: it must be above 0")
        for name in ("neighbour_ratio", "probability_floor"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise ConfigError(
                    f"objective.{name} is {value}: it must lie between 0 and 1, both excluded"
                )
        if self.instance_precision not in ("fp32", "bf16"):
            raise ConfigError(
                f"objective.instance_precision is {self.instance_precision!r}: choose fp32 or bf16"
            )
        if self.consistency_neighbours < 1:
            raise ConfigError(
                f"objective.consistency_neighbours is {self.consistency_neighbours}: "
                "it must be at least 1"
            )

    def stage(self, epoch: int) -> Stage:
        """The weights of one epoch, the first being 0."""
        shared = _reached(self.shared_start, epoch)
        inside = self.shared_inside_view_weight if shared else self.inside_view_weight
        cross = self.shared_cross_view_weight if shared else self.cross_view_weight
        has_inside = _reached(self.inside_view_start, epoch)
        has_cross = _reached(self.cross_view_start, epoch)
        even = epoch % 2 == 0
        across = self.satellite_to_drone_weight if even else self.drone_to_satellite_weight
        return Stage(
            shared_labels=shared,
            cluster_momentum=(
                self.first_epoch_cluster_momentum if epoch == 0 else self.cluster_momentum
            ),
            satellites_learn_across=even,
            intra_view=self.shared_intra_view_weight if shared else self.intra_view_weight,
            short_long=0.0 if shared else self.short_long_weight,
            satellite_inside_view=has_inside * inside * self.satellite_inside_view_weight,
            drone_inside_view=has_inside * inside * self.drone_inside_view_weight,
            cross_view=has_cross * cross * across,
            consistency=(has_cross and even) * self.consistency_weight,
            mutual_information=has_cross * self.mutual_information_weight,
        )


def _reached(start: int | None, epoch: int) -> bool:
    return start is not None and epoch >= start
