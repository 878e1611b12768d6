"""What losses, memories and sampling cost a step, at University-1652's sizes.

    python tests/benchmarks/training_step.py [--device cpu] [--steps 30]

One line a stage: the median step, forward and backward as far as the features, and the same with
`objective.instance_precision` bf16; wall clock, and processor time over all cores, which other
processes on the machine disturb less. On a GPU, where
there is one, beside a whole ConvNeXt-Tiny step on the same images (384 px, bfloat16, forward,
backward and optimiser).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from dmnil_train.objective.config import InstancePrecision, ObjectiveConfig
from dmnil_train.objective.dmnil_objective import dmnil_loss
from dmnil_train.objective.memories import (
    ViewBatch,
    ViewPool,
    build_memories,
    remember_batch,
    update_memories,
)
from dmnil_train.sampling import identity_batches

DRONE_IMAGES, DRONE_CLUSTERS = 37_854, 770
SATELLITE_IMAGES = 701
FEATURE_SIZE = 768
EPOCHS = (0, 1, 10, 11, 20, 21)
PRECISIONS: tuple[InstancePrecision, ...] = ("fp32", "bf16")


def synthetic_pool(labels: Tensor, centres: Tensor) -> ViewPool:
    """Features of the length that a layer norm gives, about 0.8 alike inside a cluster."""
    noise = torch.randn(len(labels), FEATURE_SIZE, device=centres.device)
    return ViewPool(2.0 * centres[labels] + noise, labels)


def batch_of(pool: ViewPool, indexes: Tensor) -> ViewBatch:
    """Images as the encoder sees them a little later."""
    features = pool.features[indexes]
    features = features + 0.5 * torch.randn_like(features)
    return ViewBatch(features.requires_grad_(), indexes, pool.labels[indexes])


@dataclass(frozen=True)
class StepTime:
    """Medians over steps; processor time counts every core."""

    wall_ms: float
    processor_ms: float


def median_time(step: Callable[[int], None], steps: int, device: torch.device) -> StepTime:
    wall, processor = [], []
    for number in range(steps + 3):
        start, processor_start = time.perf_counter(), time.process_time()
        step(number)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        wall.append(1e3 * (time.perf_counter() - start))
        processor.append(1e3 * (time.process_time() - processor_start))
    return StepTime(statistics.median(wall[3:]), statistics.median(processor[3:]))


def objective_step_time(
    epoch: int, precision: InstancePrecision, steps: int, device: torch.device
) -> StepTime:
    torch.manual_seed(epoch)
    config = ObjectiveConfig(instance_precision=precision)
    stage = config.stage(epoch)
    centres = torch.randn(DRONE_CLUSTERS, FEATURE_SIZE, device=device)
    drone_pool = synthetic_pool(torch.arange(DRONE_IMAGES, device=device) % len(centres), centres)
    satellite_pool = synthetic_pool(torch.arange(SATELLITE_IMAGES, device=device), centres)
    memories = build_memories(config, stage, satellite_pool, drone_pool)
    generator = np.random.default_rng(epoch)
    batches = [
        torch.from_numpy(identity_batches(pool.labels.cpu().numpy(), steps + 3, generator))
        for pool in (satellite_pool, drone_pool)
    ]

    def step(number: int) -> None:
        satellite_indexes, drone_indexes = (batch[number].to(device) for batch in batches)
        satellite = batch_of(satellite_pool, satellite_indexes.repeat(2))
        drone = batch_of(drone_pool, drone_indexes)
        remember_batch(stage, memories, satellite, drone)
        dmnil_loss(config, stage, memories, satellite, drone).total.backward()
        update_memories(stage, memories, satellite, drone)

    return median_time(step, steps, device)


def encoder_step_ms(steps: int, device: torch.device) -> float:
    encoder = Encoder(EncoderConfig()).to(device).train()
    optimiser = torch.optim.SGD(encoder.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randint(0, 256, (192, 384, 384, 3), dtype=torch.uint8, device=device)

    def step(_: int) -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            features = encoder.features(images)
        functional.normalize(features.float()).sum().backward()
        optimiser.step()

    return median_time(step, steps, device).wall_ms


def sampling_ms() -> float:
    labels = np.arange(DRONE_IMAGES) % DRONE_CLUSTERS
    start = time.perf_counter()
    identity_batches(labels, 400, np.random.default_rng(0))
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", help="cpu or cuda; without it both, where there is a GPU")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    both = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

    print(f"sampling 400 steps: {sampling_ms():.1f} ms")  # noqa: T201
    for name in [options.device] if options.device else both:
        device = torch.device(name)
        encoder_ms = encoder_step_ms(options.steps, device) if device.type == "cuda" else None
        if encoder_ms is not None:
            print(f"{name}, ConvNeXt-Tiny on 192 images: {encoder_ms:.1f} ms")  # noqa: T201
        for epoch in EPOCHS:
            parts = []
            for precision in PRECISIONS:
                took = objective_step_time(epoch, precision, options.steps, device)
                share = "" if encoder_ms is None else f", {took.wall_ms / encoder_ms:.1%} of that"
                parts.append(
                    f"{precision} {took.wall_ms:.1f} ms ({took.processor_ms:.1f} ms of "
                    f"processors){share}"
                )
            print(f"{name}, epoch {epoch}: {'; '.join(parts)}")  # noqa: T201


if __name__ == "__main__":
    main()
