"""ONNX Runtime on GPUs, by name: what can be told without one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from edge_runtime.contract.encoder_bundle import EncoderBundle
from edge_runtime.contract.errors import EngineError
from edge_runtime.engines import open_engine
from edge_runtime.engines.exchange import STAGES
from edge_runtime.engines.onnx_runtime import PROVIDERS, BoundBuffers

GPU_BACKENDS = [name for name in PROVIDERS if name != "onnxruntime"]


def random_pictures(count: int, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def bound(bundle: EncoderBundle) -> BoundBuffers:
    session = onnxruntime.InferenceSession(
        str(bundle.graph_path("fp32")), providers=["CPUExecutionProvider"]
    )
    return BoundBuffers(session, bundle.descriptor_size, "cpu")


def test_bound_buffers_give_what_an_unbound_run_gives(
    bound: BoundBuffers, bundle: EncoderBundle
) -> None:
    engine = open_engine(bundle, threads=1)
    for count in (1, 3, 1, 8, 3):
        pictures = random_pictures(count, seed=count)
        np.testing.assert_allclose(bound.run(pictures), engine.encode(pictures), atol=1e-6)
    turned = random_pictures(2)[:, ::-1]
    np.testing.assert_allclose(bound.run(turned), engine.encode(turned), atol=1e-6)


def test_a_result_stays_when_the_next_frame_comes(bound: BoundBuffers) -> None:
    first = bound.run(random_pictures(1, seed=1))
    kept = first.copy()
    assert not np.allclose(bound.run(random_pictures(1, seed=2)), kept)
    np.testing.assert_array_equal(first, kept)


def test_buffers_are_made_once_a_batch_size(
    bound: BoundBuffers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, ...]] = []
    real = bound._bind

    def watched(shape: tuple[int, ...]) -> Any:
        made.append(shape)
        return real(shape)

    monkeypatch.setattr(bound, "_bind", watched)
    for count in (1, 4, 1, 4, 1):
        bound.run(random_pictures(count))
    assert [shape[0] for shape in made] == [1, 4]


def test_stages_are_timed_without_changing_what_comes_out(bound: BoundBuffers) -> None:
    pictures = random_pictures(3)
    descriptors, stages_ms = bound.run_in_stages(pictures)
    np.testing.assert_array_equal(descriptors, bound.run(pictures))
    assert list(stages_ms) == list(STAGES)
    assert min(stages_ms.values()) > 0.0


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_a_provider_that_is_not_built_in_is_named_with_what_to_install(
    bundle: EncoderBundle, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match=f"{backend} needs .*{PROVIDERS[backend][0]}.*-gpu"):
        open_engine(bundle, backend=backend)


@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_a_silent_fall_back_to_the_processor_is_refused(
    bundle: EncoderBundle, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    class FallenBack:
        def __init__(self, path: str, options: Any, providers: list[str]) -> None:
            asked.append(providers)

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS[backend]))
    monkeypatch.setattr(onnxruntime, "InferenceSession", FallenBack)
    with pytest.raises(EngineError, match=f"could not start {PROVIDERS[backend][0]}"):
        open_engine(bundle, backend=backend)
    assert asked == [list(PROVIDERS[backend])]


@pytest.mark.gpu
def test_a_gpu_computes_what_the_processor_computes(bundle: EncoderBundle) -> None:
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA")
    pictures = random_pictures(5)
    found = open_engine(bundle, backend="onnxruntime-cuda").encode(pictures)
    np.testing.assert_allclose(found, open_engine(bundle).encode(pictures), atol=1e-3)
