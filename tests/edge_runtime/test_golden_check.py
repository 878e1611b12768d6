from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import BundleError, EngineError
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


class Turned:
    """An engine whose descriptors are turned aside until this cosine is left."""

    def __init__(self, engine: Engine, cosine: float) -> None:
        self._engine = engine
        self._cosine = cosine

    def encode(self, images: np.ndarray) -> np.ndarray:
        descriptors = self._engine.encode(images)
        aside = np.roll(descriptors, 1, axis=1)
        aside -= np.sum(aside * descriptors, axis=1, keepdims=True) * descriptors
        aside /= np.linalg.norm(aside, axis=1, keepdims=True)
        sine = np.sqrt(1.0 - self._cosine**2)
        return np.asarray(self._cosine * descriptors + sine * aside, np.float32)


def with_threshold(bundle: EncoderBundle, fp16_min_cosine: object) -> EncoderBundle:
    thresholds = {"fp16_min_cosine": fp16_min_cosine}
    return replace(bundle, manifest={**bundle.manifest, "thresholds": thresholds})


def test_a_threshold_that_the_export_lowered_is_kept_to_and_told(
    bundle: EncoderBundle, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    lowered = with_threshold(bundle, 0.98)
    require_golden(Turned(engine, 0.985), lowered, "fp16")
    assert "cosine of 0.9850 to the stored ones: accepted" in caplog.text
    assert "lowered its threshold to 0.98" in caplog.text
    caplog.clear()
    require_golden(Turned(engine, 0.9995), lowered, "fp16")
    assert caplog.text == ""
    with pytest.raises(EngineError, match=r"cosine of 0\.9750 to the stored ones, 0\.98 is needed"):
        require_golden(Turned(engine, 0.975), lowered, "fp16")


def test_a_lowered_threshold_is_of_fp16_alone(bundle: EncoderBundle, engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"0\.999 is needed:"):
        require_golden(Turned(engine, 0.985), with_threshold(bundle, 0.98), "fp32")


def test_a_threshold_that_the_export_raised_is_kept_to(
    bundle: EncoderBundle, engine: Engine
) -> None:
    with pytest.raises(EngineError, match=r"0\.9999 is needed"):
        require_golden(Turned(engine, 0.9995), with_threshold(bundle, 0.9999), "fp16")


def test_nothing_below_the_floor_is_accepted(bundle: EncoderBundle, engine: Engine) -> None:
    needed = r"0\.95 is needed, however low the bundle's own limit \(0\.5\): fly in another"
    with pytest.raises(EngineError, match=needed):
        require_golden(Turned(engine, 0.949), with_threshold(bundle, 0.5), "fp16")
    require_golden(Turned(engine, 0.951), with_threshold(bundle, 0.5), "fp16")
    coarse = {**bundle.manifest, "verification": {"int8": {"cosine_min": 0.505}}}
    with pytest.raises(EngineError, match=needed):
        require_golden(Turned(engine, 0.9), replace(bundle, manifest=coarse), "int8")


@pytest.mark.parametrize("recorded", ["0.9", None, True, [0.9]])
def test_a_threshold_that_is_no_number_is_refused(
    bundle: EncoderBundle, engine: Engine, recorded: object
) -> None:
    with pytest.raises(BundleError, match=r"'thresholds\.fp16_min_cosine' is no number"):
        require_golden(engine, with_threshold(bundle, recorded), "fp16")


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
