"""Kept and given engines, over a double of TensorRT."""

from __future__ import annotations

import fcntl
import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.contract.encoder_bundle import (
    GRAPH_FILES,
    EncoderBundle,
    load_encoder_bundle,
)
from edge_runtime.contract.errors import EngineError, OutputError
from edge_runtime.engines.device_memory import Gpu
from edge_runtime.engines.tensorrt_artefact import PLAN_FILE
from edge_runtime.engines.tensorrt_cache import default_cache_folder
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.engines.tensorrt_preparation import export_engine
from tests.edge_runtime.nvidia.flight_deck import FlightDeck
from tests.edge_runtime.nvidia.host_gpu import ORIN
from tests.small_map import rewrite_manifest
from tests.tiny_encoder import write_tiny_encoder
from tests.waiting import PATIENCE_S, wait_until

PICTURES = np.zeros((1, 64, 64, 3), np.uint8)
SMALLER_ORIN = replace(ORIN, multiprocessors=4)
XAVIER = Gpu("Xavier", (7, 2), 8, (12, 6))


@pytest.fixture
def deck(tmp_path: Path) -> FlightDeck:
    return FlightDeck(tmp_path / "engines")


@pytest.fixture
def built(bundle: EncoderBundle, deck: FlightDeck) -> FlightDeck:
    """A machine that has flown once, about to start again."""
    deck.open(bundle).close()
    deck.start_process()
    return deck


def another_machine(deck: FlightDeck, version: str = "10.3.0", gpu: Gpu = ORIN) -> FlightDeck:
    return FlightDeck(deck.cache, version, gpu)


def test_the_second_start_loads_what_the_first_has_built(
    bundle: EncoderBundle, built: FlightDeck
) -> None:
    built.open(bundle).encode(PICTURES)
    assert built.behaviour.builds == 0
    assert "Builder" not in built.recorder.names()


def test_an_engines_name_tells_what_it_was_built_for(
    bundle: EncoderBundle, built: FlightDeck
) -> None:
    (folder,) = built.engine_folders()
    prefix = bundle.encoder_sha256[:8]
    assert folder.name.startswith(f"{prefix}-fp32-tensorrt10.3.0-sm_87-")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["gpu"] == "Orin"
    assert manifest["onnx_sha256"] == bundle.encoder_sha256
    assert manifest["max_batch"] == 6


@pytest.mark.parametrize(
    ("version", "gpu"), [("10.16.1.11", ORIN), ("10.3.0", XAVIER), ("10.3.0", SMALLER_ORIN)]
)
def test_another_version_or_gpu_builds_its_own_beside_it(
    bundle: EncoderBundle, built: FlightDeck, version: str, gpu: Gpu
) -> None:
    other = another_machine(built, version, gpu)
    other.open(bundle)
    assert other.behaviour.builds == 1
    assert len(built.engine_folders()) == 2
    built.open(bundle)
    assert built.behaviour.builds == 0


def test_another_encoder_builds_its_own(built: FlightDeck, tmp_path: Path) -> None:
    other = load_encoder_bundle(write_tiny_encoder(tmp_path / "other.encoder", cells=8))
    built.open(other)
    assert built.behaviour.builds == 1
    assert len(built.engine_folders()) == 2


@pytest.mark.parametrize("recorded", [[2, 16], [1, 8]])
def test_a_bundle_for_other_batches_has_an_engine_of_its_own(
    bundle: EncoderBundle, deck: FlightDeck, recorded: list[int]
) -> None:
    deck.open(bundle, max_batch=None)
    other = replace(bundle, manifest={**bundle.manifest, "engine_batches": recorded})
    for builds in (1, 0):  # built once, then found again
        deck.start_process()
        deck.open(other, max_batch=None)
        assert deck.behaviour.builds == builds
    assert len(deck.engine_folders()) == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_engine_is_built_again(
    bundle: EncoderBundle, built: FlightDeck, share: float, caplog: pytest.LogCaptureFixture
) -> None:
    (folder,) = built.engine_folders()
    plan = (folder / PLAN_FILE).read_bytes()
    (folder / PLAN_FILE).write_bytes(plan[: int(share * len(plan))])
    built.open(bundle)
    assert built.behaviour.builds == 1
    assert caplog.text.count("building the engine again") == 1
    assert (folder / PLAN_FILE).read_bytes() == plan


