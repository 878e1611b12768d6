from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.encoder_bundle import (
    GOLDEN_FILE,
    GRAPH_FILES,
    EncoderBundle,
    load_encoder_bundle,
)
from edge_runtime.contract.errors import BundleError
from tests.small_map import rewrite_manifest, seal_again


def test_a_bundle_says_what_its_encoder_takes_and_gives(bundle: EncoderBundle) -> None:
    assert (bundle.backbone, bundle.head) == ("average-pool", "grid4x4")
    assert (bundle.input_height, bundle.input_width, bundle.descriptor_size) == (64, 64, 49)
    assert bundle.precisions == ("fp32",)


def test_the_encoders_identity_is_the_hash_of_its_fp32_graph(bundle: EncoderBundle) -> None:
    content = bundle.graph_path("fp32").read_bytes()
    assert bundle.encoder_sha256 == hashlib.sha256(content).hexdigest()


def test_golden_vectors_are_pictures_and_their_unit_descriptors(bundle: EncoderBundle) -> None:
    images, descriptors = bundle.golden()
    assert images.shape == (4, 64, 64, 3)
    assert images.dtype == np.uint8
    assert descriptors.shape == (4, 49)
    np.testing.assert_allclose(np.linalg.norm(descriptors, axis=1), 1.0, atol=1e-6)


def test_a_further_precision_is_offered_once_its_graph_is_there(own_encoder: Path) -> None:
    graph = (own_encoder / GRAPH_FILES["fp32"]).read_bytes()
    (own_encoder / GRAPH_FILES["fp16"]).write_bytes(graph)
    seal_again(own_encoder)
    bundle = load_encoder_bundle(own_encoder)
    assert bundle.precisions == ("fp32", "fp16")
    assert bundle.graph_path("fp16") == own_encoder / "encoder.fp16.onnx"


def test_a_precision_that_was_not_exported_says_how_to_get_it(bundle: EncoderBundle) -> None:
    with pytest.raises(BundleError, match="no int8 graph, only fp32: export it again with that"):
        bundle.graph_path("int8")


@pytest.mark.parametrize("file", [GOLDEN_FILE, GRAPH_FILES["fp32"]])
def test_a_bundle_needs_its_graph_and_its_golden_vectors(own_encoder: Path, file: str) -> None:
    (own_encoder / file).unlink()
    seal_again(own_encoder)
    with pytest.raises(BundleError, match="manifest lists no"):
        load_encoder_bundle(own_encoder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_height", "64"),
        ("input_width", 64.0),
        ("descriptor_size", None),
        ("descriptor_size", True),
        ("backbone", 3),
        ("head", None),
    ],
)
def test_a_field_of_the_wrong_type_is_named(own_encoder: Path, field: str, value: Any) -> None:
    rewrite_manifest(own_encoder, **{field: value})
    with pytest.raises(BundleError, match=f"field '{field}' is missing or malformed"):
        load_encoder_bundle(own_encoder)


@pytest.mark.parametrize("value", [0, -5])
def test_sizes_must_be_positive(own_encoder: Path, value: int) -> None:
    rewrite_manifest(own_encoder, input_height=value)
    with pytest.raises(BundleError, match=f"'input_height' must be positive, is {value}"):
        load_encoder_bundle(own_encoder)


def test_a_region_map_is_no_encoder_bundle(map_folder: Path) -> None:
    with pytest.raises(BundleError, match="describes a 'region map', not an encoder bundle"):
        load_encoder_bundle(map_folder)


def test_verify_finds_a_graph_altered_at_the_same_size(own_encoder: Path) -> None:
    path = own_encoder / GRAPH_FILES["fp32"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    bundle = load_encoder_bundle(own_encoder)
    with pytest.raises(BundleError, match=r"encoder\.onnx was altered"):
        bundle.verify()


def test_verify_accepts_a_bundle_as_written(bundle: EncoderBundle) -> None:
    bundle.verify()


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "empty", "other arrays"])
def test_damaged_golden_vectors_are_an_error_of_the_bundle(own_encoder: Path, damage: str) -> None:
    path = own_encoder / GOLDEN_FILE
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    if damage == "other arrays":
        np.savez(path, pictures=np.zeros(3))
    else:
        replacement = {"cut": content[:-100], "garbage": b"PK\x03\x04 no zip", "empty": b""}
        path.write_bytes(replacement.get(damage, bytes(flipped)))
    seal_again(own_encoder)
    bundle = load_encoder_bundle(own_encoder)
    with pytest.raises(BundleError, match=r"golden\.npz cannot be read"):
        bundle.golden()
