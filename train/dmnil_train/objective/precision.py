"""The encoder's precision in training, and that of the losses, which are float32 whatever it is."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def without_autocast(like: Tensor) -> torch.autocast:
    """A context in which products of float32 tensors on this tensor's device stay float32.

    Similarities divided by a temperature of 0.05 would lose a tenth of a logit in bfloat16.
    """
    return torch.autocast(like.device.type, enabled=False)


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which an encoder on the device runs in a precision."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return torch.autocast(device.type, kind, enabled=precision != "fp32")
