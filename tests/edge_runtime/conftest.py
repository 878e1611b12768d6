"""One tiny encoder and one small map that belong together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.region_map import RegionMap, load_region_map
from tests.small_map import write_small_map
from tests.tiny_encoder import write_tiny_encoder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny.encoder")


@pytest.fixture(scope="session")
def bundle(encoder_folder: Path) -> EncoderBundle:
    return load_encoder_bundle(encoder_folder)


@pytest.fixture(scope="session")
def map_folder(bundle: EncoderBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("map") / "small.map"
    return write_small_map(folder, bundle.encoder_sha256, bundle.descriptor_size)


@pytest.fixture(scope="session")
def region_map(map_folder: Path) -> RegionMap:
    return load_region_map(map_folder)


@pytest.fixture
def own_encoder(encoder_folder: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may damage."""
    return Path(shutil.copytree(encoder_folder, tmp_path / "own.encoder"))


@pytest.fixture
def own_map(map_folder: Path, tmp_path: Path) -> Path:
    """A copy of the map that a test may damage."""
    return Path(shutil.copytree(map_folder, tmp_path / "own.map"))
