"""The small ConvNeXt of tests/golden: numbers from the authors' model, in their key naming."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.convnext import ConvNeXt
from dmnil_train.encoder.model import Encoder, build_encoder
from dmnil_train.encoder.naming import backbone_of, convnext_shape, cut_weights, rename_weights
from edge_runtime.contract.errors import BundleError

GOLDEN = Path(__file__).parents[1] / "golden" / "convnext_small.npz"
AUTHORS_PREFIX = "module.model_1.convnext."


@pytest.fixture(scope="module")
def golden() -> dict[str, npt.NDArray[np.float32]]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def authors_weights(golden: dict[str, npt.NDArray[np.float32]]) -> dict[str, Tensor]:
    return {
        name.removeprefix("weights/"): torch.from_numpy(value)
        for name, value in golden.items()
        if name.startswith("weights/")
    }


def encoder_of(published: dict[str, Tensor]) -> Encoder:
    weights = rename_weights(published, "convnext")
    depths, widths = convnext_shape(weights)
    return build_encoder(EncoderConfig(depths=depths, widths=widths), weights).eval()


def as_timm(name: str) -> str:
    """timm's name of a weight of the original release."""
    name = name.removeprefix(AUTHORS_PREFIX)
    name = re.sub(r"^downsample_layers\.0\.", "stem.", name)
    name = re.sub(r"^downsample_layers\.(\d)\.", r"stages.\1.downsample.", name)
    name = re.sub(r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2.", name)
    name = name.replace("dwconv", "conv_dw").replace("pwconv", "mlp.fc")
    return re.sub(r"^norm\.", "head.norm.", re.sub(r"^head\.", "head.fc.", name))


def as_hugging_face(name: str) -> str:
    """The name that transformers' ConvNextForImageClassification gives the same weight."""
    name = name.removeprefix(AUTHORS_PREFIX)
    if name.startswith("head."):
        return name.replace("head", "classifier")
    name = name.replace("downsample_layers.0.0", "embeddings.patch_embeddings")
    name = name.replace("downsample_layers.0.1", "embeddings.layernorm")
    name = re.sub(r"^downsample_layers\.(\d)\.", r"encoder.stages.\1.downsampling_layer.", name)
    name = re.sub(r"^stages\.(\d)\.(\d+)\.", r"encoder.stages.\1.layers.\2.", name)
    name = name.replace("gamma", "layer_scale_parameter")
    name = re.sub(r"(?<!layer)norm\.", "layernorm.", name)
    return f"convnext.{name}"


def test_the_authors_numbers_are_reproduced(
    golden: dict[str, npt.NDArray[np.float32]], authors_weights: dict[str, Tensor]
) -> None:
    encoder = encoder_of(authors_weights)
    with torch.no_grad():
        feature_map = encoder.backbone(torch.from_numpy(golden["input"]))
        pooled = encoder.head(feature_map)
    np.testing.assert_allclose(feature_map.numpy(), golden["feature_map"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(pooled.numpy(), golden["pooled"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "model_1.convnext.", AUTHORS_PREFIX])
def test_the_original_naming_loads_behind_any_prefix(
    authors_weights: dict[str, Tensor], prefix: str
) -> None:
    published = {prefix + n.removeprefix(AUTHORS_PREFIX): v for n, v in authors_weights.items()}
    assert_same_weights(encoder_of(published), encoder_of(authors_weights))


@pytest.mark.parametrize("renamed", [as_timm, as_hugging_face])
def test_timm_and_hugging_face_names_load_to_the_same_encoder(
    authors_weights: dict[str, Tensor], renamed: Callable[[str], str]
) -> None:
    published = {renamed(name): value for name, value in authors_weights.items()}
    assert not published.keys() & authors_weights.keys()
    assert backbone_of(published) == "convnext"
    assert_same_weights(encoder_of(published), encoder_of(authors_weights))


def test_known_names_of_the_other_namings() -> None:
    # Typed in from the published ImageNet checkpoints, not derived by the functions above.
    timm = {
        "stem.0.weight": "backbone.reductions.0.convolution.weight",
        "stages.1.downsample.1.bias": "backbone.reductions.1.convolution.bias",
        "stages.2.blocks.8.mlp.fc1.weight": "backbone.stages.2.8.expand.weight",
        "stages.2.blocks.8.gamma": "backbone.stages.2.8.scale",
        "head.norm.weight": "head.norm.weight",
    }
    hugging_face = {
        "convnext.embeddings.patch_embeddings.weight": "backbone.reductions.0.convolution.weight",
        "convnext.encoder.stages.1.downsampling_layer.0.bias": "backbone.reductions.1.norm.bias",
        "convnext.encoder.stages.2.layers.8.layernorm.bias": "backbone.stages.2.8.norm.bias",
        "convnext.encoder.stages.2.layers.8.layer_scale_parameter": "backbone.stages.2.8.scale",
        "convnext.layernorm.weight": "head.norm.weight",
    }
    for names in (timm, hugging_face):
        weights = {name: torch.tensor(float(place)) for place, name in enumerate(names)}
        renamed = rename_weights(weights, "convnext")
        assert list(renamed) == list(names.values())
        assert [float(value) for value in renamed.values()] == list(range(len(names)))


def test_a_missing_weight_is_named(authors_weights: dict[str, Tensor]) -> None:
    lacking = dict(authors_weights)
    del lacking[AUTHORS_PREFIX + "stages.2.1.gamma"]
    with pytest.raises(BundleError, match=r"missing: backbone\.stages\.2\.1\.scale$"):
        encoder_of(lacking)


def test_an_unexpected_weight_of_the_network_is_named(authors_weights: dict[str, Tensor]) -> None:
    name = AUTHORS_PREFIX + "stages.2.1.attention.weight"
    with pytest.raises(BundleError, match=re.escape(name)):
        encoder_of({**authors_weights, name: torch.zeros(3)})


def test_a_weight_of_another_shape_is_named(authors_weights: dict[str, Tensor]) -> None:
    name = AUTHORS_PREFIX + "stages.1.0.pwconv1.weight"
    with pytest.raises(BundleError, match=r"stages\.1\.0\.expand\.weight is \(64, 15\)"):
        encoder_of({**authors_weights, name: authors_weights[name][:, 1:]})


def test_weights_outside_the_network_are_left_out(authors_weights: dict[str, Tensor]) -> None:
    other = {"module.model_1.classifier1.add_block.weight": torch.zeros(3)}
    assert_same_weights(encoder_of({**authors_weights, **other}), encoder_of(authors_weights))


def test_two_networks_in_one_checkpoint_are_refused(authors_weights: dict[str, Tensor]) -> None:
    second = {n.replace("model_1", "model_2"): v for n, v in authors_weights.items()}
    with pytest.raises(BundleError, match="several convnext networks"):
        encoder_of({**authors_weights, **second})


def test_a_cut_off_network_gives_the_whole_ones_earlier_map(
    golden: dict[str, npt.NDArray[np.float32]], authors_weights: dict[str, Tensor]
) -> None:
    whole = encoder_of(authors_weights)
    cut_config = EncoderConfig(
        depths=whole.config.depths, widths=whole.config.widths, output_stride=16
    )
    weights = rename_weights(authors_weights, "convnext")
    cut = build_encoder(cut_config, cut_weights(weights, Encoder(cut_config).state_dict())).eval()
    with torch.no_grad():
        earlier = cut.backbone(torch.from_numpy(golden["input"]))
        assert isinstance(whole.backbone, ConvNeXt)
        last = whole.backbone.stages[3](whole.backbone.reductions[3](earlier))
    np.testing.assert_allclose(last.numpy(), golden["feature_map"], rtol=1e-4, atol=1e-5)


def test_tiny_has_the_published_size() -> None:
    with torch.device("meta"):
        encoder = Encoder(EncoderConfig())
    classifier = 768 * 1000 + 1000
    assert sum(p.numel() for p in encoder.parameters()) + classifier == 28_589_128


def assert_same_weights(a: Encoder, b: Encoder) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
