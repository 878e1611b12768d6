from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dmnil_train.encoder import EncoderConfig, build_encoder, save_checkpoint
from dmnil_train.evaluation.image_encoder import TorchEncoder, open_encoder
from edge_runtime.contract.artefact import sha256_of_file
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError, ConfigError, EngineError
from edge_runtime.engines import open_engine
from tests.tiny_encoder import write_tiny_encoder

CONFIG = EncoderConfig(
    depths=(1, 1, 1, 1), widths=(4, 8, 8, 8), input_height=32, input_width=64
)  # fmt: skip
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 64, 3), dtype=np.uint8)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_checkpoint(build_encoder(CONFIG), tmp_path / "tiny.safetensors")


def test_a_bundle_is_run_by_the_runtimes_own_engine(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path / "tiny.encoder")
    bundle = load_encoder_bundle(folder)
    images, descriptors = bundle.golden()
    encoder = open_encoder(folder)
    assert (encoder.height, encoder.width) == (64, 64)
    assert encoder.sha256 == bundle.encoder_sha256
    np.testing.assert_array_equal(encoder.encode(images), open_engine(bundle).encode(images))
    np.testing.assert_allclose(encoder.encode(images), descriptors, atol=1e-6)


def test_a_checkpoint_gives_its_networks_descriptors(checkpoint: Path) -> None:
    encoder = open_encoder(checkpoint, "cpu")
    got = encoder.encode(PICTURES)
    assert (encoder.height, encoder.width) == (32, 64)
    assert encoder.sha256 == sha256_of_file(checkpoint)
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1.0, rtol=1e-5)
    torch.manual_seed(0)
    with torch.no_grad():
        expected = build_encoder(CONFIG).eval()(torch.from_numpy(PICTURES)).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_half_precision_stays_close_to_single(checkpoint: Path) -> None:
    single = open_encoder(checkpoint, "cpu").encode(PICTURES)
    half = open_encoder(checkpoint, "cpu", "fp16").encode(PICTURES)
    assert not np.array_equal(single, half)
    np.testing.assert_allclose(half, single, atol=5e-3)


def test_a_network_in_training_goes_on_training_with_its_new_weights() -> None:
    network = build_encoder(CONFIG).train()
    encoder = TorchEncoder(network)
    before = encoder.encode(PICTURES)
    assert network.training
    assert encoder.sha256 is None
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    assert not np.allclose(encoder.encode(PICTURES), before, atol=1e-3)
    network(torch.from_numpy(PICTURES)).sum().backward()


def test_a_diverged_network_is_named_as_such() -> None:
    network = build_encoder(CONFIG)
    with torch.no_grad():
        next(network.backbone.parameters()).fill_(float("nan"))
    with pytest.raises(EngineError, match="not finite"):
        TorchEncoder(network).encode(PICTURES)


def test_what_is_no_encoder_is_refused_in_one_line(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(BundleError, match="neither an encoder bundle"):
        open_encoder(tmp_path / "missing.encoder")
    with pytest.raises(BundleError, match="neither an encoder bundle"):
        open_encoder(tmp_path / "missing.safetensors")
    with pytest.raises(ConfigError, match="int8"):
        open_encoder(checkpoint, precision="int8")
    for device in ("quantum", "cuda:77"):
        with pytest.raises(ConfigError, match=f"'{device}' cannot be used") as raised:
            open_encoder(checkpoint, device)
        assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match="runs on the processor"):
        open_encoder(write_tiny_encoder(tmp_path / "tiny.encoder"), "cuda")
