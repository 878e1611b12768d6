"""What coarser precisions cost and keep: a ConvNeXt to try them on, and times on a processor.

    python tests/benchmarks/precision.py convnext PICTURES -o random.safetensors [--unevenness 0.8]
    python tests/benchmarks/precision.py latency NAME.encoder [--threads 1]

`convnext` writes a ConvNeXt-Tiny of random weights whose activations are spread as those of trained
ones are, which plain initialisation does not give: weights from Student's t with 4 degrees of
freedom, gains of normalisations and channels' scales log-normal (their logarithm's deviation is
the unevenness, half of it for gains), and every layer brought to a deviation of 1 on the pictures,
every block's branch to about 0.3 of the stream that it is added to. It then compares ways to
normalise in half precision. `latency` times every graph of a bundle in ONNX Runtime, in turns.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from dmnil_export.golden_images import image_paths, read_images
from dmnil_export.precision.half import to_half_precision
from dmnil_export.verification import cosines_of
from dmnil_train.encoder.checkpoint import save_checkpoint
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.convnext import Block, ConvNeXt, Reduction
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.encoder_bundle import load_encoder_bundle

FREEDOM = 4.0
BRANCH_SHARE = 0.3
EXPANDED_DEVIATION = 1.5


@torch.no_grad()
def realistic_convnext(images: Tensor, config: EncoderConfig, unevenness: float) -> Encoder:
    """A ConvNeXt of random weights, brought to trained-looking activations on (N, H, W, 3)."""
    torch.manual_seed(0)
    encoder = Encoder(config).eval()
    assert isinstance(encoder.backbone, ConvNeXt)
    student = torch.distributions.StudentT(FREEDOM)
    for module in encoder.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            fan_in = module.weight[0].numel()
            module.weight.copy_(student.sample(module.weight.shape) / math.sqrt(2.0 * fan_in))
            module.bias.normal_(std=0.1)
        elif isinstance(module, nn.LayerNorm):
            module.weight.copy_(torch.exp(0.5 * unevenness * torch.randn(module.weight.shape)))
            module.bias.normal_(std=0.2)
    stream = encoder.network_input(images)
    for reduction, stage in zip(encoder.backbone.reductions, encoder.backbone.stages, strict=True):
        assert isinstance(reduction, Reduction)
        if not reduction.first:
            made = reduction(stream)
            scale = torch.exp(unevenness * torch.randn(made.shape[1])) / made.std((0, 2, 3))
            reduction.convolution.weight.mul_(scale[:, None, None, None])
            reduction.convolution.bias.mul_(scale)
        stream = reduction(stream)
        for block in stage:
            assert isinstance(block, Block)
            stream = _settle(block, stream, unevenness)
        sys.stdout.write(
            f"stage of {stream.shape[1]} channels: deviation {stream.std():.3g}, "
            f"largest {stream.abs().max():.3g}\n"
        )
    return encoder


def _settle(block: Block, stream: Tensor, unevenness: float) -> Tensor:
    """Bring a block's layers to usual deviations on what arrives; returns what leaves."""
    block.depthwise.weight.div_(block.depthwise(stream).std())
    normalised = block.norm(block.depthwise(stream).permute(0, 2, 3, 1))
    block.expand.weight.mul_(EXPANDED_DEVIATION / block.expand(normalised).std())
    expanded = functional.gelu(block.expand(normalised))
    block.project.weight.div_(block.project(expanded).std())
    share = BRANCH_SHARE * stream.std()
    block.scale.copy_(share * torch.exp(unevenness * torch.randn(block.scale.shape)))
    settled: Tensor = block(stream)
    return settled


class InFloat(nn.Module):
    """A normalisation between casts to float32 and back."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm.float()

    def forward(self, values: Tensor) -> Tensor:
        normalised: Tensor = self.norm(values.float()).to(values.dtype)
        return normalised


class InHalfSteps(nn.Module):
    """A normalisation whose every step is rounded to half precision."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm
        self.channels_last = type(norm) is nn.LayerNorm

    def forward(self, values: Tensor) -> Tensor:
        values = values if self.channels_last else values.permute(0, 2, 3, 1)
        centred = values - values.mean(-1, keepdim=True)
        deviation = torch.sqrt((centred * centred).mean(-1, keepdim=True) + self.norm.eps)
        normalised = centred / deviation * self.norm.weight + self.norm.bias
        return normalised if self.channels_last else normalised.permute(0, 3, 1, 2)


def with_norms(encoder: Encoder, wrap: Callable[[nn.LayerNorm], nn.Module]) -> Encoder:
    changed = copy.deepcopy(encoder)
    for parent in list(changed.backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.LayerNorm):
                setattr(parent, name, wrap(child))
    return changed


@torch.no_grad()
def compare_half_normalisations(encoder: Encoder, images: Tensor) -> None:
    expected = encoder(images).numpy()
    half = to_half_precision(encoder)
    ways = {
        "half in and out, float32 inside (as exported)": half,
        "casts to float32 around, parameters float32": with_norms(half, InFloat),
        "every step in half": with_norms(half, InHalfSteps),
    }
    for name, variant in ways.items():
        cosines = cosines_of(variant(images).numpy(), expected)
        sys.stdout.write(f"{name}: cosine min {cosines.min():.7f}, mean {cosines.mean():.7f}\n")


def time_graphs(folder: Path, threads: int, rounds: int) -> None:
    """Median of each graph's times for one picture, the graphs in turns."""
    bundle = load_encoder_bundle(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    sessions = {
        name: onnxruntime.InferenceSession(
            str(bundle.graph_path(name)), options, providers=["CPUExecutionProvider"]
        )
        for name in bundle.precisions
    }
    picture = bundle.golden()[0][:1]
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(None, {"images": picture})
            times[name].append(1e3 * (time.perf_counter() - start))
    exact = float(np.median(times["fp32"][3:]))
    for name, taken in times.items():
        median = float(np.median(taken[3:]))
        sys.stdout.write(f"{name}: {median:.1f} ms, {exact / median:.2f} x fp32's speed\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    convnext = commands.add_parser("convnext")
    convnext.add_argument("pictures", type=Path)
    convnext.add_argument("-o", "--output", type=Path, required=True)
    convnext.add_argument("--unevenness", type=float, default=0.8)
    convnext.add_argument("--input-size", type=int, default=224)
    latency = commands.add_parser("latency")
    latency.add_argument("bundle", type=Path)
    latency.add_argument("--threads", type=int, default=1)
    latency.add_argument("--rounds", type=int, default=43)
    options = parser.parse_args()
    if options.command == "latency":
        time_graphs(options.bundle, options.threads, options.rounds)
        return
    size = options.input_size
    paths = image_paths(options.pictures)
    images = torch.from_numpy(read_images(paths[:: max(1, len(paths) // 16)][:16], size, size))
    config = EncoderConfig(input_height=size, input_width=size)
    encoder = realistic_convnext(images[::2], config, options.unevenness)
    save_checkpoint(encoder, options.output, {"method": "random weights", "data": "none"})
    compare_half_normalisations(encoder, images[1::2])


if __name__ == "__main__":
    main()
