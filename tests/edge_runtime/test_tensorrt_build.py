"""Building engines: with a double of TensorRT, and for real with TensorRT-RTX: nvidia/rtx.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime.contract.encoder_bundle import (
    GRAPH_FILES,
    EncoderBundle,
    load_encoder_bundle,
)
from edge_runtime.contract.errors import BundleError, EngineError
from edge_runtime.engines import tensorrt_build
from edge_runtime.sample_flight import SAMPLE_ENCODER
from tests.edge_runtime.nvidia.flight_deck import FlightDeck
from tests.edge_runtime.nvidia.rtx import build_with_rtx
from tests.edge_runtime.nvidia.signatures import TABLE, TENSORRT_VERSIONS
from tests.small_map import seal_again

GRAPH = GRAPH_FILES["fp32"]


@pytest.fixture
def deck(tmp_path: Path) -> FlightDeck:
    return FlightDeck(tmp_path / "engines")


def write_graph(
    folder: Path, *operators: str, domain: str = "", batch: str | int = "batch"
) -> EncoderBundle:
    """Replace a bundle's graph by a chain of operators after the cast."""
    nodes = [helper.make_node("Cast", ["images"], ["x0"], to=TensorProto.FLOAT)]
    for index, operator in enumerate(operators):
        name = f"node{index}"
        nodes.append(
            helper.make_node(operator, [f"x{index}"], [f"x{index + 1}"], name=name, domain=domain)
        )
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, 64, 64, 3])],
        [helper.make_tensor_value_info(f"x{len(operators)}", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 18)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, str(folder / GRAPH))
    seal_again(folder)
    return load_encoder_bundle(folder)


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
def test_networks_are_strongly_typed_in_every_version(
    bundle: EncoderBundle, tmp_path: Path, version: str
) -> None:
    deck = FlightDeck(tmp_path, version)
    deck.open(bundle)
    assert not deck.behaviour.weakly_typed
    flag = TABLE["tensorrt"][version]["enums"]["NetworkDefinitionCreationFlag"]["STRONGLY_TYPED"]
    assert deck.recorder.of("Builder.create_network") == [(1 << flag,)]
    assert not any("set_flag" in name for name in deck.recorder.names())