def test_an_altered_engine_never_reaches_tensorrt(bundle: EncoderBundle, built: FlightDeck) -> None:
    (folder,) = built.engine_folders()
    plan = bytearray((folder / PLAN_FILE).read_bytes())
    plan[-10] ^= 1
    (folder / PLAN_FILE).write_bytes(plan)
    built.open(bundle)
    assert built.behaviour.builds == 1
    assert built.recorder.names().count("Runtime.deserialize_cuda_engine") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tensorrt_version": "10.2.0"},
        {"gpu": "Xavier"},
        {"precision": "fp16"},
        {"onnx_sha256": "0" * 64},
        {"schema_version": 99},
        {"multiprocessors": "eight"},
    ],
)
def test_a_kept_engine_that_is_not_what_its_name_says_is_built_again(
    bundle: EncoderBundle, built: FlightDeck, changes: dict[str, object]
) -> None:
    (folder,) = built.engine_folders()
    rewrite_manifest(folder, **changes)
    built.open(bundle)
    assert built.behaviour.builds == 1
    assert built.engine_folders() == [folder]


def test_a_kept_engine_that_tensorrt_refuses_is_built_again(
    bundle: EncoderBundle, built: FlightDeck, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = built.library.module.Runtime
    load = runtime.deserialize_cuda_engine
    refusals = [None]

    def refuse_once(self: Any, plan: bytes) -> Any:
        return refusals.pop() if refusals else load(self, plan)

    monkeypatch.setattr(runtime, "deserialize_cuda_engine", refuse_once)
    built.open(bundle).encode(PICTURES)
    assert built.behaviour.builds == 1


def test_an_engine_that_cannot_be_loaded_even_when_new_is_an_error(
    bundle: EncoderBundle, deck: FlightDeck
) -> None:
    deck.behaviour.load_fails = "Version tag does not match"
    with pytest.raises(EngineError, match=r"cannot load the engine that it has built: Version tag"):
        deck.open(bundle)


def test_a_cache_that_cannot_be_written_warns_and_flies(
    bundle: EncoderBundle, deck: FlightDeck, caplog: pytest.LogCaptureFixture
) -> None:
    deck.cache.write_text("a file where the folder should be")
    assert deck.open(bundle).encode(PICTURES).shape == (1, 49)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "the engine will be built again at the next start" in warning
    assert str(deck.cache) in warning


def test_the_second_of_two_processes_waits_and_loads_what_the_first_has_built(
    bundle: EncoderBundle, built: FlightDeck, caplog: pytest.LogCaptureFixture
) -> None:
    (folder,) = built.engine_folders()
    away = folder.rename(folder.with_name("not yet"))
    outcome: list[int] = []
    waiter = threading.Thread(
        target=lambda: outcome.append(len(built.open(bundle).encode(PICTURES)))
    )
    with folder.with_suffix(".lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        waiter.start()
        assert wait_until(lambda: "waiting for it" in caplog.text)
        assert f"another process is building {folder.name}: waiting for it" in caplog.text
        assert outcome == []
        away.rename(folder)
    waiter.join(PATIENCE_S)
    assert outcome == [1]
    assert built.behaviour.builds == 0


def test_a_builder_that_was_killed_blocks_nobody(bundle: EncoderBundle, built: FlightDeck) -> None:
    (folder,) = built.engine_folders()
    (folder / PLAN_FILE).unlink()
    script = (
        "import fcntl, sys\n"
        "stream = open(sys.argv[1], 'w')\n"
        "fcntl.flock(stream, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(folder.with_suffix(".lock"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        other.kill()
    built.open(bundle)
    assert built.behaviour.builds == 1


def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/drone")
    assert default_cache_folder() == Path("/var/cache/drone/dmnil-edge/engines")
    monkeypatch.setenv("HOME", "/home/pilot")
    for unset in ("", "relative/is/invalid"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert default_cache_folder() == Path("/home/pilot/.cache/dmnil-edge/engines")


# An engine that the user names.


@pytest.fixture
def given(bundle: EncoderBundle, deck: FlightDeck, tmp_path: Path) -> Path:
    folder = tmp_path / "mine.engine"
    config = TensorRtConfig(max_batch=4, cache_folder=deck.cache)
    export_engine(bundle, "fp32", folder, config, deck.library, deck.device)
    assert deck.device.closed
    deck.start_process()
    return folder


def test_a_given_engine_flies_without_a_build_in_its_own_batch_size(
    bundle: EncoderBundle, deck: FlightDeck, given: Path
) -> None:
    engine = deck.open(bundle, engine_folder=given, max_batch=16)
    assert engine.encode(np.repeat(PICTURES, 9, axis=0)).shape == (9, 49)
    assert deck.behaviour.builds == 0
    assert deck.engine_folders() == []


@pytest.mark.parametrize(
    ("version", "gpu", "complaint"),
    [
        (
            "10.16.1.11",
            ORIN,
            "mine.engine: engine was built for TensorRT 10.3.0 on sm_87, this is 10.16.1.11 on "
            "sm_87: run dmnil-export --engine",
        ),
        (
            "10.3.0",
            XAVIER,
            "engine was built for TensorRT 10.3.0 on sm_87, this is 10.3.0 on sm_72: run dmnil-",
        ),
        (
            "10.3.0",
            SMALLER_ORIN,
            "engine was built for TensorRT 10.3.0 on sm_87 (Orin, 8 multiprocessors), this is "
            "10.3.0 on sm_87 (Orin, 4 multiprocessors): run dmnil-export --engine",
        ),
    ],
)
def test_a_given_engine_of_another_machine_is_refused_and_kept(
    bundle: EncoderBundle, deck: FlightDeck, given: Path, version: str, gpu: Gpu, complaint: str
) -> None:
    other = another_machine(deck, version, gpu)
    with pytest.raises(EngineError) as caught:
        other.open(bundle, engine_folder=given)
    assert complaint in str(caught.value)
    assert other.device.closed
    assert other.behaviour.builds == 0
    assert "Runtime.deserialize_cuda_engine" not in other.recorder.names()
    deck.open(bundle, engine_folder=given)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"precision": "int8"}, "engine was built in int8, fp32 is asked for: run dmnil-export"),
        ({"onnx_sha256": "ab" * 32}, "built from another encoder .abababababab, the bundle's is "),
        ({"kind": "region map"}, "describes a 'region map', not a TensorRT engine"),
    ],
)
def test_a_given_engine_of_another_graph_is_refused(
    bundle: EncoderBundle, deck: FlightDeck, given: Path, changes: dict[str, str], complaint: str
) -> None:
    rewrite_manifest(given, **changes)
    with pytest.raises(EngineError, match=complaint):
        deck.open(bundle, engine_folder=given)
    assert deck.behaviour.builds == 0


