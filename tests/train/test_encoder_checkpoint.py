from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dmnil_train.encoder.checkpoint import (
    is_checkpoint,
    load_checkpoint,
    load_encoder,
    read_published_weights,
    save_checkpoint,
)
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from edge_runtime.contract.errors import BundleError

CONFIG = EncoderConfig(
    depths=(1, 1, 1, 1),
    widths=(4, 8, 8, 8),
    head="grid",
    grid_size=2,
    input_height=64,
    input_width=96,
    descriptor_size=5,
)


class Trap:
    """Unpickled with code allowed, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_a_checkpoint_gives_back_the_encoder_and_where_it_came_from(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder(CONFIG).eval()
    path = save_checkpoint(encoder, tmp_path / "made" / "best.safetensors", {"method": "DMNIL"})
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == CONFIG
    assert checkpoint.provenance == {"method": "DMNIL"}
    images = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(load_encoder(path)(images), encoder(images))
    assert [entry.name for entry in path.parent.iterdir()] == ["best.safetensors"]


def test_the_header_is_json_that_others_can_read(tmp_path: Path) -> None:
    path = save_checkpoint(Encoder(CONFIG), tmp_path / "e.safetensors")
    with safe_open(path, framework="np") as file:
        (text,) = file.metadata().values()
    assert json.loads(text)["config"]["widths"] == [4, 8, 8, 8]


def test_the_same_encoder_gives_the_same_bytes(tmp_path: Path) -> None:
    encoder = Encoder(CONFIG)
    first, second = (save_checkpoint(encoder, tmp_path / name) for name in ("a.safetensors", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_somebody_elses_safetensors_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "theirs.safetensors"
    save_file({"stem.0.weight": torch.zeros(2)}, path)
    assert not is_checkpoint(path)
    with pytest.raises(BundleError, match="no checkpoint of ours"):
        load_checkpoint(path)
    assert list(read_published_weights(path)) == ["stem.0.weight"]


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_weights_are_found_inside_a_training_checkpoint(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "theirs.pth"
    torch.save({wrapper: {"stem.0.weight": torch.ones(2)}, "epoch": 3}, path)
    assert list(read_published_weights(path)) == ["stem.0.weight"]


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "trap.pth"
    torch.save({"stem.0.weight": torch.ones(2), "trap": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(BundleError, match="could run code"):
        read_published_weights(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["cut.pth", "cut.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if path.suffix == ".pth":
        torch.save(Encoder(CONFIG).state_dict(), path)
    else:
        save_checkpoint(Encoder(CONFIG), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BundleError, match=name):
        read_published_weights(path)


def test_a_file_without_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(BundleError, match="no named weights"):
        read_published_weights(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(BundleError, match="cannot be read"):
            read_published_weights(tmp_path / name)
