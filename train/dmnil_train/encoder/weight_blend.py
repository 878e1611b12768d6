"""Weights between those that training started from and those that it reached.

On a small pool fine-tuning forgets what the large one taught. A point on the straight line between
both keeps most of what each knows (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

from copy import deepcopy

import torch

from dmnil_train.encoder.model import Encoder


class WeightBlend:
    """Remembers an encoder's weights, to blend them with what becomes of them.

    Args:
        trained_share: 0 gives the weights as they were, 1 as they have become.
    """

    def __init__(self, encoder: Encoder, trained_share: float) -> None:
        self._encoder = encoder
        self._share = trained_share
        self._start = deepcopy(encoder) if trained_share < 1.0 else None

    @torch.no_grad()
    def encoder(self) -> Encoder:
        """The blended encoder, in evaluation mode; the very one where nothing is blended."""
        if self._start is None:
            return self._encoder
        blended = deepcopy(self._start)
        weights = self._encoder.state_dict()
        for name, start in blended.state_dict().items():
            if start.is_floating_point():
                start.lerp_(weights[name].to(start), self._share)
            else:
                start.copy_(weights[name])
        return blended.eval()
