"""FP16: half-precision weights and activations in the backbone, the rest as it was.

The precision lies in the graph itself, which is what strongly typed engines (TensorRT 10 and 11)
take. Images come in as uint8 and descriptors leave as float32, as in every other precision;
pixel scaling, pooling, projection and unit length stay float32, since they cost nothing and are
where half precision would lose most.

Layer normalisations read and return half precision and compute in float32 inside (`stash_type` 1,
which TensorRT keeps to). Squares of activations above 256 are beyond half's range: with such
activations a normalisation in half steps gave a cosine of 0.53, this one 0.9999995, and casting to
float32 around it no more than that.
"""

from __future__ import annotations

import copy

from dmnil_train.encoder.model import Encoder


def to_half_precision(encoder: Encoder) -> Encoder:
    """A copy whose backbone computes in half precision."""
    half = copy.deepcopy(encoder).eval()
    half.backbone.half()
    return half
