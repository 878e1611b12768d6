"""The cluster memory with a short and a long term (DMNIL, dynamic hierarchical memory learning)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dmnil_train.objective.cluster_memory import ClusterMemory, cluster_means, prototype_loss

SHORT_TERM_KEEP = 0.7
SHORT_TERM_GAIN = 0.2
LONG_TERM_SHARE = 0.7
SHORT_TERM_SHARE = 0.3


class ShortLongMemory(nn.Module):
    """A cluster memory of its own, plus what its clusters looked like lately and so far.

    A step is `remember`, then `loss`, then (after the gradient) `update`: the paper moves the
    short and the long term before the loss reads them. `loss` alone changes nothing, so that the
    processes of a distributed run can remember one gathered batch and each score its own.

    Args:
        centroids: (C, D) unit length.
        temperature: What similarities are divided by.
        momentum: Share of the old prototype in the new one, at every sample.
        combined_weight: Weight of the loss against the two terms.
    """

    short_term: Tensor
    long_term: Tensor

    def __init__(
        self,
        centroids: Tensor,
        temperature: float = 0.05,
        momentum: float = 0.1,
        combined_weight: float = 0.2,
    ) -> None:
        super().__init__()
        self.clusters = ClusterMemory(centroids, temperature, momentum)
        self.register_buffer("short_term", torch.zeros_like(centroids))
        self.register_buffer("long_term", torch.zeros_like(centroids))
        self.combined_weight = combined_weight

    @torch.no_grad()
    def remember(self, queries: Tensor, targets: Tensor) -> None:
        """Moves both terms of the batch's clusters, each by the mean of its queries.

        S <- 0.2 q + 0.7 S, then L <- a S + (1 - a) L with a = sigmoid(mean over the batch of
        |q - S|): the further a batch lies from what is remembered, the more the long term follows.

        Args:
            queries: (B, D) unit length.
            targets: (B,) cluster of each.
        """
        queries = queries.to(self.short_term.dtype)
        present, place = torch.unique(targets, return_inverse=True)
        short = SHORT_TERM_KEEP * self.short_term[present]
        short += SHORT_TERM_GAIN * cluster_means(queries, place, len(present))
        distances = torch.linalg.vector_norm(queries - short[place], dim=1)
        alpha = torch.sigmoid(distances.mean())
        self.short_term[present] = short
        self.long_term[present] = torch.lerp(self.long_term[present], short, alpha)

    def loss(self, queries: Tensor, targets: Tensor) -> Tensor:
        """Loss of (B, D) unit-length queries against their clusters' prototypes and memories."""
        against_prototypes = self.clusters.loss(queries, targets)
        if self.combined_weight == 0.0:
            return against_prototypes
        # Where two terms disagree their mix is shorter than 1: the paper leaves it so.
        combined = LONG_TERM_SHARE * self.long_term + SHORT_TERM_SHARE * self.short_term
        against_terms = prototype_loss(queries, targets, combined, self.clusters.temperature)
        return against_prototypes + self.combined_weight * against_terms

    def update(self, queries: Tensor, targets: Tensor) -> None:
        """Moves the prototypes towards (B, D) unit-length queries, after the step's gradient."""
        self.clusters.update(queries, targets)
