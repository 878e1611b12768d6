"""Encoders and pictures that exports are tried on."""

from __future__ import annotations

from pathlib import Path

import cv2
import torch

from dmnil_export.golden_images import generate_images
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder

TINY = EncoderConfig(
    depths=(1, 1, 1, 1), widths=(8, 16, 32, 64), input_height=64, input_width=96, head="gap"
)


def trained_looking_encoder(config: EncoderConfig = TINY) -> Encoder:
    """Random weights, with layer scales as large as training makes them, so that blocks count.

    Some biases are zero and equal, which the exporter makes one of; some are not.
    """
    torch.manual_seed(11)
    encoder = Encoder(config).eval()
    for name, parameter in encoder.named_parameters():
        if name.endswith(".scale"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif name.endswith("expand.bias"):
            torch.nn.init.normal_(parameter, std=0.1)
        elif parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="linear")
    return encoder


def write_pictures(folder: Path, count: int) -> Path:
    """Generated pictures of the ground, 80 by 100 pixels."""
    folder.mkdir(parents=True)
    for index, image in enumerate(generate_images(count, 80, 100, seed=5)):
        assert cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
    return folder
