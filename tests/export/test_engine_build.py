"""Engines built ahead of the first flight, through the runtime's own function."""

from __future__ import annotations

from typing import Any

import pytest

from dmnil_export import engine as stage
from dmnil_export.config import EngineBatches
from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.engines.tensorrt_config import TensorRtConfig


def test_every_graph_for_tensorrt_is_built_for_the_batches_asked_for(
    convnext_bundle: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, str, TensorRtConfig]] = []

    def open_engine(
        bundle: EncoderBundle, precision: str, backend: str, tensorrt: TensorRtConfig
    ) -> Any:
        assert bundle.encoder_sha256 == convnext_bundle.encoder_sha256
        opened.append((precision, backend, tensorrt))

    monkeypatch.setattr(stage, "open_engine", open_engine)
    built = stage.build_engines(convnext_bundle.folder, EngineBatches(2, 8))
    config = TensorRtConfig(usual_batch=2, max_batch=8)
    # Unsigned activations are for processors alone.
    assert built == ("fp32", "fp16", "int8")
    assert opened == [(precision, "tensorrt", config) for precision in built]


def test_batches_are_those_that_flights_ask_for_by_default() -> None:
    flown = TensorRtConfig()
    assert EngineBatches() == EngineBatches(flown.usual_batch, flown.max_batch)
