"""The cluster memory: one unit-length prototype a pseudo label, and the loss against it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dmnil_train.encoder.heads import unit_length
from dmnil_train.objective.precision import without_autocast
from dmnil_train.objective.row_products import logits_of_rows
from dmnil_train.objective.running_update import follow_in_batch_order


class ClusterMemory(nn.Module):
    """Prototypes that the samples of their clusters are drawn to (DMNIL, intra-view learning).

    Args:
        centroids: (C, D) unit length.
        temperature: What similarities are divided by.
        momentum: Share of the old prototype in the new one, at every sample.
    """

    centroids: Tensor

    def __init__(self, centroids: Tensor, temperature: float = 0.05, momentum: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("centroids", centroids.clone())
        self.temperature = temperature
        self.momentum = momentum

    @classmethod
    def from_features(
        cls, features: Tensor, labels: Tensor, temperature: float = 0.05, momentum: float = 0.1
    ) -> ClusterMemory:
        """One prototype a cluster: its features' mean, brought to unit length.

        Args:
            features: (N, D).
            labels: (N,) cluster of each, -1 none.

        Raises:
            ValueError: If a label between 0 and the largest one has no member.
        """
        return cls(unit_centroids(features, labels), temperature, momentum)

    def loss(self, queries: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of (B, D) unit-length queries against their clusters, (B,)."""
        return prototype_loss(queries, targets, self.centroids, self.temperature)

    def update(self, queries: Tensor, targets: Tensor) -> None:
        """Moves prototypes towards (B, D) unit-length queries, after the step's gradient."""
        follow_in_batch_order(self.centroids, queries, targets, self.momentum)


def prototype_loss(
    queries: Tensor, targets: Tensor, prototypes: Tensor, temperature: float
) -> Tensor:
    """Mean cross-entropy over the prototypes, (C, D), of (B, D) queries whose own are (B,)."""
    with without_autocast(queries):
        logits = logits_of_rows(queries.to(prototypes.dtype) / temperature, prototypes)
        return functional.cross_entropy(logits, targets)


def unit_centroids(features: Tensor, labels: Tensor) -> Tensor:
    """Unit-length mean of each cluster, (C, D), C being the largest label plus one.

    Raises:
        ValueError: If there is no cluster, or a label up to the largest one has no member.
    """
    members = torch.bincount(labels[labels >= 0])
    if len(members) == 0:
        raise ValueError("no feature has a cluster")
    if not bool(members.all()):
        raise ValueError(f"cluster {int(members.argmin())} has no member")
    return unit_length(cluster_means(features, labels, len(members)))


@torch.no_grad()
def cluster_means(features: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean feature of each cluster, (count, D) float32; zero where a cluster has no member.

    The sums run in the features' order on any device, so that every process of a distributed run
    gets the same bits.

    Args:
        features: (N, D).
        labels: (N,) cluster of each, -1 none.
    """
    order = torch.argsort(labels, stable=True)
    bounds = torch.searchsorted(labels[order], torch.arange(count + 1, device=labels.device))
    members = order[int(bounds[0]) : int(bounds[-1])]
    wide = features if features.dtype == torch.float64 else features.float()
    return functional.embedding_bag(members, wide, bounds[:-1] - bounds[0], mode="mean")
