from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_runtime.contract.artefact import MANIFEST_NAME
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.contract.errors import BundleError, ConfigError, MapError
from edge_runtime.opening import open_encoder_and_map
from tests.small_map import write_small_map
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "tiny.encoder")


@pytest.fixture
def region_map(tmp_path: Path, encoder: Path) -> Path:
    return write_small_map(tmp_path / "small.map", load_encoder_bundle(encoder).encoder_sha256)


def test_an_encoder_and_its_map_are_opened_together(encoder: Path, region_map: Path) -> None:
    opened = open_encoder_and_map(encoder, region_map)
    assert (opened.bundle.folder, opened.region_map.folder) == (encoder, region_map)
    assert opened.input_size == 64


def test_a_map_of_another_encoder_is_refused(encoder: Path, tmp_path: Path) -> None:
    of_another = write_small_map(tmp_path / "other.map")
    with pytest.raises(MapError, match="was built with encoder 000000000000"):
        open_encoder_and_map(encoder, of_another)


def test_an_encoder_of_oblong_pictures_is_refused(encoder: Path, region_map: Path) -> None:
    manifest = json.loads((encoder / MANIFEST_NAME).read_text(encoding="utf-8"))
    manifest["input_width"] = 96
    (encoder / MANIFEST_NAME).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match="needs a square encoder input"):
        open_encoder_and_map(encoder, region_map)


def test_nothing_of_a_map_is_read_before_its_signature(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.map").mkdir()
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        open_encoder_and_map(encoder, tmp_path / "broken.map", tmp_path / "absent.pem")
