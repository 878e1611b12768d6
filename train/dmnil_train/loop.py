"""Training, from top to bottom: features, labels, memories, steps, evaluation; epoch by epoch."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import defaultdict
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dmnil_train.augmentation import AugmentationConfig
from dmnil_train.config import TrainConfig
from dmnil_train.data.layouts import open_retrieval_tasks, open_training_data
from dmnil_train.data.pool import PreparedPool, RetrievalTask
from dmnil_train.encoder.checkpoint import load_encoder
from dmnil_train.encoder.halves import count_parts, split_encoder
from dmnil_train.encoder.heads import unit_length
from dmnil_train.encoder.model import Encoder
from dmnil_train.encoder.starting_weights import encoder_with, read_weights
from dmnil_train.encoder.weight_blend import WeightBlend
from dmnil_train.evaluation.evaluate import EmbeddingOptions, PoolEmbedder, evaluate_with
from dmnil_train.evaluation.image_encoder import TorchEncoder
from dmnil_train.inputs import FreshInputs, KeptInputs, ViewInputs, mixed_seed
from dmnil_train.labelling import (
    EpochLabels,
    MatchingFeatures,
    TileMatches,
    clustered_labels,
    enhanced_labels,
    matched_tiles,
    mutual_labels,
    true_labels,
    true_tiles,
)
from dmnil_train.learning_rate import build_optimiser, learning_rate_at
from dmnil_train.objective.cluster_memory import ClusterMemory
from dmnil_train.objective.config import ObjectiveConfig
from dmnil_train.objective.memories import (
    ViewPool,
    build_memories,
    remember_batch,
    update_memories,
)
from dmnil_train.objective.precision import autocast
from dmnil_train.pool_features import (
    compares_trained_features,
    matching_features,
    pool_features,
)
from dmnil_train.processes import Processes, joined_processes, wrapped
from dmnil_train.pseudo_labels import singletons
from dmnil_train.reporting.summary import RunSummary
from dmnil_train.run_folder import BEST_FILE, LAST_FILE, RETRIEVAL_FILE, RunFolder
from dmnil_train.sampling import identity_batches
from dmnil_train.training_state import Progress
from dmnil_train.training_step import EpochTargets, joint_batches, step_loss, view_batches
from edge_runtime.contract.errors import ConfigError, TrainingError
from edge_runtime.progress import progress_bar

logger = logging.getLogger(__name__)

MOST_KEPT_TIMES = 8

_PROBED_IMAGES = 8
# Streams of random numbers that must not repeat one another.
_SATELLITE, _DRONE, _NOISE, _BATCHES = range(1, 5)


def train(config: TrainConfig) -> RunSummary:
    """Train an encoder; alone, or as one of the processes that torchrun started.

    The same settings give the same weights on a processor, also if the run was stopped in between.

    Raises:
        DmnilError: If the data, the weights or the settings cannot be used, if the loss is no
            longer finite, or if the run folder cannot be written.
    """
    with joined_processes(config.device) as processes:
        try:
            return _train(config, processes)
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"the memory of {processes.device} is too small for these settings: lower the "
                "sizes under batch, feature_batch or encoder.input_size, or set precision to bf16"
            ) from error


def _train(config: TrainConfig, processes: Processes) -> RunSummary:
    # --- what is trained, and on what
    began = time.monotonic()
    start = read_weights(config.weights)
    folder = RunFolder(config, start.provenance, processes.is_first)
    chosen = dataclasses.replace(config.encoder.applied_to(start.config), descriptor_size=None)
    encoder = encoder_with(start, chosen).to(processes.device)
    parts = count_parts(chosen)
    frozen_parts = parts - 1 if config.frozen_parts == -1 else config.frozen_parts
    if frozen_parts >= parts:
        raise ConfigError(f"frozen_parts is {frozen_parts}: this backbone has {parts} parts")
    data = open_training_data(config.data, chosen.input_height, chosen.input_width)
    tasks = open_retrieval_tasks(config.data, chosen.input_height, chosen.input_width)
    uses_tiles = config.places.satellite_weight > 0.0 or config.places.cross_view_weight > 0.0
    uses_drone = data.drone is not None and (config.dmnil or config.places.cross_view_weight > 0.0)
    frozen, half = split_encoder(encoder, frozen_parts, config.freeze_batch_norm)
    if config.channels_last:
        for parameter in encoder.backbone.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def inputs_of(
        pool: PreparedPool, augmentation: AugmentationConfig, name: str, stream: int
    ) -> ViewInputs:
        fresh = FreshInputs(pool, frozen, augmentation, processes.device)
        if not config.kept_views:
            return fresh
        larger = max(len(data.satellite), 0 if data.drone is None else len(data.drone))
        views = config.kept_views * min(MOST_KEPT_TIMES, larger // len(pool))
        return KeptInputs(fresh, views, mixed_seed(config.seed, stream), name)

    satellite = inputs_of(data.satellite, config.satellite_augmentation, "satellite", _SATELLITE)
    drone: ViewInputs | None = None
    if uses_drone and data.drone is not None:
        drone = inputs_of(data.drone, config.drone_augmentation, "drone", _DRONE)
    matched_drone, matched_rows = drone, np.arange(0 if drone is None else len(drone))
    if drone is not None and data.rectified is not None and data.rectified_of is not None:
        fresh = FreshInputs(data.rectified, frozen, config.drone_augmentation, processes.device)
        matched_drone, matched_rows = fresh, data.rectified_of
        if config.kept_views:
            matched_drone = KeptInputs(fresh, 0, config.seed, "rectified drone")
    positions_m = _tile_positions(data.satellite.positions_m, len(satellite), processes.device)
    blend = WeightBlend(encoder, config.trained_share)
    optimiser = build_optimiser(config.optimiser, half.parameters())
    scaler = torch.amp.GradScaler(processes.device.type, enabled=config.precision == "fp16")
    objective = _supervised(config) if config.supervised else config.objective

    # --- where it goes on from
    progress = Progress(loss_scale=scaler.state_dict())
    if folder.saved is not None:
        progress = folder.saved.restore(encoder, optimiser)
        scaler.load_state_dict(progress.loss_scale)
    if config.compile:
        half.compile()
    network = wrapped(half, processes)
    longest_epoch_s = 0.0
    reason = ""

    def judge(epochs_done: int, figures: dict[str, float]) -> None:
        scores = None
        if processes.is_first:
            scores = _evaluated(blend.encoder(), tasks[0], config, folder, epochs_done)
        figures.update(processes.from_first(scores))
        progress.without_gain += 1
        if figures["recall_at_1"] > progress.best_score:
            progress.best_score, progress.best_epoch = figures["recall_at_1"], epochs_done
            progress.best_figures, progress.without_gain = dict(figures), 0

    folder.open()
    with folder.logs(progress.epoch):
        if folder.saved is not None:
            folder.publish(progress, blend.encoder())
        else:
            if tasks:
                judge(0, progress.figures)
            folder.commit(progress, encoder, optimiser, blend.encoder())
        for epoch in range(progress.epoch, config.epochs):
            epoch_began = time.monotonic()
            if config.max_minutes and processes.from_first(
                epoch_began - began + longest_epoch_s > 60.0 * config.max_minutes
            ):
                reason = f"another epoch would not fit into {config.max_minutes:g} minutes"
                break
            if config.patience and progress.without_gain >= config.patience:
                reason = f"{config.patience} evaluations brought nothing better"
                break
            stage = objective.stage(epoch)
            if stage.shared_labels and epoch == objective.shared_start and not config.supervised:
                best = processes.from_first(progress.best_epoch is not None)
                if best:
                    encoder.load_state_dict(load_encoder(config.output / BEST_FILE).state_dict())

            # --- features of every image, as it is
            half.eval()
            satellite_features = pool_features(half, satellite, config, processes)
            drone_features = None
            if drone is not None:
                drone_features = pool_features(half, drone, config, processes)
            matching = None
            if (
                matched_drone is not None
                and drone_features is not None
                and config.matches_views(epoch)
            ):
                described = satellite_features, drone_features
                if matched_drone is not drone or not compares_trained_features(half, config):
                    described = matching_features(half, satellite, matched_drone, config, processes)
                matching = MatchingFeatures(*described, matched_rows)

            # --- labels and memories
            figures: dict[str, float] = {}
            labels = EpochLabels(singletons(len(satellite)).labels, None, shared=False)
            memories = None
            if config.dmnil and config.supervised:
                labels = true_labels(data)
            elif config.dmnil and drone_features is not None and processes.is_first:
                labels = clustered_labels(
                    config.pseudo_labels,
                    data,
                    satellite_features,
                    drone_features,
                    progress.clusters,
                )
                if stage.shared_labels and config.pseudo_labels.enhancement == "paper":
                    seed = mixed_seed(config.seed, epoch, _NOISE)
                    labels = enhanced_labels(
                        config.pseudo_labels, labels, satellite_features, drone_features, seed
                    )
                elif stage.shared_labels and matching is not None:
                    labels = mutual_labels(labels, matching)
            labels = processes.from_first(labels)
            if config.dmnil:
                figures.update(labels.figures())
                stage = dataclasses.replace(stage, shared_labels=labels.shared)
                pools = [ViewPool(satellite_features, processes.tensor(labels.satellite))]
                if labels.drone is not None and drone_features is not None:
                    pools.append(ViewPool(drone_features, processes.tensor(labels.drone)))
                memories = build_memories(objective, stage, *pools).to(processes.device)
            drone_sampled = labels.drone
            matches = tiles_of_drone = None
            if drone_features is not None and config.places.draws_drone_views(epoch):
                if processes.is_first:
                    matches = (
                        true_tiles(data)
                        if matching is None  # supervised
                        else matched_tiles(
                            matching,
                            len(drone_features),
                            config.places.nearest_tiles,
                            config.places.nearest_images,
                        )
                    )
                matches = cast(TileMatches, processes.from_first(matches))
                tiles_of_drone = processes.tensor(matches.tiles)
                figures["tile_pairs"] = float(matches.pairs)
                figures["matched_share"] = float(matches.matched.mean())
                if drone_sampled is None and matches.matched.any():
                    drone_sampled = np.where(
                        matches.matched, np.cumsum(matches.matched) - 1, np.int64(-1)
                    )
            tiles = None
            if uses_tiles:
                tiles = ClusterMemory(
                    unit_length(satellite_features),
                    config.places.temperature,
                    config.places.momentum,
                ).to(processes.device)
            targets = EpochTargets(stage, memories, tiles, positions_m, tiles_of_drone)

            # --- steps
            rng = np.random.default_rng(mixed_seed(config.seed, epoch, _BATCHES))
            sizes = config.batch
            satellite_batches = _batches(
                labels.satellite,
                config.iterations,
                rng,
                sizes.satellite_clusters,
                sizes.satellite_instances,
                processes,
            )
            drone_batches = None
            if drone_sampled is not None:
                drone_batches = _batches(
                    drone_sampled,
                    config.iterations,
                    rng,
                    sizes.drone_clusters,
                    sizes.drone_instances,
                    processes,
                )
            half.train()
            sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=processes.device))
            rate = 0.0
            with progress_bar(f"epoch {epoch}", config.iterations, "step", 1.0) as bar:
                bar.disable = bar.disable or not processes.is_first
                for step in range(config.iterations):
                    rate = learning_rate_at(
                        config.optimiser, epoch, config.epochs, (step + 0.5) / config.iterations
                    )
                    for group in optimiser.param_groups:
                        group["lr"] = rate
                    seed = mixed_seed(config.seed, epoch, step, processes.rank)
                    all_satellites = np.tile(satellite_batches[step], sizes.satellite_repeats)
                    satellite_rows = processes.share_of(all_satellites)
                    inputs = satellite.augmented(satellite_rows, seed)
                    drone_rows = None
                    if drone is not None and drone_batches is not None:
                        drone_rows = processes.share_of(drone_batches[step])
                        inputs = torch.cat([inputs, drone.augmented(drone_rows, seed + 1)])
                    with autocast(config.precision, processes.device):
                        features = network(inputs)
                    satellite_batch, drone_batch = view_batches(
                        features, satellite_rows, drone_rows, labels, processes
                    )
                    joint = joint_batches(satellite_batch, drone_batch, processes)
                    if memories is not None:
                        remember_batch(stage, memories, *joint)
                    loss = step_loss(
                        objective, config.places, targets, satellite_batch, drone_batch, processes
                    )
                    if not processes.gathered(torch.isfinite(loss.total.detach())[None]).all():
                        terms = loss.terms.items()
                        named = ", ".join(f"{name} {term.item():g}" for name, term in terms)
                        raise _diverged(config, f"in epoch {epoch + 1}, step {step + 1} ({named})")
                    if not loss.total.requires_grad:
                        raise TrainingError(
                            f"epoch {epoch + 1} has nothing to train on: no drone image and tile "
                            "are mutual neighbours yet; raise places.nearest_tiles and "
                            "places.nearest_images, or places.satellite_weight above 0"
                        )
                    optimiser.zero_grad(set_to_none=True)
                    torch.autograd.backward(scaler.scale(loss.total))
                    scaler.step(optimiser)
                    scaler.update()
                    if memories is not None:
                        update_memories(stage, memories, *joint)
                    if tiles is not None:
                        tiles.update(unit_length(joint[0].features.float()), joint[0].indexes)
                    for name, term in (*loss.terms.items(), ("loss", loss.total.detach())):
                        sums[name] += term
                    bar.update()
            processes.equalise_buffers(half)
            half.eval()
            with torch.inference_mode():
                features = half(satellite.clean(np.arange(min(len(satellite), _PROBED_IMAGES))))
            if not torch.isfinite(features).all():
                raise _diverged(config, f"after the last step of epoch {epoch + 1}")
            means = processes.mean(torch.stack(list(sums.values()))) / config.iterations
            figures.update(zip(sums, means.tolist(), strict=True))
            figures["learning_rate"] = rate

            # --- evaluation, files
            last = epoch == config.epochs - 1
            if tasks and (last or (epoch + 1) % config.evaluate_every == 0):
                judge(epoch + 1, figures)
            longest_epoch_s = max(longest_epoch_s, time.monotonic() - epoch_began)
            figures["duration_s"] = time.monotonic() - epoch_began
            progress.epoch, progress.figures = epoch + 1, figures
            progress.loss_scale = scaler.state_dict()
            folder.commit(progress, encoder, optimiser, blend.encoder())
    return RunSummary(
        best=None if progress.best_epoch is None else config.output / BEST_FILE,
        last=config.output / LAST_FILE,
        epochs=progress.epoch,
        duration_s=time.monotonic() - began,
        best_epoch=progress.best_epoch,
        best_scores=_recalls(progress.best_figures),
        page=config.output / RETRIEVAL_FILE if tasks else None,
        reason=reason,
    )


def _batches(
    labels: npt.NDArray[np.int64],
    iterations: int,
    rng: np.random.Generator,
    clusters: int,
    instances: int,
    processes: Processes,
) -> npt.NDArray[np.int64]:
    """Batches of all processes together; of fewer clusters where there are not so many."""
    present = len(np.unique(labels[labels >= 0]))
    taken = min(clusters, present)
    while taken and (taken * instances) % processes.count:
        taken -= 1
    if present and not taken:
        raise ConfigError(
            f"batches of up to {clusters} x {instances} images cannot be dealt to "
            f"{processes.count} processes: choose sizes that are multiples of their number"
        )
    return identity_batches(labels, iterations, rng, taken, instances)


def _evaluated(
    encoder: Encoder, task: RetrievalTask, config: TrainConfig, folder: RunFolder, epochs_done: int
) -> dict[str, float]:
    """Scores of a task, whose retrievals go on the page."""
    options = EmbeddingOptions(config.feature_batch, headings=config.evaluation_headings)
    embedder = PoolEmbedder(TorchEncoder(encoder), options)
    [result] = evaluate_with(embedder, [task])
    folder.show_retrieval(task, embedder, epochs_done)
    return {
        "recall_at_1": result.retrieval.recall_at_1,
        "recall_at_5": result.retrieval.recall_at_5,
        "average_precision": result.retrieval.average_precision,
    }


def _diverged(config: TrainConfig, where: str) -> TrainingError:
    return TrainingError(
        f"the loss is no longer finite {where}: lower optimiser.learning_rate; what was saved in "
        f"{config.output} before is intact"
    )


def _recalls(figures: dict[str, float]) -> dict[str, float]:
    names = {"recall_at_1": "R@1", "recall_at_5": "R@5"}
    return {label: figures[name] for name, label in names.items() if name in figures}


def _supervised(config: TrainConfig) -> ObjectiveConfig:
    """The paper's shared stage alone, from the first epoch on."""
    return dataclasses.replace(
        config.objective, inside_view_start=None, cross_view_start=None, shared_start=0
    )


def _tile_positions(
    positions_m: npt.NDArray[np.float64] | None, count: int, device: torch.device
) -> Tensor:
    """(N, 2) of tiles; so far apart that no two are neighbours where images have no position."""
    if positions_m is None:
        apart = np.arange(count, dtype=np.float64)[:, None] * 1e6
        positions_m = np.concatenate([apart, np.zeros((count, 1))], axis=1)
    return torch.from_numpy(positions_m).to(device)
