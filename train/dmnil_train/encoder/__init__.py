"""The encoder: a backbone and a head that turn a picture of the ground into a descriptor."""

from dmnil_train.encoder.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_encoder,
    save_checkpoint,
)
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder, build_encoder
from dmnil_train.encoder.pca import fit_projection

__all__ = [
    "Checkpoint",
    "Encoder",
    "EncoderConfig",
    "build_encoder",
    "fit_projection",
    "load_checkpoint",
    "load_encoder",
    "save_checkpoint",
]
