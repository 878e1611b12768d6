"""FP16: half-precision weights and activations in the backbone, the rest as it was.

The precision lies in the graph itself, which is what strongly typed engines (TensorRT 10 and 11)
take. Images come in as uint8 and descriptors leave as float32, as in every other precision;
pixel scaling, pooling, projection and unit length stay float32, since they cost nothing and are
where half precision would lose most.
"""

from __future__ import annotations

import copy

from dmnil_train.encoder.model import Encoder


def to_half_precision(encoder: Encoder) -> Encoder:
    """A copy whose backbone computes in half precision."""
    half = copy.deepcopy(encoder).eval()
    half.backbone.half()
    return half
