"""The instance memory: one unit-length row an image, and which rows are neighbours of another."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dmnil_train.encoder.heads import unit_length
from dmnil_train.objective.precision import without_autocast
from dmnil_train.objective.row_products import row_products
from dmnil_train.objective.running_update import follow_in_batch_order

# Rounding both vectors and the cosine moves it by at most 2^-8 + 2^-9; the rest is for thresholds.
_COARSE_ERROR = 2.0**-7


class InstanceMemory(nn.Module):
    """What every image of one view looked like when it was last seen.

    Args:
        rows: (N, D) unit length.
        momentum: Share of the old row in the new one, before it is brought to unit length. The
            features that come in are not: the longer a feature, the more it counts.
        coarse: Keep the rows in bfloat16 too, for quick products with all of them.
    """

    rows: Tensor
    coarse_rows: Tensor | None

    def __init__(self, rows: Tensor, momentum: float = 0.9, coarse: bool = False) -> None:
        super().__init__()
        self.register_buffer("rows", rows.clone())
        self.register_buffer("coarse_rows", rows.bfloat16() if coarse else None)
        self.momentum = momentum

    @classmethod
    def from_features(
        cls, features: Tensor, momentum: float = 0.9, coarse: bool = False
    ) -> InstanceMemory:
        """A row an image, from (N, D) features of any length."""
        return cls(unit_length(features.float()), momentum, coarse)

    def __len__(self) -> int:
        return len(self.rows)

    def update(self, features: Tensor, indexes: Tensor) -> None:
        """Moves the rows of (B,) images towards their (B, D) features before normalisation."""
        follow_in_batch_order(self.rows, features, indexes, self.momentum)
        if self.coarse_rows is not None:
            self.coarse_rows[indexes] = self.rows[indexes].bfloat16()

    @torch.no_grad()
    def similarities(self, vectors: Tensor, ratio: float = 0.9, count: int = 1) -> Tensor:
        """Cosines (U, N) of (U, D) unit-length vectors with all rows, without gradient.

        Of coarse rows those alone that may be `neighbours` by the ratio, or among the `count`
        `nearest`; minus infinity the others. What either function returns is the same.
        """
        with without_autocast(vectors):
            vectors = vectors.to(self.rows.dtype)
            if self.coarse_rows is None:
                return row_products(vectors, self.rows)
            about = functional.linear(vectors.bfloat16(), self.coarse_rows)
            best = about.topk(min(count, len(self)), dim=1).values.float()
            lowest = torch.minimum(ratio * best[:, 0], best[:, -1]) - 2 * _COARSE_ERROR
            perhaps = (about >= lowest[:, None].bfloat16()).any(dim=0).nonzero().squeeze(1)
            exact = about.new_full(about.shape, -torch.inf, dtype=vectors.dtype)
            exact[:, perhaps] = row_products(vectors, self.rows[perhaps])
            return exact


def neighbours(similarities: Tensor, ratio: float = 0.9) -> Tensor:
    """Which rows are more similar than `ratio` times the most similar one is, (U, N) boolean.

    Args:
        similarities: (U, N) as `InstanceMemory.similarities` returns them.
    """
    return similarities > ratio * similarities.amax(dim=1, keepdim=True)


def nearest(similarities: Tensor, count: int) -> Tensor:
    """The `count` most similar rows, (U, count), or all where there are fewer."""
    return similarities.topk(min(count, similarities.shape[1]), dim=1).indices
