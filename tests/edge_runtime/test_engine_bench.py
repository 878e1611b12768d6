"""The measurement of an engine, and the command that makes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime import engine_bench
from edge_runtime.cli import main
from edge_runtime.contract.encoder_bundle import GRAPH_FILES, EncoderBundle
from edge_runtime.engine_bench import (
    EngineBenchConfig,
    engine_bench_report,
    run_engine_bench,
)
from edge_runtime.engines import Engine, open_engine
from edge_runtime.engines.exchange import STAGES
from tests.small_map import seal_again

FEW = ("--warm-up=1", "--iterations=10", "--threads=1")


def test_each_batch_size_is_measured(encoder_folder: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "bench.json"
    arguments = ["bench", "--encoder", str(encoder_folder), "--batch=[1,8]", *FEW]
    assert main([*arguments, "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    results = json.loads(path.read_text())
    assert [entry["batch"] for entry in results["batches"]] == [1, 8]
    for entry in results["batches"]:
        latency = entry["latency_ms"]
        assert 0.0 < latency["min"] <= latency["median"] <= latency["percentile_99"]
        assert latency["percentile_99"] <= latency["max"]
        per_second = entry["batch"] / latency["mean"] * 1e3
        assert entry["throughput_images_s"] == pytest.approx(per_second)
        assert entry["stages_ms"] == {}  # a processor copies nothing
        assert f"median = {latency['median']:.3f} ms" in printed
    assert results["golden_cosine_min"] > 0.9999
    assert "percentile(99%) = " in printed
    assert "batch 8, 10 iterations" in printed


def test_the_precision_that_really_runs_is_told(
    encoder_folder: Path, tmp_path: Path, capsys: Any
) -> None:
    folder = Path(shutil.copytree(encoder_folder, tmp_path / "own.encoder"))
    for precision in ("int8", "int8-cpu"):
        shutil.copy(folder / GRAPH_FILES["fp32"], folder / GRAPH_FILES[precision])
    seal_again(folder)
    path = tmp_path / "bench.json"
    arguments = ["bench", "--encoder", str(folder), "--precision=int8", *FEW]
    assert main([*arguments, "--json", str(path)]) == 0
    assert capsys.readouterr().out.startswith("onnxruntime, int8-cpu, ")
    results = json.loads(path.read_text())
    assert results["precision"] == "int8-cpu"
    assert results["config"]["precision"] == "int8"


def test_an_engine_on_a_device_tells_where_its_time_goes(
    bundle: EncoderBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Staged:
        def __init__(self, engine: Engine) -> None:
            self._engine = engine

        def encode(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return self._engine.encode(images)

        def encode_in_stages(
            self, images: npt.NDArray[np.uint8]
        ) -> tuple[npt.NDArray[np.float32], dict[str, float]]:
            return self.encode(images), {"h2d": 1.0, "compute": 5.0, "d2h": 0.25}

    staged = Staged(open_engine(bundle))
    monkeypatch.setattr(engine_bench, "open_engine_as_set", lambda *_, **__: staged)
    results = run_engine_bench(EngineBenchConfig(bundle.folder, warm_up=1, iterations=10))
    [entry] = results["batches"]
    medians = {stage: figures["median"] for stage, figures in entry["stages_ms"].items()}
    assert medians == {"h2d": 1.0, "compute": 5.0, "d2h": 0.25}
    report = engine_bench_report(results)
    assert tuple(medians) == STAGES
    assert all(title in report for title in ("H2D Latency", "Compute Time", "D2H Latency"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--engine=tensorrt"], "needs --encoder"),
        (["--batch=[0]", "--encoder=x"], "1 or more"),
        (["--batch=[]", "--encoder=x"], "1 or more"),
        (["--iterations=5", "--encoder=x"], "10 iterations"),
        (["--threads=-1", "--encoder=x"], "threads must be 0 or more"),
        (["--encoder=nowhere.encoder"], "nowhere.encoder"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    arguments: list[str], complaint: str, capsys: Any
) -> None:
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert complaint in error
    assert "\n" not in error
