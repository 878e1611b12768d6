"""How fast an engine encodes: latencies and throughput, under the names that trtexec uses."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.encoder_bundle import EncoderBundle, load_encoder_bundle
from edge_runtime.contract.errors import ConfigError
from edge_runtime.engines import Engine, precision_run
from edge_runtime.engines.exchange import STAGES
from edge_runtime.engines.golden_check import golden_cosine
from edge_runtime.engines.tensorrt_config import TensorRtConfig
from edge_runtime.opening import open_engine_as_set

_TITLES = {"h2d": "H2D Latency", "compute": "Compute Time", "d2h": "D2H Latency"}
_PERCENTILES = (90, 95, 99)


@runtime_checkable
class StagedEngine(Protocol):
    """An engine on a device, which can tell where a batch's time goes."""

    def encode_in_stages(
        self, images: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], dict[str, float]]:
        """Descriptors, and milliseconds of `h2d`, `compute` and `d2h`, each waited for."""
        ...


@dataclass(frozen=True)
class EngineBenchConfig:
    """What to measure."""

    encoder: Path
    """Encoder bundle, NAME.encoder, whose engine is to be measured."""
    engine: str = "onnxruntime"
    """Inference engine: onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt or tensorrt."""
    precision: str = "fp32"
    """Graph to run: fp32, fp16, int8 or int8-cpu; on a processor int8 runs int8-cpu."""
    batch: tuple[int, ...] = (1,)
    """Pictures at a time; several sizes one after another."""
    threads: int = 0
    """Processor threads of the engine; 0 leaves it to the engine."""
    warm_up: int = 20
    """Batches before the measurement."""
    iterations: int = 200
    """Batches measured, of each size."""
    seed: int = 0
    """Seed of the pictures, which are noise: an encoder's time does not depend on them."""
    tensorrt: TensorRtConfig = field(default_factory=TensorRtConfig)

    def __post_init__(self) -> None:
        if not self.batch or min(self.batch) < 1 or self.warm_up < 1 or self.iterations < 10:
            raise ConfigError("bench needs batches and a warm-up of 1 or more, 10 iterations")
        if self.threads < 0:
            raise ConfigError(f"threads must be 0 or more, is {self.threads}")


def run_engine_bench(config: EngineBenchConfig) -> dict[str, Any]:
    """Open the engine and measure each batch size; times in milliseconds of host time.

    Raises:
        BundleError: If the bundle is unusable or lacks the precision.
        EngineError: If the engine cannot be opened or fails.
    """
    started = time.perf_counter()
    bundle = load_encoder_bundle(config.encoder)
    precision = precision_run(bundle, config.precision, config.engine)
    engine = open_engine_as_set(bundle, config, golden_check=False)
    opened = time.perf_counter()
    cosine = golden_cosine(engine, bundle)
    checked = time.perf_counter()
    return {
        "config": json.loads(json.dumps(asdict(config), default=str)),
        "precision": precision,
        "encoder_sha256": bundle.encoder_sha256,
        "input": [bundle.input_height, bundle.input_width, 3],
        "open_ms": (opened - started) * 1e3,
        "golden_check_ms": (checked - opened) * 1e3,
        "golden_cosine_min": cosine,
        "batches": [_measured(engine, bundle, config, count) for count in config.batch],
    }


def engine_bench_report(results: dict[str, Any]) -> str:
    """The results as lines that read like trtexec's summary."""
    config = results["config"]
    lines = [
        f"{config['engine']}, {results['precision']}, {results['encoder_sha256'][:12]}: opened in "
        f"{results['open_ms']:.0f} ms, golden check {results['golden_check_ms']:.0f} ms, worst "
        f"cosine {results['golden_cosine_min']:.6f}"
    ]
    for entry in results["batches"]:
        lines.append(f"batch {entry['batch']}, {entry['iterations']} iterations")
        lines.append(f"  Throughput: {entry['throughput_images_s']:.1f} images/s")
        lines.append(f"  Latency: {_line(entry['latency_ms'])}")
        for stage in STAGES:
            if stage in entry["stages_ms"]:
                lines.append(f"  {_TITLES[stage]}: {_line(entry['stages_ms'][stage])}")
    return "\n".join(lines)


def _measured(
    engine: Engine, bundle: EncoderBundle, config: EngineBenchConfig, count: int
) -> dict[str, Any]:
    """Warm up, time whole batches, then, where the engine can tell, each of their stages."""
    shape = (count, bundle.input_height, bundle.input_width, 3)
    images = np.random.default_rng(config.seed).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(config.warm_up):
        engine.encode(images)
    latencies_ms = np.empty(config.iterations)
    for iteration in range(config.iterations):
        began = time.perf_counter()
        engine.encode(images)
        latencies_ms[iteration] = (time.perf_counter() - began) * 1e3
    stages_ms: dict[str, list[float]] = {}
    if isinstance(engine, StagedEngine):
        for _ in range(config.iterations):
            for stage, spent_ms in engine.encode_in_stages(images)[1].items():
                stages_ms.setdefault(stage, []).append(spent_ms)
    return {
        "batch": count,
        "iterations": config.iterations,
        "throughput_images_s": count * config.iterations / latencies_ms.sum() * 1e3,
        "latency_ms": _figures(latencies_ms),
        "stages_ms": {stage: _figures(np.array(spent)) for stage, spent in stages_ms.items()},
    }


def _figures(times_ms: npt.NDArray[np.float64]) -> dict[str, float]:
    figures = {
        "min": float(times_ms.min()),
        "max": float(times_ms.max()),
        "mean": float(times_ms.mean()),
        "median": float(np.median(times_ms)),
    }
    for percentile in _PERCENTILES:
        figures[f"percentile_{percentile}"] = float(np.percentile(times_ms, percentile))
    return figures


def _line(figures: dict[str, float]) -> str:
    named = {name.replace("percentile_", "percentile("): value for name, value in figures.items()}
    parts = [
        f"{name}%) = {value:.3f} ms" if "(" in name else f"{name} = {value:.3f} ms"
        for name, value in named.items()
    ]
    return ", ".join(parts)
