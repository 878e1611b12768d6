from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import EngineError
from edge_runtime.engines import Engine, open_engine
from edge_runtime.engines.golden_check import golden_cosine, least_golden_cosine, require_golden


class Spoiled:
    """An engine whose results are multiplied by something, for some batch sizes."""

    def __init__(self, engine: Engine, factor: float, largest_batch: int, least_batch: int) -> None:
        self._engine = engine
        self._factor = factor
        self._batches = range(least_batch, largest_batch + 1)

    def encode(self, images: np.ndarray) -> np.ndarray:
        descriptors = self._engine.encode(images)
        return descriptors * self._factor if len(images) in self._batches else descriptors


@pytest.fixture(scope="module")
def engine(bundle: EncoderBundle) -> Engine:
    return open_engine(bundle, threads=1)


def test_the_engine_that_made_them_finds_the_golden_descriptors_again(
    bundle: EncoderBundle, engine: Engine
) -> None:
    assert golden_cosine(engine, bundle) == pytest.approx(1.0, abs=1e-6)
    require_golden(engine, bundle, "fp32")


@pytest.mark.parametrize(("least_batch", "largest_batch"), [(1, 1), (2, 16)])
def test_a_wrong_program_for_single_pictures_or_for_batches_is_found(
    bundle: EncoderBundle, engine: Engine, least_batch: int, largest_batch: int
) -> None:
    spoiled = Spoiled(engine, -1.0, largest_batch, least_batch)
    assert golden_cosine(spoiled, bundle) == pytest.approx(-1.0, abs=1e-6)
    with pytest.raises(EngineError, match=r"cosine of -1.0000 to the stored ones, 0.999 is needed"):
        require_golden(spoiled, bundle, "fp32")


def test_descriptors_of_zeros_are_refused(bundle: EncoderBundle, engine: Engine) -> None:
    with pytest.raises(EngineError, match="cosine of nan"):
        require_golden(Spoiled(engine, 0.0, 16, 1), bundle, "fp32")


@pytest.mark.parametrize(
    ("verification", "precision", "least"),
    [
        ({}, "fp32", 0.999),
        ({"fp16": {"cosine_min": 0.5}}, "fp16", 0.999),
        ({"int8": {"cosine_min": 0.97}}, "int8", 0.965),
        ({"int8": {"cosine_min": 2.0}}, "int8", 0.999),
        ({"int8": {}}, "int8", 0.98),
        (None, "int8", 0.98),
    ],
)
def test_a_coarse_precision_must_reach_nearly_what_the_exporter_measured(
    bundle: EncoderBundle, verification: object, precision: str, least: float
) -> None:
    measured = replace(bundle, manifest={**bundle.manifest, "verification": verification})
    assert least_golden_cosine(measured, precision) == pytest.approx(least)
