from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.objective.config import ObjectiveConfig
from dmnil_train.objective.consistency import mutual_information
from dmnil_train.objective.dmnil_objective import StepLoss, dmnil_loss
from dmnil_train.objective.memories import (
    Memories,
    ViewBatch,
    ViewPool,
    build_memories,
    remember_batch,
    update_memories,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "total_loss.npz"
CLOSE = {"rtol": 1e-4, "atol": 1e-6}
# The golden step of epoch 0 was taken with the later epochs' momentum, and all without consistency.
GOLDEN_CONFIG = ObjectiveConfig(first_epoch_cluster_momentum=0.1, consistency_weight=0.0)


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as values:
        return {name: torch.from_numpy(values[name]) for name in values.files}


def golden_pools(golden: dict[str, Tensor]) -> tuple[ViewPool, ViewPool]:
    return (
        ViewPool(golden["sat_instances"], golden["sat_labels"]),
        ViewPool(golden["drone_instances"], golden["drone_labels"]),
    )


def golden_batches(golden: dict[str, Tensor], epoch: int) -> tuple[ViewBatch, ViewBatch]:
    batches = []
    for view, copies in (("sat", 2), ("drone", 1)):
        indexes = golden[f"epoch{epoch}_{view}_index"].repeat(copies)
        features = golden[f"epoch{epoch}_{view}_features"].clone().requires_grad_()
        batches.append(ViewBatch(features, indexes, golden[f"{view}_labels"][indexes]))
    return batches[0], batches[1]


def golden_memories(
    golden: dict[str, Tensor], epoch: int, config: ObjectiveConfig = GOLDEN_CONFIG
) -> Memories:
    memories = build_memories(config, config.stage(epoch), *golden_pools(golden))
    # Its instance memories have moved since its cluster memories were built.
    if memories.shared is not None:
        memories.shared.centroids.copy_(golden["shared_clusters"])
    for view, half in (("sat", memories.satellite), ("drone", memories.drone)):
        if half is not None and half.clusters is not None and half.short_long is not None:
            half.clusters.centroids.copy_(golden[f"{view}_clusters"])
            half.short_long.clusters.centroids.copy_(golden[f"{view}_clusters"])
    return memories


def golden_loss(
    golden: dict[str, Tensor], epoch: int, config: ObjectiveConfig = GOLDEN_CONFIG
) -> StepLoss:
    stage, memories = config.stage(epoch), golden_memories(golden, epoch, config)
    batches = golden_batches(golden, epoch)
    remember_batch(stage, memories, *batches)
    return dmnil_loss(config, stage, memories, *batches)


@pytest.mark.parametrize("epoch", [0, 1, 10, 11, 20, 21])
def test_a_whole_step_is_the_authors(golden: dict[str, Tensor], epoch: int) -> None:
    stage, memories = GOLDEN_CONFIG.stage(epoch), golden_memories(golden, epoch)
    satellite, drone = golden_batches(golden, epoch)
    remember_batch(stage, memories, satellite, drone)
    step = dmnil_loss(GOLDEN_CONFIG, stage, memories, satellite, drone)
    step.total.backward()
    update_memories(stage, memories, satellite, drone)

    torch.testing.assert_close(step.total.double(), golden[f"epoch{epoch}_loss"], **CLOSE)
    torch.testing.assert_close(sum(step.terms.values()), step.total.detach())
    torch.testing.assert_close(
        memories.satellite.instances.rows, golden[f"epoch{epoch}_sat_instances_after"], **CLOSE
    )
    if epoch == 0:
        torch.testing.assert_close(satellite.features.grad, golden["epoch0_grad_sat"], **CLOSE)
        torch.testing.assert_close(drone.features.grad, golden["epoch0_grad_drone"], **CLOSE)
    if not stage.shared_labels:
        assert memories.drone is not None
        assert memories.drone.clusters is not None
        after = golden[f"epoch{epoch}_drone_clusters_after"]
        torch.testing.assert_close(memories.drone.clusters.centroids, after, **CLOSE)


def test_cluster_memories_start_from_unit_length_means(golden: dict[str, Tensor]) -> None:
    memories = build_memories(GOLDEN_CONFIG, GOLDEN_CONFIG.stage(0), *golden_pools(golden))
    assert memories.satellite.clusters is not None
    assert memories.satellite.short_long is not None
    for start in (memories.satellite.clusters, memories.satellite.short_long.clusters):
        torch.testing.assert_close(start.centroids, golden["sat_clusters"], **CLOSE)
    torch.testing.assert_close(memories.satellite.instances.rows, golden["sat_instances"], **CLOSE)


def test_a_shared_memory_holds_the_means_of_both_views(golden: dict[str, Tensor]) -> None:
    satellite, drone = golden_pools(golden)
    shared = build_memories(GOLDEN_CONFIG, GOLDEN_CONFIG.stage(20), satellite, drone).shared
    assert shared is not None
    of_three = [pool.features[pool.labels == 3] for pool in (satellite, drone)]
    expected = functional.normalize(torch.cat(of_three).mean(dim=0), dim=0)
    torch.testing.assert_close(shared.centroids[3], expected)


def test_the_shared_memory_moves_with_both_views(golden: dict[str, Tensor]) -> None:
    stage, memories = GOLDEN_CONFIG.stage(20), golden_memories(golden, 20)
    satellite, drone = golden_batches(golden, 20)
    update_memories(stage, memories, satellite, drone)
    assert memories.shared is not None
    moved = (memories.shared.centroids != golden["shared_clusters"]).any(dim=1)
    named = torch.zeros_like(moved)
    named[torch.cat([satellite.labels, drone.labels])] = True
    assert torch.equal(moved, named)


@pytest.mark.parametrize("epoch", [1, 10, 11, 21])
def test_the_gradient_is_that_of_the_loss_as_it_stood(
    golden: dict[str, Tensor], epoch: int
) -> None:
    config = ObjectiveConfig(mutual_information_weight=0.1)
    stage = config.stage(epoch)
    memories = golden_memories(golden, epoch, config).double()
    satellite, drone = (
        replace(batch, features=batch.features.detach().double().requires_grad_())
        for batch in golden_batches(golden, epoch)
    )
    remember_batch(stage, memories, satellite, drone)

    def loss(satellite_features: Tensor, drone_features: Tensor) -> Tensor:
        return dmnil_loss(
            config,
            stage,
            memories,
            replace(satellite, features=satellite_features),
            replace(drone, features=drone_features),
        ).total

    features = (satellite.features, drone.features)
    assert torch.autograd.gradcheck(loss, features, fast_mode=True)


def test_moving_memories_before_the_gradient_is_an_error_not_a_wrong_gradient(
    golden: dict[str, Tensor],
) -> None:
    stage, memories = GOLDEN_CONFIG.stage(1), golden_memories(golden, 1)
    batches = golden_batches(golden, 1)
    step = dmnil_loss(GOLDEN_CONFIG, stage, memories, *batches)
    update_memories(stage, memories, *batches)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        step.total.backward()


def test_terms_name_what_an_epoch_trains(golden: dict[str, Tensor]) -> None:
    both = {"satellite_intra_view", "drone_intra_view"}
    short_long = {"satellite_short_long", "drone_short_long"}
    inside = {"satellite_inside_view", "drone_inside_view"}
    config = ObjectiveConfig()
    for epoch, names in (
        (0, both | short_long),
        (1, both | short_long | inside),
        (10, both | short_long | inside | {"cross_view", "consistency"}),
        (21, both | inside | {"cross_view"}),
    ):
        assert set(golden_loss(golden, epoch, config).terms) == names


def test_any_term_can_be_switched_off(golden: dict[str, Tensor]) -> None:
    whole = ObjectiveConfig(mutual_information_weight=0.1)
    terms = golden_loss(golden, 10, whole).terms
    for off, gone in (
        ({"intra_view_weight": 0.0}, {"satellite_intra_view", "drone_intra_view"}),
        ({"short_long_weight": 0.0}, {"satellite_short_long", "drone_short_long"}),
        ({"satellite_inside_view_weight": 0.0}, {"satellite_inside_view"}),
        ({"drone_inside_view_weight": 0.0}, {"drone_inside_view"}),
        ({"cross_view_weight": 0.0}, {"cross_view"}),
        ({"consistency_weight": 0.0}, {"consistency"}),
        ({"mutual_information_weight": 0.0}, {"mutual_information"}),
    ):
        left = golden_loss(golden, 10, replace(whole, **off)).terms
        assert left == {name: value for name, value in terms.items() if name not in gone}


def test_satellites_are_held_to_their_own_nearest_drone_images(golden: dict[str, Tensor]) -> None:
    batch = golden_batches(golden, 10)[0]
    own_rows = functional.normalize(golden["sat_instances"], dim=1)[batch.indexes]
    drone_rows = functional.normalize(golden["drone_instances"], dim=1)
    losses = []
    for row, query in zip(own_rows, functional.normalize(batch.features, dim=1), strict=True):
        best = torch.argsort(drone_rows @ row, descending=True)[:10]
        p = torch.softmax(drone_rows[best] @ query / 0.05, dim=0)
        losses.append((0.1 * (0.1 / p).log()).sum())
    term = golden_loss(golden, 10, ObjectiveConfig(consistency_weight=0.5)).terms["consistency"]
    torch.testing.assert_close(term, 0.5 * torch.stack(losses).mean().detach(), **CLOSE)


@pytest.mark.parametrize(("epoch", "learner", "other"), [(10, 0, "drone"), (11, 1, "sat")])
def test_mutual_information_counts_against_the_loss_of_the_view_that_learns_across(
    golden: dict[str, Tensor], epoch: int, learner: int, other: str
) -> None:
    queries = functional.normalize(golden_batches(golden, epoch)[learner].features, dim=1)
    rows = functional.normalize(golden[f"{other}_instances"], dim=1)
    config = ObjectiveConfig(mutual_information_weight=0.5)
    term = golden_loss(golden, epoch, config).terms["mutual_information"]
    assert term < 0.0
    torch.testing.assert_close(term, -0.5 * mutual_information(queries, rows).detach(), **CLOSE)


def test_an_objective_without_terms_is_refused(golden: dict[str, Tensor]) -> None:
    config = ObjectiveConfig(intra_view_weight=0.0, short_long_weight=0.0)
    with pytest.raises(ValueError, match="no term left"):
        golden_loss(golden, 0, config)


@pytest.mark.parametrize("epoch", [0, 10, 20])
def test_satellite_images_alone_train_on_their_own_half(
    golden: dict[str, Tensor], epoch: int
) -> None:
    config = ObjectiveConfig()
    stage = config.stage(epoch)
    pool, batch = golden_pools(golden)[0], golden_batches(golden, epoch)[0]
    memories = build_memories(config, stage, pool)
    rows = memories.satellite.instances.rows.clone()
    remember_batch(stage, memories, batch)
    step = dmnil_loss(config, stage, memories, batch)
    step.total.backward()
    update_memories(stage, memories, batch)
    assert {name.split("_")[0] for name in step.terms} == {"satellite"}
    assert batch.features.grad is not None
    assert batch.features.grad.abs().sum() > 0
    assert memories.satellite.clusters is not None
    moved = (memories.satellite.instances.rows != rows).any(dim=1)
    assert moved.nonzero().flatten().tolist() == sorted(set(batch.indexes.tolist()))


def test_half_precision_features_lose_no_more_than_their_own_rounding(
    golden: dict[str, Tensor],
) -> None:
    stage, memories = GOLDEN_CONFIG.stage(10), golden_memories(golden, 10)
    rounded = [
        replace(batch, features=batch.features.detach().bfloat16().requires_grad_())
        for batch in golden_batches(golden, 10)
    ]
    remember_batch(stage, memories, *rounded)
    with torch.autocast("cpu", torch.bfloat16):
        step = dmnil_loss(GOLDEN_CONFIG, stage, memories, *rounded)
    step.total.backward()
    wide = [replace(batch, features=batch.features.detach().float()) for batch in rounded]
    assert step.total.dtype == torch.float32
    assert torch.equal(step.total, dmnil_loss(GOLDEN_CONFIG, stage, memories, *wide).total)
    update_memories(stage, memories, *rounded)
    assert memories.satellite.instances.rows.dtype == torch.float32


def test_memories_travel_by_state_dict(golden: dict[str, Tensor]) -> None:
    stage, moved = GOLDEN_CONFIG.stage(0), golden_memories(golden, 0)
    batches = golden_batches(golden, 0)
    remember_batch(stage, moved, *batches)
    update_memories(stage, moved, *batches)
    fresh = golden_memories(golden, 0)
    fresh.load_state_dict(moved.state_dict())
    losses = [dmnil_loss(GOLDEN_CONFIG, stage, each, *batches).total for each in (moved, fresh)]
    assert torch.equal(losses[0], losses[1])
    assert not list(moved.parameters())


@pytest.mark.parametrize("epoch", [1, 10, 11, 20, 21])
def test_coarse_instance_memories_change_a_step_by_little(
    golden: dict[str, Tensor], epoch: int
) -> None:
    config = replace(GOLDEN_CONFIG, consistency_weight=0.01)
    slopes, totals = [], []
    for precision in ("fp32", "bf16"):
        chosen = replace(config, instance_precision=precision)
        stage, memories = chosen.stage(epoch), golden_memories(golden, epoch, chosen)
        batches = golden_batches(golden, epoch)
        remember_batch(stage, memories, *batches)
        loss = dmnil_loss(chosen, stage, memories, *batches)
        features = [batch.features for batch in batches]
        slopes.append(torch.cat(torch.autograd.grad(loss.total, features)))
        totals.append(loss.total.item())
    assert totals[1] == pytest.approx(totals[0], abs=0.02)
    assert 0.0 < (slopes[1] - slopes[0]).norm() < 0.01 * slopes[0].norm()
