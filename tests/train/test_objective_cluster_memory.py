from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from dmnil_train.objective.cluster_memory import ClusterMemory, cluster_means, unit_centroids

GOLDEN = Path(__file__).parent.parent / "golden"


def test_loss_gradient_and_update_are_the_authors() -> None:
    with np.load(GOLDEN / "cluster_memory.npz") as golden:
        values = {name: torch.from_numpy(golden[name]) for name in golden.files}
    inputs = values["inputs"].requires_grad_()
    queries = functional.normalize(inputs, dim=1)
    memory = ClusterMemory(
        values["memory_before"], float(values["temperature"]), float(values["momentum"])
    )
    loss = memory.loss(queries, values["targets"])
    loss.backward()
    memory.update(queries.detach(), values["targets"])
    close = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(loss.double(), values["loss"], **close)
    torch.testing.assert_close(inputs.grad, values["grad_inputs"], **close)
    torch.testing.assert_close(memory.centroids, values["memory_after"], **close)


def test_the_loss_of_two_opposite_clusters_by_hand() -> None:
    memory = ClusterMemory(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), temperature=0.5)
    loss = memory.loss(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-4.0)), rel=1e-5)


def test_means_leave_out_images_without_a_cluster() -> None:
    features = torch.tensor([[1.0, 0.0], [9.0, 9.0], [3.0, 4.0], [0.0, 2.0], [8.0, 8.0]])
    means = cluster_means(features, torch.tensor([2, -1, 2, 0, -1]), 4)
    expected = torch.tensor([[0.0, 2.0], [0.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    torch.testing.assert_close(means, expected)


def test_means_of_labels_beyond_the_count_fall_into_no_cluster() -> None:
    features = torch.tensor([[1.0], [3.0], [50.0]])
    torch.testing.assert_close(
        cluster_means(features, torch.tensor([0, 0, 1]), 1), torch.tensor([[2.0]])
    )


def test_prototypes_start_as_unit_length_means() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, -3.0]])
    memory = ClusterMemory.from_features(features, torch.tensor([0, 0, 1]))
    half = math.sqrt(0.5)
    torch.testing.assert_close(memory.centroids, torch.tensor([[half, half], [0.0, -1.0]]))


@pytest.mark.parametrize(
    ("labels", "said"), [([0, 2], "cluster 1 has no member"), ([-1, -1], "no feature")]
)
def test_labels_with_a_gap_or_without_a_cluster_are_refused(labels: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unit_centroids(torch.ones(2, 3), torch.tensor(labels))


def test_an_image_without_a_cluster_cannot_be_trained_on() -> None:
    memory = ClusterMemory(torch.eye(3))
    with pytest.raises(IndexError):
        memory.loss(torch.eye(3), torch.tensor([0, 1, -1]))


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(3)
    memory = ClusterMemory(functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1))
    features = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 4, 4, 2, 1, 0])
    assert torch.autograd.gradcheck(
        lambda x: memory.loss(functional.normalize(x, dim=1), targets), (features,)
    )


def test_a_memory_is_a_copy_and_travels_by_state_dict() -> None:
    start = torch.eye(3)
    memory = ClusterMemory(start, momentum=0.0)
    memory.update(torch.eye(3)[[1]], torch.tensor([0]))
    assert torch.equal(start, torch.eye(3))
    other = ClusterMemory(torch.eye(3))
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.centroids, torch.eye(3)[[1, 1, 2]])
