"""The instance memory: one unit-length row an image, and which rows are neighbours of another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dmnil_train.encoder.heads import unit_length
from dmnil_train.objective.precision import without_autocast
from dmnil_train.objective.running_update import follow_in_batch_order


class InstanceMemory(nn.Module):
    """What every image of one view looked like when it was last seen.

    Args:
        rows: (N, D) unit length.
        momentum: Share of the old row in the new one, before it is brought to unit length. The
            features that come in are not: the longer a feature, the more it counts.
    """

    rows: Tensor

    def __init__(self, rows: Tensor, momentum: float = 0.9) -> None:
        super().__init__()
        self.register_buffer("rows", rows.clone())
        self.momentum = momentum

    @classmethod
    def from_features(cls, features: Tensor, momentum: float = 0.9) -> InstanceMemory:
        """A row an image, from (N, D) features of any length."""
        return cls(unit_length(features.float()), momentum)

    def __len__(self) -> int:
        return len(self.rows)

    def update(self, features: Tensor, indexes: Tensor) -> None:
        """Moves the rows of (B,) images towards their (B, D) features before normalisation."""
        follow_in_batch_order(self.rows, features, indexes, self.momentum)

    @torch.no_grad()
    def similarities(self, vectors: Tensor) -> Tensor:
        """Cosines (N, U) of all rows with (U, D) unit-length vectors.

        Rows come first because a tall product is half as fast again on a CPU as a wide one.
        """
        with without_autocast(vectors):
            return self.rows @ vectors.to(self.rows.dtype).T


def neighbours(similarities: Tensor, ratio: float = 0.9) -> Tensor:
    """Which rows are more similar than `ratio` times the most similar one is, (N, U) boolean.

    Args:
        similarities: (N, U) as `InstanceMemory.similarities` returns them.
    """
    return similarities > ratio * similarities.amax(dim=0)


def nearest(similarities: Tensor, count: int) -> Tensor:
    """The `count` most similar rows, (U, count), or all where there are fewer."""
    return similarities.T.topk(min(count, len(similarities)), dim=1).indices
