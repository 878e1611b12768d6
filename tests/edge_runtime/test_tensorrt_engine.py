"""The TensorRT engine over a double of TensorRT; see nvidia/tensorrt_double.py for what it is."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import BundleError, ConfigError, EngineError
from edge_runtime.engines import open_engine
from edge_runtime.engines.exchange import STAGES
from edge_runtime.engines.pycuda_device import PycudaDevice
from edge_runtime.engines.tensorrt import TensorRtEngine
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.engines.tensorrt_library import load_tensorrt
from tests.edge_runtime.nvidia.flight_deck import FlightDeck
from tests.edge_runtime.nvidia.pycuda_double import pycuda_double
from tests.edge_runtime.nvidia.signatures import TENSORRT_VERSIONS
from tests.small_map import rewrite_manifest


@pytest.fixture
def deck(tmp_path: Path) -> FlightDeck:
    return FlightDeck(tmp_path / "engines")


def random_pictures(count: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_descriptors_are_those_of_onnx_runtime_through_every_interface(
    bundle: EncoderBundle, tmp_path: Path, version: str
) -> None:
    deck = FlightDeck(tmp_path, version)
    engine = deck.open(bundle)
    pictures = random_pictures(5)
    expected = open_engine(bundle, threads=1).encode(pictures)
    for _ in range(3):  # plain, captured, replayed
        found = engine.encode(pictures)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_through_pycuda_too(bundle: EncoderBundle, deck: FlightDeck) -> None:
    module, recorder = pycuda_double(deck.host)
    config = TensorRtConfig(cache_folder=deck.cache, max_batch=2)
    engine = TensorRtEngine(bundle, "fp32", config, deck.library, PycudaDevice(module))
    pictures = random_pictures(5)
    expected = open_engine(bundle, threads=1).encode(pictures)
    np.testing.assert_allclose(engine.encode(pictures), expected, atol=1e-6)
    assert recorder.names().count("mem_alloc") == 2
    engine.close()
    assert deck.host.used_bytes == 0
    assert deck.host.context_depth == 0


@pytest.mark.parametrize("count", [0, 1, 6, 7, 13])
def test_any_number_of_pictures_is_split_into_what_the_engine_takes(
    bundle: EncoderBundle, deck: FlightDeck, count: int
) -> None:
    engine = deck.open(bundle)
    pictures = random_pictures(13)[:count]
    expected = open_engine(bundle, threads=1).encode(random_pictures(13))[:count]
    np.testing.assert_allclose(engine.encode(pictures), expected, atol=1e-6)


def test_pictures_may_lie_in_memory_in_any_order(bundle: EncoderBundle, deck: FlightDeck) -> None:
    engine = deck.open(bundle)
    pictures = random_pictures(3)
    expected = engine.encode(pictures)
    backwards = pictures[::-1]
    np.testing.assert_allclose(engine.encode(backwards), expected[::-1], atol=1e-6)
    turned = np.ascontiguousarray(pictures.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(engine.encode(turned), expected, atol=1e-6)


def test_a_result_is_the_callers_own(bundle: EncoderBundle, deck: FlightDeck) -> None:
    engine = deck.open(bundle)
    first = engine.encode(random_pictures(1))
    kept = first.copy()
    engine.encode(255 - random_pictures(1))
    np.testing.assert_array_equal(first, kept)


def test_frames_allocate_nothing_and_set_nothing(bundle: EncoderBundle, deck: FlightDeck) -> None:
    deck.graphs = False
    deck.start_process()
    engine = deck.open(bundle)
    engine.encode(random_pictures(1))
    allocations, pinned = list(deck.host.allocations), len(deck.host.pinned)
    deck.recorder.calls.clear()
    for _ in range(4):
        engine.encode(random_pictures(1))
    assert deck.recorder.names() == ["IExecutionContext.execute_async_v3"] * 4
    assert deck.recorder.of("IExecutionContext.execute_async_v3") == [(77,)] * 4
    assert list(deck.host.allocations) == allocations
    assert len(deck.host.pinned) == pinned


def test_a_repeated_batch_size_is_one_graph_launch(bundle: EncoderBundle, deck: FlightDeck) -> None:
    engine = deck.open(bundle)
    engine.encode(random_pictures(2))  # plain: TensorRT settles on the shape
    engine.encode(random_pictures(2))  # captured, and launched
    deck.recorder.calls.clear()
    deck.host.launches = 0
    for _ in range(3):
        engine.encode(random_pictures(2))
    assert deck.recorder.calls == []
    assert deck.host.launches == 3


def test_another_batch_size_is_never_run_by_an_old_graph(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    engine = deck.open(bundle)
    pictures = random_pictures(5)
    expected = open_engine(bundle, threads=1).encode(pictures)
    for count in [2, 2, 2, 5, 2, 5, 5, 5, 1, 5]:
        np.testing.assert_allclose(engine.encode(pictures[:count]), expected[:count], atol=1e-6)


def test_an_engine_that_cannot_be_captured_runs_without_a_graph(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.behaviour.refuses_capture = True
    engine = deck.open(bundle)
    pictures = random_pictures(2)
    expected = open_engine(bundle, threads=1).encode(pictures)
    for _ in range(3):
        np.testing.assert_allclose(engine.encode(pictures), expected, atol=1e-6)
    assert deck.host.launches == 0


def test_cuda_is_started_before_tensorrt_is_constructed_and_addresses_are_set_once(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.open(bundle)  # the double refuses construction before CUDA is up
    names = deck.recorder.names()
    order = [
        "Builder",
        "Builder.create_network",
        "OnnxParser.parse",
        "IBuilderConfig.add_optimization_profile",
        "Builder.build_serialized_network",
        "Runtime",
        "Runtime.deserialize_cuda_engine",
        "ICudaEngine.create_execution_context",
        "IExecutionContext.set_tensor_address",
        "IExecutionContext.set_input_shape",
        "IExecutionContext.execute_async_v3",
    ]
    assert [name for name in dict.fromkeys(names) if name in order] == order
    assert names.count("IExecutionContext.set_tensor_address") == 2


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((1, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((1, 3, 64, 64), np.uint8),
        np.zeros((1, 32, 64, 3), np.uint8),
    ],
)
def test_pictures_of_another_type_or_shape_are_refused(
    bundle: EncoderBundle, deck: FlightDeck, pictures: np.ndarray
) -> None:
    engine = deck.open(bundle)
    with pytest.raises(EngineError, match=r"encoder takes uint8 \(N, 64, 64, 3\), got"):
        engine.encode(pictures)


def test_an_engine_that_computes_something_else_does_not_fly(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.behaviour.wrong_by = 3.0
    with pytest.raises(
        EngineError, match=r"computes wrongly: its fp32 .* cosine of 0\.\d{4}"
    ) as kept:
        deck.open(bundle)
    assert deck.device.closed, "it must not take the garbage collector"
    del kept


def test_an_engine_that_gives_nan_does_not_fly(bundle: EncoderBundle, deck: FlightDeck) -> None:
    deck.behaviour.wrong_by = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        deck.open(bundle)
    assert deck.device.closed


def test_a_nan_in_flight_is_an_error_of_that_frame(bundle: EncoderBundle, deck: FlightDeck) -> None:
    engine = deck.open(bundle)
    deck.behaviour.wrong_by = float("nan")
    with pytest.raises(EngineError, match="not finite"):
        engine.encode(random_pictures(1))
    deck.behaviour.wrong_by = 0.0
    assert np.isfinite(engine.encode(random_pictures(1))).all()


def test_a_failure_in_flight_says_what_tensorrt_said_and_the_next_frame_may_work(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.graphs = False
    deck.start_process()
    engine = deck.open(bundle)
    deck.behaviour.execution_fails = "an illegal\nmemory access"
    with pytest.raises(EngineError, match=r"the encoder failed: .* an illegal memory access"):
        engine.encode(random_pictures(1))
    deck.behaviour.execution_fails = ""
    assert deck.host.context_depth == 0
    assert engine.encode(random_pictures(1)).shape == (1, 49)


@pytest.mark.parametrize("part", ["Builder", "Runtime"])
def test_a_tensorrt_that_cannot_start_says_what_it_says(
    bundle: EncoderBundle, deck: FlightDeck, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def fail(logger: object) -> None:
        deck.library.logger.log(deck.library.module.ILogger.Severity.ERROR, "CUDA error 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(deck.library.module, part, fail)
    with pytest.raises(EngineError, match=r"TensorRT 10.3.0 cannot start.*: CUDA error 35"):
        deck.open(bundle)
    assert deck.device.closed


def test_too_little_memory_for_the_engine_says_how_much_there_is(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.behaviour.context_fails = "Error Code 2: OutOfMemory"
    with pytest.raises(EngineError, match=r"OutOfMemory \(1,024 of 1,024 MiB of GPU memory are fr"):
        deck.open(bundle)
    assert deck.device.closed


def test_too_little_memory_for_the_buffers_is_an_engine_error(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.host.total_bytes = 1000
    with pytest.raises(EngineError, match="cannot give 73728 bytes: out of memory"):
        deck.open(bundle)
    assert deck.device.closed


def test_closing_frees_the_gpu_and_ends_encoding(bundle: EncoderBundle, deck: FlightDeck) -> None:
    engine = deck.open(bundle)
    engine.encode(random_pictures(2))
    engine.encode(random_pictures(2))
    engine.close()
    engine.close()
    assert deck.host.used_bytes == 0
    assert deck.host.context_depth == 0
    with pytest.raises(EngineError, match="the engine is closed"):
        engine.encode(random_pictures(1))


def test_an_engine_that_is_forgotten_frees_the_gpu(bundle: EncoderBundle, deck: FlightDeck) -> None:
    engine = deck.open(bundle)
    engine.encode(random_pictures(1))
    del engine
    gc.collect()
    assert deck.device.closed


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"descriptor_size": 50}, r"the engine has .* its bundle says .* float32 \(N, 50\)"),
        ({"input_height": 32}, r"takes .* says one input 'images' of \(N, 32, 64, 3\)"),
    ],
)
def test_a_graph_that_differs_from_its_bundle_is_refused(
    own_encoder: Path, deck: FlightDeck, changes: dict[str, int], complaint: str
) -> None:
    rewrite_manifest(own_encoder, **changes)
    with pytest.raises(EngineError, match=complaint):
        deck.open(load_encoder_bundle(own_encoder))
    assert deck.device.closed


def test_a_precision_that_was_not_exported_is_refused_before_anything_starts(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    with pytest.raises(BundleError, match="export it again with that precision"):
        deck.open(bundle, "fp16")
    assert deck.recorder.names() == ["ILogger"]


@pytest.mark.parametrize(("usual", "largest"), [(0, 4), (5, 4), (1, 0), (0, None), (None, 0)])
def test_batch_sizes_that_contradict_each_other_are_refused(
    usual: int | None, largest: int | None
) -> None:
    with pytest.raises(ConfigError, match="1 <= usual_batch <= max_batch"):
        TensorRtConfig(usual_batch=usual, max_batch=largest)


def test_a_missing_tensorrt_is_one_line(
    bundle: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match="TensorRT cannot be imported") as caught:
        open_engine(bundle, backend="tensorrt")
    assert "JetPack 6.1" in str(caught.value)
    assert "--system-site-packages" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        (
            "8.5.2.2",
            "TensorRT 8.5.2.2 is too old, 10.0 is the oldest that works: JetPack 5 carries",
        ),
        ("8.6.2", "JetPack 6.0 carries 8.6"),
        ("", "the module tensorrt has no version"),
    ],
)
def test_a_tensorrt_that_is_too_old_or_broken_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: str, complaint: str
) -> None:
    module = ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    with pytest.raises(EngineError, match=complaint):
        load_tensorrt()


def test_opening_the_runtime_imports_no_gpu_package(bundle: EncoderBundle) -> None:
    script = (
        "import sys, edge_runtime.engines.tensorrt\n"
        "print([m for m in ('tensorrt', 'pycuda', 'cuda', 'torch') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


@pytest.mark.parametrize("count", [1, 6, 8])
def test_timing_the_stages_changes_nothing(
    bundle: EncoderBundle, deck: FlightDeck, count: int
) -> None:
    engine = deck.open(bundle)
    pictures = random_pictures(count)
    expected = engine.encode(pictures)
    for _ in range(2):
        found, stages_ms = engine.encode_in_stages(pictures)
        np.testing.assert_array_equal(found, expected)
        assert list(stages_ms) == list(STAGES)
        assert min(stages_ms.values()) > 0.0
    np.testing.assert_array_equal(engine.encode(pictures), expected)
    with pytest.raises(EngineError, match="encoder takes uint8"):
        engine.encode_in_stages(pictures[:, :5])
