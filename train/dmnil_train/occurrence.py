"""The how-manieth of its kind each entry of a list is."""

from __future__ import annotations

import torch
from torch import Tensor


def occurrence(values: Tensor) -> Tensor:
    """How many earlier entries of (B,) `values` hold the same value as each entry does, (B,)."""
    ordered, order = torch.sort(values, stable=True)
    places = torch.arange(len(values), device=values.device)
    starts_group = torch.ones_like(ordered, dtype=torch.bool)
    starts_group[1:] = ordered[1:] != ordered[:-1]
    group_start = torch.where(starts_group, places, 0).cummax(dim=0).values
    turns = torch.empty_like(places)
    turns[order] = places - group_start
    return turns
