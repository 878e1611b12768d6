"""Losses are computed in the memories' precision, whatever precision the encoder ran in."""

from __future__ import annotations

import torch
from torch import Tensor


def without_autocast(like: Tensor) -> torch.autocast:
    """A context in which products of float32 tensors on this tensor's device stay float32.

    Similarities divided by a temperature of 0.05 would lose a tenth of a logit in bfloat16.
    """
    return torch.autocast(like.device.type, enabled=False)
