"""Weights to bundle, through the command line, once a kind of encoder; engines then read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from dmnil_export.cli import main
from dmnil_export.golden_images import generate_images
from dmnil_export.onnx_graph import fold_batch_norms
from dmnil_train.encoder.checkpoint import load_encoder
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.engines import open_engine
from edge_runtime.engines.golden_check import least_golden_cosine
from edge_runtime.engines.onnx_runtime import OnnxRuntimeEngine
from tests.edge_runtime.nvidia.rtx import build_with_rtx


def test_a_bundle_says_what_is_in_it(convnext_bundle: EncoderBundle) -> None:
    convnext_bundle.verify()
    assert convnext_bundle.backbone == "convnext"
    assert convnext_bundle.head == "gap"
    assert (convnext_bundle.input_height, convnext_bundle.input_width) == (64, 96)
    assert convnext_bundle.descriptor_size == 64
    assert convnext_bundle.precisions == ("fp32", "fp16", "int8", "int8-cpu")
    assert convnext_bundle.manifest["provenance"]["method"] == "DMNIL"
    assert sorted(path.name for path in convnext_bundle.folder.iterdir()) == [
        "encoder.fp16.onnx",
        "encoder.int8-cpu.onnx",
        "encoder.int8.onnx",
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
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-cpu"])
def test_engines_give_unit_length_at_any_batch_size(
    bundle: EncoderBundle, precision: str, count: int
) -> None:
    images = generate_images(count, bundle.input_height, bundle.input_width, seed=9)
    descriptors = OnnxRuntimeEngine(bundle, precision, threads=1).encode(images)
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
    for precision in ("int8", "int8-cpu"):
        coarse = OnnxRuntimeEngine(bundle, precision, threads=1).encode(images)
        assert np.sum(coarse * expected, axis=1).mean() > 0.99, precision


def test_golden_descriptors_are_those_of_the_golden_images(bundle: EncoderBundle) -> None:
    images, descriptors = bundle.golden()
    assert images.shape == (4, bundle.input_height, bundle.input_width, 3)
    assert images.std() > 20
    found = open_engine(bundle, "fp32", threads=1).encode(images)
    np.testing.assert_allclose(found, descriptors, atol=1e-5)


def test_verification_is_recorded_for_every_precision(bundle: EncoderBundle) -> None:
    verification = bundle.manifest["verification"]
    assert tuple(verification) == bundle.precisions
    assert verification["fp32"]["max_abs_difference"] <= 1e-5
    assert 0.999 <= verification["fp16"]["cosine_min"] <= 1.0
    assert 0.999 <= verification["fp16"]["half_arithmetic_cosine_min"] <= 1.0
    for precision in ("int8", "int8-cpu"):
        figures = verification[precision]
        assert figures["cosine_min"] <= figures["cosine_p1"] <= figures["cosine_mean"]
        assert 0.99 <= figures["cosine_mean"] < 1.0
        (agreement,) = figures["retrieval"]
        assert agreement["queries"] == agreement["gallery"] >= figures["images"]


def test_the_least_cosine_is_about_the_golden_pictures_too(bundle: EncoderBundle) -> None:
    """Engines on the drone compare what they compute of those with what was reached here."""
    images, expected = bundle.golden()
    for precision in bundle.precisions:
        found = OnnxRuntimeEngine(bundle, precision, threads=1).encode(images)
        worst = np.sum(found * expected, axis=1).min()
        assert bundle.manifest["verification"][precision]["cosine_min"] <= worst + 1e-6


def test_a_map_in_the_one_8_bit_graph_serves_a_flight_in_the_other(bundle: EncoderBundle) -> None:
    """int8 is the one on a workstation's processor and the other on a Jetson."""
    images, _ = bundle.golden()
    built, flown = (
        OnnxRuntimeEngine(bundle, precision, threads=1).encode(images)
        for precision in ("int8-cpu", "int8")
    )
    apart = np.sum(built * flown, axis=1).min()
    assert apart < 1.0 - 1e-6  # or the two are one
    assert apart >= max(least_golden_cosine(bundle, name) for name in ("int8", "int8-cpu"))


def test_every_other_calibration_picture_is_held_back_for_verification(
    convnext_bundle: EncoderBundle,
) -> None:
    assert convnext_bundle.manifest["calibration"] == {
        "pictures": 12,
        "layers": 16,  # four reductions, and four blocks of three
        "layers_in_float": [],
    }
    assert convnext_bundle.manifest["verification"]["int8"]["images"] == 12


def test_batches_and_thresholds_go_into_the_manifest(
    lite2_bundle: EncoderBundle, convnext_bundle: EncoderBundle
) -> None:
    assert lite2_bundle.manifest["engine_batches"] == [1, 8]
    assert convnext_bundle.manifest["engine_batches"] == [1, 16]
    assert lite2_bundle.manifest["thresholds"] == {
        "fp16_min_cosine": 0.999,
        "int8_mean_cosine": 0.99,
        "recall_drop_points": 1.0,
    }


def test_the_report_is_written_as_json_too(convnext_bundle: EncoderBundle) -> None:
    report = json.loads((convnext_bundle.folder.parent / "r.json").read_text())
    assert report["bundle"] == "tiny.encoder"
    assert report["manifest"] == convnext_bundle.manifest


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
        norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
        stash = [a.i for node in norms for a in node.attribute if a.name == "stash_type"]
        assert stash == [onnx.TensorProto.FLOAT] * len(norms)
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
    convnext_bundle: EncoderBundle, pictures: Path, tmp_path: Path
) -> None:
    weights = convnext_bundle.folder.parent / "best.safetensors"
    arguments = [str(weights), "-o", str(tmp_path / "again.encoder"), "--calibrate", str(pictures)]
    assert main([*arguments, "--fp16", "--int8", "--int8-cpu"]) == 0
    first = json.loads((convnext_bundle.folder / "manifest.json").read_text())
    again = json.loads((tmp_path / "again.encoder" / "manifest.json").read_text())
    assert again == first


def test_without_weights_the_newest_runs_best_checkpoint_becomes_a_bundle_of_its_name(
    convnext_bundle: EncoderBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "runs" / "region.run"
    run.mkdir(parents=True)
    weights = convnext_bundle.folder.parent / "best.safetensors"
    (run / "best.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    captured = capsys.readouterr()
    assert "the newest run's checkpoint: runs/region.run/best.safetensors" in captured.err
    assert captured.out.splitlines()[-1] == "region.encoder"
    found = load_encoder_bundle(tmp_path / "region.encoder")
    assert found.encoder_sha256 == convnext_bundle.encoder_sha256
    assert found.precisions == ("fp32",)


def test_tensorrt_rtx_parses_and_builds_every_graph(bundle: EncoderBundle) -> None:
    """By the runtime's own builder. TensorRT-RTX is not the TensorRT of a Jetson."""
    for precision in ("fp32", "fp16", "int8"):
        assert build_with_rtx(bundle, precision).plan, precision
