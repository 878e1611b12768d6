"""Contrast against the tiles of a map, whose own geometry tells which are the same ground.

Each satellite tile is a class. Tiles whose centres lie within a radius of the right one show much
the same ground: they are neither right nor wrong, and left out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dmnil_train.objective.precision import without_autocast


def place_contrast(
    queries: Tensor,
    targets: Tensor,
    places: Tensor,
    positions_m: Tensor,
    radius_m: float = 75.0,
    temperature: float = 0.05,
) -> Tensor:
    """Mean cross-entropy of queries against their tiles, tiles around the right one left out.

    Args:
        queries: (B, D) unit length.
        targets: (B,) tile of each.
        places: (P, D) unit-length descriptors of all tiles.
        positions_m: (P, 2) east and north of the tiles' centres.
        radius_m: Tiles no further than this from the target are left out.
    """
    with without_autocast(queries):
        logits = queries.to(places.dtype) @ places.T / temperature
        left_out = _near(targets, positions_m, radius_m)
        left_out.scatter_(1, targets[:, None], False)
        return functional.cross_entropy(logits.masked_fill(left_out, -torch.inf), targets)


def soft_place_contrast(
    queries: Tensor,
    positives: Tensor,
    weights: Tensor,
    places: Tensor,
    positions_m: Tensor,
    radius_m: float = 75.0,
    temperature: float = 0.05,
) -> Tensor:
    """Mean cross-entropy of queries against several weighted tiles each.

    Tiles around any tile of positive weight, those tiles themselves apart, are left out. Queries
    without a tile of positive weight do not count; if none has one the loss is zero.

    Args:
        queries: (B, D) unit length.
        positives: (B, K) tiles of each query; an entry of weight zero is ignored, -1 included.
        weights: (B, K), not negative; each query's are divided by their sum.
        places: (P, D) unit-length descriptors of all tiles.
        positions_m: (P, 2) east and north of the tiles' centres.
        radius_m: Tiles no further than this from a positive one are left out.
    """
    with without_autocast(queries):
        logits = queries.to(places.dtype) @ places.T / temperature
        weights = weights.to(logits.dtype)
        positive = weights > 0.0
        tiles = torch.where(positive, positives, 0)
        left_out = torch.zeros_like(logits, dtype=torch.bool)
        wanted = torch.zeros_like(left_out)
        for column in range(tiles.shape[1]):
            real = positive[:, column, None]
            left_out |= _near(tiles[:, column], positions_m, radius_m) & real
            tile = tiles[:, column, None]
            wanted.scatter_(1, tile, wanted.gather(1, tile) | real)
        log_p = logits.masked_fill(left_out & ~wanted, -torch.inf).log_softmax(dim=1)
        # A padded entry points at tile 0, whose log-probability may be minus infinity.
        terms = torch.where(positive, -log_p.gather(1, tiles), 0.0) * weights
        totals = weights.sum(dim=1)
        counted = totals > 0.0
        losses = terms.sum(dim=1) / torch.where(counted, totals, 1.0)
        return losses.sum() / counted.sum().clamp_min(1)


def _near(tiles: Tensor, positions_m: Tensor, radius_m: float) -> Tensor:
    """Which tiles lie within the radius of each of (B,) tiles, (B, P)."""
    east_m = positions_m[tiles, 0, None] - positions_m[:, 0]
    north_m = positions_m[tiles, 1, None] - positions_m[:, 1]
    return east_m.square() + north_m.square() <= radius_m**2
