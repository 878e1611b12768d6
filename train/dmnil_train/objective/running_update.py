"""Rows of a memory that follow the samples of a batch, each row kept at unit length."""

from __future__ import annotations

import torch
from torch import Tensor

from dmnil_train.encoder.heads import unit_length
from dmnil_train.occurrence import occurrence


@torch.no_grad()
def follow_in_batch_order(rows: Tensor, samples: Tensor, targets: Tensor, momentum: float) -> None:
    """Each target row <- unit length of (momentum x row + (1 - momentum) x sample), in place.

    Samples of one row are applied one after the other, in batch order. Rows do not touch each
    other, so all first samples of their rows are applied at once, then all second ones, and so on:
    as many passes as the most frequent row has samples.

    Args:
        rows: (C, D) unit length.
        samples: (B, D), of any length and floating-point type.
        targets: (B,) row of each sample, 0 to C - 1.
    """
    if len(targets) == 0:
        return
    turns = occurrence(targets)
    by_turn = torch.argsort(turns, stable=True)
    for members in torch.split(by_turn, torch.bincount(turns).tolist()):
        target = targets[members]
        moved = momentum * rows[target] + (1.0 - momentum) * samples[members].to(rows.dtype)
        rows[target] = unit_length(moved)
