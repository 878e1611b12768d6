"""What a user can get wrong: one line, exit code 2, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dmnil_export.cli import main
from dmnil_train.encoder.checkpoint import save_checkpoint
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.convnext import ConvNeXt
from dmnil_train.encoder.model import Encoder

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


def test_a_pickle_with_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trap.pth"
    torch.save({"stem.0.weight": torch.ones(2), "trap": Trap(tmp_path / "sprung")}, path)
    assert "could run code" in refusal([str(path)], tmp_path, capsys)
    assert not (tmp_path / "sprung").exists()


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


def test_another_folder_in_the_outputs_place_is_kept(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "thesis"
    output.mkdir()
    (output / "chapter.txt").write_text("irreplaceable")
    assert main([str(weights), "-o", str(output)]) == 2
    assert "is not a encoder bundle" in capsys.readouterr().err
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
