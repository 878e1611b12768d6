"""TensorRT-RTX as a gate; it needs no GPU, and is not the TensorRT of a Jetson."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from dmnil_export import bundle as stage
from dmnil_export.cli import main
from dmnil_export.rtx_gate import rtx_gate, rtx_is_installed
from edge_runtime.contract.encoder_bundle import EncoderBundle

needs_rtx = pytest.mark.skipif(not rtx_is_installed(), reason="TensorRT-RTX is not installed")


@needs_rtx
def test_every_graph_for_tensorrt_passes(convnext_bundle: EncoderBundle) -> None:
    result = rtx_gate(convnext_bundle.graph_path("int8"))
    assert result.refusal is None
    assert result.version.startswith("1.")


@needs_rtx
def test_its_progress_bar_names_the_product(
    convnext_bundle: EncoderBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rtx_gate(convnext_bundle.graph_path("fp32")).refusal is None
    assert "TensorRT-RTX engine:" in capsys.readouterr().err


@needs_rtx
def test_the_nodes_that_are_refused_are_named_and_the_product_too(tmp_path: Path) -> None:
    pictures = helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 8, 8, 3])
    result = helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Det", ["pixels"], ["descriptors"], name="volume"),
    ]
    graph = helper.make_graph(nodes, "refused", [pictures], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "encoder.onnx"
    path.write_bytes(model.SerializeToString())
    refusal = rtx_gate(path).refusal
    assert refusal is not None
    assert "TensorRT-RTX 1." in refusal
    assert "Det 'volume'" in refusal
    path.write_bytes(b"no graph")
    assert "no ONNX graph" in (rtx_gate(path).refusal or "")


@needs_rtx
def test_what_the_gate_refuses_is_not_written(
    convnext_bundle: EncoderBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = convnext_bundle.folder.parent / "best.safetensors"
    arguments = [str(weights), "-o", str(tmp_path / "x.encoder"), "--rtx-gate"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "builds it" in printed
    assert "not the TensorRT of a Jetson" in printed
    before = (tmp_path / "x.encoder" / "manifest.json").read_text()

    refused = rtx_gate(Path(__file__))
    monkeypatch.setattr(stage, "rtx_gate", lambda *_: refused)
    assert main(arguments) == 2
    assert "fp32 graph does not pass the gate" in capsys.readouterr().err
    assert (tmp_path / "x.encoder" / "manifest.json").read_text() == before


def test_without_tensorrt_rtx_the_gate_lets_nothing_through(
    convnext_bundle: EncoderBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stage, "rtx_is_installed", lambda: False)
    weights = convnext_bundle.folder.parent / "best.safetensors"
    assert main([str(weights), "-o", str(tmp_path / "x.encoder"), "--rtx-gate"]) == 2
    assert "--rtx-gate needs TensorRT-RTX, which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "x.encoder").exists()
