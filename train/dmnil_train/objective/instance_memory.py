"""The instance memory: one unit-length row an image, and which rows are neighbours of another."""

from __future__ import annotations

from torch import Tensor, nn

from dmnil_train.encoder.heads import unit_length
from dmnil_train.objective.precision import without_autocast
from dmnil_train.objective.row_products import row_products
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

    def similarities(self, vectors: Tensor) -> Tensor:
        """Cosines (U, N) of (U, D) unit-length vectors with all rows, without gradient."""
        with without_autocast(vectors):
            return row_products(vectors.to(self.rows.dtype), self.rows)


def neighbours(similarities: Tensor, ratio: float = 0.9) -> Tensor:
    """Which rows are more similar than `ratio` times the most similar one is, (U, N) boolean.

    Args:
        similarities: (U, N) as `InstanceMemory.similarities` returns them.
    """
    return similarities > ratio * similarities.amax(dim=1, keepdim=True)


def nearest(similarities: Tensor, count: int) -> Tensor:
    """The `count` most similar rows, (U, count), or all where there are fewer."""
    return similarities.topk(min(count, similarities.shape[1]), dim=1).indices