def test_a_given_engine_that_is_cut_short_altered_or_missing_is_refused(
    bundle: EncoderBundle, deck: FlightDeck, given: Path
) -> None:
    plan = (given / PLAN_FILE).read_bytes()
    (given / PLAN_FILE).write_bytes(plan[:-1])
    with pytest.raises(EngineError, match="copy it again"):
        deck.open(bundle, engine_folder=given)
    (given / PLAN_FILE).write_bytes(plan[:-1] + b"?")
    with pytest.raises(EngineError, match="was altered"):
        deck.open(bundle, engine_folder=given)
    (given / PLAN_FILE).unlink()
    with pytest.raises(EngineError, match="is missing"):
        deck.open(bundle, engine_folder=given)
    with pytest.raises(EngineError, match="no such directory"):
        deck.open(bundle, engine_folder=given.with_name("nothing.engine"))


def test_a_given_engine_that_tensorrt_refuses_is_an_error(
    bundle: EncoderBundle, deck: FlightDeck, given: Path
) -> None:
    deck.behaviour.load_fails = "Error Code 6: The engine plan file is not compatible"
    with pytest.raises(
        EngineError, match=r"cannot load .*mine.engine: Error Code 6: The engine pl"
    ):
        deck.open(bundle, engine_folder=given)


def test_an_engine_is_not_written_over_something_else(
    bundle: EncoderBundle, deck: FlightDeck, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / GRAPH_FILES["fp32"]).write_text("mine")
    config = TensorRtConfig(cache_folder=deck.cache)
    with pytest.raises(OutputError, match="is not a TensorRT engine: choose another output"):
        export_engine(bundle, "fp32", target, config, deck.library, deck.device)
    assert (target / GRAPH_FILES["fp32"]).read_text() == "mine"
