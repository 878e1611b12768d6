"""Engines built ahead of the first flight, through the runtime's own function."""

from __future__ import annotations

from typing import Any

import pytest

from dmnil_export import engine as stage
from dmnil_export.config import EngineBatches
from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.engines.tensorrt_config import MAX_BATCH, USUAL_BATCH


def test_an_engine_is_built_of_every_graph_for_tensorrt(
    convnext_bundle: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str]] = []

    def open_engine(bundle: EncoderBundle, precision: str, backend: str) -> Any:
        assert bundle.encoder_sha256 == convnext_bundle.encoder_sha256
        opened.append((precision, backend))

    monkeypatch.setattr(stage, "open_engine", open_engine)
    built = stage.build_engines(convnext_bundle.folder)
    # Unsigned activations are for processors alone.
    assert built == ("fp32", "fp16", "int8")
    assert opened == [(precision, "tensorrt") for precision in built]


def test_usual_batches_are_those_of_bundles_that_name_none() -> None:
    assert EngineBatches() == EngineBatches(USUAL_BATCH, MAX_BATCH)
