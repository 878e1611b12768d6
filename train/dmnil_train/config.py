"""How a training run goes; every setting, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dmnil_train.augmentation import AugmentationConfig
from dmnil_train.data.config import DataConfig
from dmnil_train.encoder.choices import EncoderChoices
from dmnil_train.objective.config import ObjectiveConfig
from dmnil_train.objective.precision import PRECISIONS, Precision
from edge_runtime.contract.errors import ConfigError

Enhancement = Literal["paper", "mutual", "none"]


@dataclass(frozen=True)
class PseudoLabelConfig:
    """Clusters that stand in for labels; the defaults are the paper's.

    Args:
        k1: Neighbours that an image's k-reciprocal set is drawn from.
        k2: Neighbours whose weights are averaged.
        drone_eps: DBSCAN radius in Jaccard distance, drone images.
        satellite_eps: The same for satellite images, where a place has several.
        min_samples: Images that make a dense neighbourhood, itself counted.
        enhancement: How satellites take drone labels in the shared stage: as the paper does, which
            supposes that every place is in both pools; by mutual and confident matches alone; or
            not at all.
        enhancement_noise: Deviation of the noise that a label must withstand.
    """

    k1: int = 30
    k2: int = 6
    drone_eps: float = 0.4
    satellite_eps: float = 0.3
    min_samples: int = 4
    enhancement: Enhancement = "paper"
    enhancement_noise: float = 0.05

    def __post_init__(self) -> None:
        if min(self.k1, self.k2, self.min_samples) < 1:
            raise ConfigError("pseudo_labels: k1, k2 and min_samples must be at least 1")
        if self.k2 > self.k1:
            raise ConfigError(
                f"pseudo_labels.k2 must be at most k1, is {self.k2} where k1 is {self.k1}"
            )
        for name in ("drone_eps", "satellite_eps"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ConfigError(
                    f"pseudo_labels.{name} must lie between 0 and 1, is {getattr(self, name)}"
                )
        if self.enhancement not in ("paper", "mutual", "none"):
            raise ConfigError(
                f"pseudo_labels.enhancement is {self.enhancement!r}: choose paper, mutual or none"
            )
        if not self.enhancement_noise >= 0.0:
            raise ConfigError("pseudo_labels.enhancement_noise must be 0 or more")


@dataclass(frozen=True)
class PlaceConfig:
    """Recipes beyond the paper: each satellite tile is a class of its own.

    Args:
        satellite_weight: Weight of telling augmented tiles apart; 0 switches it off.
        cross_view_weight: Weight of drone images against the tiles that they and only they are
            mutual neighbours of; 0 switches it off.
        radius_m: Tiles this close to the right one show the same ground and count as neither.
        temperature: What similarities are divided by.
        momentum: Share of the old descriptor of a tile in the new one, step by step.
        nearest_tiles: How many nearest tiles of a drone image are looked at.
        nearest_images: How many nearest drone images of a tile are looked at: about as many as show
            one place.
        cross_view_start: First epoch with the cross-view term.
    """

    satellite_weight: float = 0.0
    cross_view_weight: float = 0.0
    radius_m: float = 75.0
    temperature: float = 0.05
    momentum: float = 0.9
    nearest_tiles: int = 3
    nearest_images: int = 3
    cross_view_start: int = 0

    def __post_init__(self) -> None:
        if not (self.satellite_weight >= 0.0 and self.cross_view_weight >= 0.0):
            raise ConfigError("places: weights must be 0 or more")
        if not (self.radius_m >= 0.0 and self.temperature > 0.0):
            raise ConfigError("places: radius_m must be 0 or more, temperature above 0")
        if not 0.0 <= self.momentum < 1.0:
            raise ConfigError(f"places.momentum must lie in 0 to 1, is {self.momentum}")
        if min(self.nearest_tiles, self.nearest_images) < 1 or self.cross_view_start < 0:
            raise ConfigError(
                "places: nearest_tiles and nearest_images must be 1 or more, cross_view_start 0 or "
                "more"
            )

    def draws_drone_views(self, epoch: int) -> bool:
        """Whether the cross-view term acts in an epoch."""
        return self.cross_view_weight > 0.0 and epoch >= self.cross_view_start


@dataclass(frozen=True)
class MatchingConfig:
    """What tells which drone images and satellite images show the same ground.

    Args:
        features: `head` compares what is trained; `grid` compares averages over 4 x 4 cells of the
            same feature map, which keep where things lie, where the head itself has no cells.
        headings: Into how many headings, evenly spread, each satellite image is turned, the most
            similar counts; 1 where drone views are north up.
    """

    features: Literal["head", "grid"] = "head"
    headings: int = 1

    def __post_init__(self) -> None:
        if self.features not in ("head", "grid"):
            raise ConfigError(f"matching.features is {self.features!r}: choose head or grid")
        if self.headings < 1:
            raise ConfigError(f"matching.headings must be 1 or more, is {self.headings}")


@dataclass(frozen=True)
class OptimiserConfig:
    """Optimiser and learning rate; the defaults are the paper's.

    Args:
        method: Stochastic gradient descent, or AdamW.
        learning_rate: At its highest.
        momentum: Of gradient descent.
        weight_decay: Pull of all weights towards 0.
        schedule: Steps down every so many epochs, or along a cosine to 0 after a warm-up.
        step_epochs: Epochs between steps.
        step_factor: What a step multiplies the learning rate by.
        warm_up_share: Share of the run over which the cosine schedule rises from 0.
    """

    method: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Literal["step", "cosine"] = "step"
    step_epochs: int = 20
    step_factor: float = 0.1
    warm_up_share: float = 0.1

    def __post_init__(self) -> None:
        if self.method not in ("sgd", "adamw") or self.schedule not in ("step", "cosine"):
            raise ConfigError("optimiser: method is sgd or adamw, schedule is step or cosine")
        if not (0.0 < self.learning_rate < float("inf") and self.weight_decay >= 0.0):
            raise ConfigError("optimiser: learning_rate must be above 0, weight_decay 0 or more")
        if not 0.0 <= self.momentum < 1.0:
            raise ConfigError(f"optimiser.momentum must lie in 0 to 1, is {self.momentum}")
        if self.step_epochs < 1 or not 0.0 < self.step_factor <= 1.0:
            raise ConfigError("optimiser: step_epochs is 1 or more, step_factor above 0, at most 1")
        if not 0.0 <= self.warm_up_share < 1.0:
            raise ConfigError("optimiser.warm_up_share must lie in 0 to 1")


@dataclass(frozen=True)
class BatchConfig:
    """What a step takes, over all processes together; the defaults are the paper's.

    Args:
        drone_clusters: Clusters of drone images.
        drone_instances: Images of each.
        satellite_clusters: Clusters of satellite images.
        satellite_instances: Images of each.
        satellite_repeats: Times that each satellite image comes, augmented differently.
    """

    drone_clusters: int = 16
    drone_instances: int = 4
    satellite_clusters: int = 16
    satellite_instances: int = 4
    satellite_repeats: int = 2

    def __post_init__(self) -> None:
        sizes = (self.drone_clusters, self.drone_instances, self.satellite_clusters)
        if min(*sizes, self.satellite_instances, self.satellite_repeats) < 1:
            raise ConfigError("batch: every size must be at least 1")


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run; `--preset paper` is the paper's.

    Args:
        data: Images to train on and to evaluate with.
        output: Folder of the run, NAME.run.
        weights: Where to start: the word efficientnet-lite2 (fetched with the package), a
            checkpoint of ours, or a published ConvNeXt or EfficientNet-Lite2 (.safetensors, .pth).
        encoder: Head and input of the encoder.
        frozen_parts: How many of the backbone's first parts (the stem and the stages of
            EfficientNet-Lite2, the four stages of ConvNeXt) keep their weights; -1 trains the
            last one alone.
        kept_views: Augmented views of each image of the larger pool that the frozen parts describe
            once, for all epochs; of a smaller pool's images up to eight times as many. 0 describes
            fresh ones in every step.
        freeze_batch_norm: Normalise with the stored statistics; a small pool's are too noisy.
        trained_share: What is evaluated and saved lies this far on the way from the weights
            started from (0) to the trained ones (1).
        dmnil: Train the paper's objective.
        objective: Its weights and schedule.
        pseudo_labels: Its clusters.
        places: The recipes beyond the paper.
        matching: How the two views are matched, for places.cross_view_weight and for
            pseudo_labels.enhancement mutual.
        supervised: Use the true places of both pools, as clusters of the paper's objective and as
            the tiles that drone images are drawn to: no method, but an upper bound.
        drone_augmentation: How drone images are varied.
        satellite_augmentation: How satellite images are varied.
        optimiser: Optimiser and learning rate.
        batch: What a step takes.
        epochs: Rounds of labels, memories and steps.
        iterations: Steps of an epoch.
        mirrored_features: Cluster the mean of an image's and its mirror's features.
        evaluate_every: Epochs between evaluations on the layout's first task, where there is one;
            `dmnil-train evaluate` scores them all.
        evaluation_headings: Into how many headings, evenly spread, evaluation turns each satellite
            picture, the most similar counts; for drone views in any heading.
        patience: Evaluations without a better score after which the run ends; 0 never.
        max_minutes: End before an epoch that would run past this; 0 never.
        seed: Seed of everything random.
        device: cpu, cuda, or auto.
        precision: Of the encoder in training: fp32, or autocast to bf16 or fp16.
        channels_last: Keep maps with channels innermost, which suits GPUs' matrix units.
        compile: Compile the encoder with torch.compile.
        feature_batch: Images encoded at a time between the steps.
        resume: Go on with the run that lies in the output folder.
    """

    data: DataConfig
    output: Path
    weights: str = ""
    encoder: EncoderChoices = field(default_factory=EncoderChoices)
    frozen_parts: int = 0
    kept_views: int = 0
    freeze_batch_norm: bool = False
    trained_share: float = 1.0
    dmnil: bool = True
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    pseudo_labels: PseudoLabelConfig = field(default_factory=PseudoLabelConfig)
    places: PlaceConfig = field(default_factory=PlaceConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    supervised: bool = False
    drone_augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    satellite_augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    epochs: int = 40
    iterations: int = 400
    mirrored_features: bool = True
    evaluate_every: int = 1
    evaluation_headings: int = 1
    patience: int = 0
    max_minutes: float = 0.0
    seed: int = 0
    device: str = "auto"
    precision: Precision = "fp32"
    channels_last: bool = True
    compile: bool = False
    feature_batch: int = 64
    resume: bool = False

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError(
                "weights is missing: the paper starts from ConvNeXt-Tiny trained on ImageNet-22k, "
                "whose published file you name; --weights efficientnet-lite2 needs no file"
            )
        counts = (self.epochs, self.iterations, self.evaluate_every, self.feature_batch)
        if min(counts) < 1:
            raise ConfigError("epochs, iterations, evaluate_every, feature_batch must be 1 or more")
        if self.evaluation_headings < 1:
            raise ConfigError(f"evaluation_headings must be 1 or more: {self.evaluation_headings}")
        if self.evaluation_headings > 1 and self.data.drone_view == "street":
            raise ConfigError(
                "evaluation_headings turns satellite pictures for views from the air: leave it "
                "at 1 for street views"
            )
        if min(self.patience, self.seed, self.kept_views) < 0 or not self.max_minutes >= 0.0:
            raise ConfigError("patience, seed, kept_views and max_minutes must be 0 or more")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}: choose fp32, bf16 or fp16")
        trains_places = self.places.satellite_weight > 0.0 or self.places.cross_view_weight > 0.0
        if self.supervised and not (self.dmnil or self.places.cross_view_weight > 0.0):
            raise ConfigError(
                "supervised gives true places to nothing: switch dmnil on, or give "
                "places.cross_view_weight a value above 0"
            )
        if not (self.dmnil or trains_places):
            raise ConfigError(
                "nothing to train: switch dmnil on, or give places.satellite_weight or "
                "places.cross_view_weight a value above 0"
            )
        if not 0.0 < self.trained_share <= 1.0:
            raise ConfigError(
                f"trained_share must be above 0 and at most 1, is {self.trained_share}"
            )
        shared_start = self.objective.shared_start
        reaches_shared_stage = shared_start is not None and shared_start < self.epochs
        if self.dmnil and self.trained_share < 1.0 and reaches_shared_stage:
            raise ConfigError(
                "trained_share blends the best weights, from which objective.shared_start goes on: "
                "set trained_share to 1, or objective.shared_start to null"
            )
        if self.frozen_parts < -1:
            raise ConfigError(f"frozen_parts must be -1 or more, is {self.frozen_parts}")
        if self.kept_views and self.frozen_parts == 0:
            raise ConfigError("kept_views needs frozen_parts: what is trained cannot be kept")
        if self.kept_views and self.mirrored_features:
            raise ConfigError("kept_views keeps no mirror images: set mirrored_features to false")
        has_drone = self.data.layout != "region" or bool(self.data.drone_sources)
        needs = [
            name
            for name, needed in (
                ("dmnil", self.dmnil),
                ("places.cross_view_weight", self.places.cross_view_weight > 0.0),
            )
            if needed
        ]
        if needs and not has_drone:
            raise ConfigError(
                f"{needs[0]} needs drone images: name them in data.drone, or train "
                "--preset satellite-only, which needs none"
            )
        if self.supervised and self.data.layout == "region":
            raise ConfigError("supervised needs true places, and a region's images carry none")

    def matches_views(self, epoch: int) -> bool:
        """Whether an epoch asks which images of the two views show the same ground."""
        if self.supervised:
            return False
        mutual = self.dmnil and self.pseudo_labels.enhancement == "mutual"
        shares = mutual and self.objective.stage(epoch).shared_labels
        return self.places.draws_drone_views(epoch) or shares
