"""Checkpoints as others save them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dmnil_export.config import ExportConfig
from dmnil_export.golden_images import generate_images
from dmnil_export.source import encoder_to_export
from tests.export.encoders import trained_looking_encoder

ORIGINAL = {
    "reductions.{s}.convolution": "downsample_layers.{s}.{conv}",
    "reductions.{s}.norm": "downsample_layers.{s}.{norm}",
    "stages.{s}.0.depthwise": "stages.{s}.0.dwconv",
    "stages.{s}.0.norm": "stages.{s}.0.norm",
    "stages.{s}.0.expand": "stages.{s}.0.pwconv1",
    "stages.{s}.0.project": "stages.{s}.0.pwconv2",
}


def original_names() -> dict[str, torch.Tensor]:
    """The tiny encoder's weights under the names of the original ConvNeXt release."""
    weights = {}
    own = trained_looking_encoder().state_dict()
    for stage in range(4):
        places = {"s": stage, "conv": 0 if stage == 0 else 1, "norm": 1 if stage == 0 else 0}
        for ours, theirs in ORIGINAL.items():
            for kind in ("weight", "bias"):
                name = f"backbone.{ours.format(**places)}.{kind}"
                weights[f"{theirs.format(**places)}.{kind}"] = own[name]
        weights[f"stages.{stage}.0.gamma"] = own[f"backbone.stages.{stage}.0.scale"]
    weights["norm.weight"], weights["norm.bias"] = own["head.norm.weight"], own["head.norm.bias"]
    weights["head.weight"], weights["head.bias"] = torch.ones(1000, 64), torch.ones(1000)
    return weights


def dmnil_checkpoint(parallel: bool) -> dict[str, torch.Tensor]:
    """As the authors' train.py saves its model: one shared ConvNeXt and five loose parameters."""
    loose = ("logit_scale", "logit_scale_blocks", "w_blocks1", "w_blocks2", "w_blocks3")
    checkpoint = {f"model_1.convnext.{name}": value for name, value in original_names().items()}
    checkpoint |= {name: torch.ones([]) for name in loose}
    prefix = "module." if parallel else ""
    return {prefix + name: value for name, value in checkpoint.items()}


@pytest.mark.parametrize(
    "content",
    [
        dmnil_checkpoint(parallel=False),
        {"state_dict": dmnil_checkpoint(parallel=True), "epoch": 39, "best_mAP": 0.93},
        {"model": original_names()},
    ],
    ids=["dmnil weights_e39.pth", "dmnil in a wrapper, of several GPUs", "ConvNeXt release"],
)
def test_the_descriptors_are_those_of_the_encoder_that_was_saved(
    content: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "theirs.pth")
    found, provenance = encoder_to_export(str(tmp_path / "theirs.pth"), ExportConfig(input_size=64))
    assert provenance["weights_file"] == "theirs.pth"
    images = torch.from_numpy(generate_images(3, 64, 64, seed=6))
    with torch.no_grad():
        expected = trained_looking_encoder()(images)
        torch.testing.assert_close(found(images), expected, rtol=0.0, atol=0.0)
    assert (expected @ expected.T).min() < 0.99