def test_strong_typing_needs_no_flag_where_it_has_gone(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.version = "11.4.0.106"
    deck.start_process()
    deck.library.module.NetworkDefinitionCreationFlag = SimpleNamespace()
    deck.open(bundle)
    assert deck.recorder.of("Builder.create_network") == [(0,)]


def test_the_profile_reaches_from_one_picture_to_the_largest_batch(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.open(bundle, usual_batch=3, max_batch=8)
    ((name, *shapes),) = deck.recorder.of("IOptimizationProfile.set_shape")
    assert name == "images"
    assert shapes == [(1, 64, 64, 3), (3, 64, 64, 3), (8, 64, 64, 3)]


@pytest.mark.parametrize(
    ("recorded", "config", "profile"),
    [
        ([2, 4], {}, (1, 2, 4)),
        (None, {}, (1, 1, 16)),
        ([2, 4], {"max_batch": 3}, (1, 2, 3)),
        ([2, 4], {"max_batch": 1}, (1, 1, 1)),
        ([2, 4], {"usual_batch": 5}, (1, 5, 5)),
        ([2, 4], {"usual_batch": 3, "max_batch": 8}, (1, 3, 8)),
    ],
)
def test_the_profile_is_the_bundles_unless_the_settings_say_otherwise(
    bundle: EncoderBundle,
    deck: FlightDeck,
    recorded: list[int] | None,
    config: dict[str, int],
    profile: tuple[int, int, int],
) -> None:
    if recorded is not None:
        bundle = replace(bundle, manifest={**bundle.manifest, "engine_batches": recorded})
    deck.open(bundle, **{"max_batch": None, **config})
    ((_, *shapes),) = deck.recorder.of("IOptimizationProfile.set_shape")
    assert tuple(shape[0] for shape in shapes) == profile


@pytest.mark.parametrize("recorded", [7, [4], [4, 2], [0, 2], ["1", "2"], None])
def test_batch_sizes_of_a_bundle_that_mean_nothing_are_refused(
    bundle: EncoderBundle, deck: FlightDeck, recorded: object
) -> None:
    damaged = replace(bundle, manifest={**bundle.manifest, "engine_batches": recorded})
    with pytest.raises(BundleError, match="manifest field 'engine_batches' is"):
        deck.open(damaged)


def test_a_layer_may_use_half_of_the_free_memory_and_a_gibibyte_at_most(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.host.total_bytes = 3 << 30
    deck.open(bundle)
    deck.start_process()
    deck.cache = deck.cache / "other"
    deck.host.total_bytes = 600 << 20
    deck.open(bundle)
    ((_, limit),) = deck.recorder.of("IBuilderConfig.set_memory_pool_limit")
    assert limit == 300 << 20


def test_every_node_that_cannot_run_is_named(own_encoder: Path, deck: FlightDeck) -> None:
    bundle = write_graph(own_encoder, "Det", "Relu", "Det")
    with pytest.raises(EngineError, match="cannot run Det 'node0', Det 'node2' of") as caught:
        deck.open(bundle)
    assert str(own_encoder / GRAPH) in str(caught.value)
    assert "fly with the engine onnxruntime" in str(caught.value)
    assert deck.device.closed


def test_many_nodes_that_cannot_run_are_counted(own_encoder: Path, deck: FlightDeck) -> None:
    bundle = write_graph(own_encoder, *["Det"] * 8)
    with pytest.raises(EngineError, match="Det 'node4' and 3 more of"):
        deck.open(bundle)


def test_a_graph_of_garbage_is_refused(own_encoder: Path, deck: FlightDeck) -> None:
    (own_encoder / GRAPH).write_bytes(b"\x01\x02 no graph")
    seal_again(own_encoder)
    with pytest.raises(EngineError, match=r"cannot read .*encoder.onnx: Failed to parse"):
        deck.open(load_encoder_bundle(own_encoder))


def test_a_graph_that_was_altered_is_found_before_it_is_built(
    own_encoder: Path, deck: FlightDeck
) -> None:
    content = bytearray((own_encoder / GRAPH).read_bytes())
    content[len(content) // 2] ^= 1
    (own_encoder / GRAPH).write_bytes(content)
    with pytest.raises(BundleError, match=r"encoder.onnx was altered"):
        deck.open(load_encoder_bundle(own_encoder))
    assert deck.behaviour.builds == 0


def test_a_graph_with_a_fixed_batch_is_refused(own_encoder: Path, deck: FlightDeck) -> None:
    bundle = write_graph(own_encoder, "Relu", batch=4)
    with pytest.raises(EngineError, match="takes batches of 4 only"):
        deck.open(bundle)


def test_a_failed_build_says_why_and_how_much_memory_there_was(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.behaviour.build_fails = "Error Code 2: OutOfMemory\n(requested 9 GiB)"
    with pytest.raises(EngineError, match=r"cannot build .*OutOfMemory.*1,024 MiB of") as caught:
        deck.open(bundle)
    assert "\n" not in str(caught.value)
    assert deck.engine_folders() == []
    assert deck.device.closed


def test_ctrl_c_ends_a_build_and_keeps_nothing(bundle: EncoderBundle, deck: FlightDeck) -> None:
    deck.behaviour.stopped_at_step = 1
    with pytest.raises(KeyboardInterrupt):
        deck.open(bundle)
    assert deck.engine_folders() == []
    assert deck.device.closed


class CountingBar:
    """A bar that counts, and is interrupted at one of its updates."""

    def __init__(self, interrupted_at: int = -1) -> None:
        self.total = 0
        self.done = 0
        self.phases: list[str] = []
        self.updates = 0
        self._interrupted_at = interrupted_at

    def __enter__(self) -> CountingBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, steps: int = 1) -> None:
        self.updates += 1
        if self.updates == self._interrupted_at:
            raise KeyboardInterrupt
        self.done += steps

    def set_postfix_str(self, text: str) -> None:
        self.phases.append(text)


def test_progress_counts_every_step_also_of_phases_cut_short(
    bundle: EncoderBundle, deck: FlightDeck, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = CountingBar()
    monkeypatch.setattr(tensorrt_build, "progress_bar", lambda *_: bar)
    deck.open(bundle)
    assert bar.phases == ["Building engine", "Timing tactics"]
    assert (bar.done, bar.total) == (7, 7)


def test_builds_go_on_without_a_progress_interface(bundle: EncoderBundle, deck: FlightDeck) -> None:
    del deck.library.module.IProgressMonitor
    deck.open(bundle)
    assert deck.behaviour.builds == 1


def test_a_second_build_uses_the_timings_of_the_first(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.open(bundle)
    deck.start_process()
    deck.open(bundle, max_batch=2)
    assert deck.recorder.of("IBuilderConfig.create_timing_cache") == [(b"timed",)]
    (timings,) = deck.cache.glob("*.timings")
    assert timings.name == "tensorrt10.3.0-orin-sm_87-8sm.timings"
    assert timings.read_bytes() == b"timedtimed"


def test_timings_that_do_not_fit_are_started_afresh(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.open(bundle)
    deck.start_process()
    deck.behaviour.refuses_timings = True
    deck.open(bundle, max_batch=2)
    (timings,) = deck.cache.glob("*.timings")
    assert timings.read_bytes() == b"timed"


# From here on with the real TensorRT-RTX.


def test_tensorrt_rtx_builds_the_sample_encoder() -> None:
    built = build_with_rtx(load_encoder_bundle(SAMPLE_ENCODER))
    assert len(built.plan) > 1_000_000
    assert built.timing_cache is None


def test_tensorrt_rtx_names_the_nodes_that_it_cannot_run(own_encoder: Path) -> None:
    bundle = write_graph(own_encoder, "Det")
    with pytest.raises(EngineError, match=r"cannot run Det 'node0' of .*encoder.onnx") as caught:
        build_with_rtx(bundle)
    assert "\n" not in str(caught.value)
    bundle = write_graph(own_encoder, "Sparkle", domain="nobody")
    with pytest.raises(EngineError, match=r"cannot run Sparkle 'node0' of"):
        build_with_rtx(bundle)


@pytest.mark.parametrize("content", [b"", b"\x01\x02 no graph"])
def test_tensorrt_rtx_refuses_what_is_no_graph(own_encoder: Path, content: bytes) -> None:
    (own_encoder / GRAPH).write_bytes(content)
    seal_again(own_encoder)
    with pytest.raises(EngineError, match=r"encoder.onnx") as caught:
        build_with_rtx(load_encoder_bundle(own_encoder))
    assert "\n" not in str(caught.value)


def test_tensorrt_rtx_reports_its_progress(
    bundle: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = CountingBar()
    monkeypatch.setattr(tensorrt_build, "progress_bar", lambda *_: bar)
    build_with_rtx(bundle)
    assert bar.done == bar.total > 10
    assert len(bar.phases) > 3


def test_ctrl_c_ends_a_build_of_tensorrt_rtx(
    bundle: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar: Any = CountingBar(interrupted_at=5)
    monkeypatch.setattr(tensorrt_build, "progress_bar", lambda *_: bar)
    with pytest.raises(KeyboardInterrupt):
        build_with_rtx(bundle)
    assert bar.updates < 10
