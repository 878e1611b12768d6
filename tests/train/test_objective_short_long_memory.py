from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dmnil_train.objective.short_long_memory import ShortLongMemory

GOLDEN = Path(__file__).parent.parent / "golden"


def test_three_steps_are_the_authors() -> None:
    with np.load(GOLDEN / "dhml.npz") as golden:
        values = {name: torch.from_numpy(golden[name]) for name in golden.files}
    memory = ShortLongMemory(
        values["memory_before"], float(values["temperature"]), float(values["momentum"])
    )
    close = {"rtol": 1e-4, "atol": 1e-6}
    for step in range(3):
        inputs = values[f"step{step}_inputs"].requires_grad_()
        targets = values[f"step{step}_targets"]
        queries = functional.normalize(inputs, dim=1)
        memory.remember(queries.detach(), targets)
        loss = memory.loss(queries, targets)
        loss.backward()
        memory.update(queries.detach(), targets)
        torch.testing.assert_close(loss.double(), values[f"step{step}_loss"], **close)
        torch.testing.assert_close(inputs.grad, values[f"step{step}_grad_inputs"], **close)
        after = (memory.clusters.centroids, memory.short_term, memory.long_term)
        for name, tensor in zip(("memory", "short", "long"), after, strict=True):
            torch.testing.assert_close(tensor, values[f"step{step}_{name}_after"], **close)


def test_a_cluster_remembers_the_mean_of_its_queries() -> None:
    memory = ShortLongMemory(torch.eye(2))
    memory.remember(torch.eye(2), torch.tensor([1, 1]))
    torch.testing.assert_close(memory.short_term, torch.tensor([[0.0, 0.0], [0.1, 0.1]]))
    alpha = 1 / (1 + math.exp(-math.hypot(0.9, 0.1)))
    torch.testing.assert_close(memory.long_term, alpha * memory.short_term)


def test_the_short_term_fades_and_the_long_term_lags_behind() -> None:
    memory = ShortLongMemory(torch.eye(2))
    query, target = torch.tensor([[1.0, 0.0]]), torch.tensor([0])
    memory.remember(query, target)
    first = memory.long_term.clone()
    memory.remember(query, target)
    assert memory.short_term[0, 0].item() == pytest.approx(0.2 + 0.7 * 0.2)
    alpha = 1 / (1 + math.exp(-(1 - 0.34)))
    expected = alpha * 0.34 + (1 - alpha) * first[0, 0].item()
    assert memory.long_term[0, 0].item() == pytest.approx(expected)


def test_scoring_a_batch_changes_nothing() -> None:
    memory = ShortLongMemory(torch.eye(3))
    memory.remember(torch.eye(3), torch.arange(3))
    before = {name: tensor.clone() for name, tensor in memory.state_dict().items()}
    memory.loss(torch.eye(3), torch.arange(3))
    for name, tensor in memory.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_without_the_combined_memory_only_prototypes_count() -> None:
    plain = ShortLongMemory(torch.eye(3), combined_weight=0.0)
    whole = ShortLongMemory(torch.eye(3))
    queries, targets = functional.normalize(torch.ones(2, 3)), torch.tensor([0, 1])
    assert torch.equal(plain.loss(queries, targets), plain.clusters.loss(queries, targets))
    nothing_remembered = 0.2 * math.log(3.0)
    torch.testing.assert_close(
        whole.loss(queries, targets) - plain.loss(queries, targets),
        torch.tensor(nothing_remembered),
    )
