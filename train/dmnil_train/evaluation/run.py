"""The evaluation command: open an encoder, score it, report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dmnil_train.data.pool import RetrievalTask
from dmnil_train.evaluation.evaluate import (
    EmbeddingOptions,
    PoolEmbedder,
    TaskScores,
    evaluate_with,
    score_table,
)
from dmnil_train.evaluation.image_encoder import ImageEncoder, open_encoder
from dmnil_train.evaluation.robustness import RobustnessScores, robustness, robustness_table
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import ConfigError, EngineError, OutputError, SourceError

REPORT_KIND = "retrieval evaluation"
REPORT_SCHEMA_VERSION = 1
SATELLITE_QUERIES = "satellite->"
"""How the names of tasks begin whose queries are no drone pictures."""

Precision = Literal["fp32", "fp16", "int8", "int8-cpu"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate and how."""

    encoder: Path
    """Encoder bundle (a folder) or checkpoint (.safetensors)."""
    batch_size: int = 64
    """Images encoded at a time."""
    device: str = "auto"
    """Where a checkpoint runs, such as cpu or cuda:0; auto takes the first GPU there is."""
    precision: Precision = "fp32"
    """A precision that the bundle holds; fp32 or fp16 for a checkpoint."""
    threads: int = 0
    """Processor threads that a bundle's engine may use; 0 leaves it to the engine."""
    readers: int = 0
    """Threads that decode pictures; 0 takes one a processor, up to 8."""
    mirror: bool = False
    """Describe each image by the mean of it and its mirror image."""
    remove_means: bool = False
    """Take each pool's own mean off its descriptors, as the runtime does; the paper does not."""
    headings: int = 1
    """Turn each satellite picture into so many headings, evenly spread, and take the most similar:
    for drone views in any heading."""
    robustness: bool = False
    """Also score the drone's pictures in fog, rain, snow, at night, blurred, badly exposed and
    heavily compressed, each at three severities."""
    robustness_queries: int = 1000
    """Queries of each task to corrupt, evenly spread; 0 takes all."""
    seed: int = 0
    """Seed of the corruptions."""
    json: Path | None = None
    """Also write the scores to this file."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, is {self.batch_size}")
        if self.headings < 1:
            raise ConfigError(f"headings must be at least 1, is {self.headings}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}: choose {', '.join(PRECISIONS)}")
        for name in ("threads", "readers", "robustness_queries", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more, is {getattr(self, name)}")


@dataclass(frozen=True)
class EvaluationReport:
    """Scores, and the encoder and settings that they belong to."""

    encoder: str
    encoder_sha256: str | None
    input_height: int
    input_width: int
    precision: str
    mirror: bool
    remove_means: bool
    headings: int
    seed: int
    tasks: tuple[TaskScores, ...]
    robustness: tuple[RobustnessScores, ...]

    def table(self) -> str:
        """Everything as a person reads it; scores in percent."""
        identity = f" ({self.encoder_sha256[:12]})" if self.encoder_sha256 else ""
        settings = [f"{self.input_height}x{self.input_width}", self.precision]
        settings += ["mean of image and mirror image"] if self.mirror else []
        settings += ["each pool's mean removed"] if self.remove_means else []
        settings += [f"the best of {self.headings} headings"] if self.headings > 1 else []
        parts = [
            f"{self.encoder}{identity}, {', '.join(settings)}",
            score_table(self.tasks),
            *(robustness_table(scores) for scores in self.robustness),
        ]
        return "\n\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON takes it; shares in 0-1. The same run gives the same document."""
        return {"kind": REPORT_KIND, "schema_version": REPORT_SCHEMA_VERSION, **asdict(self)}


def run_evaluation(
    config: EvaluateConfig, open_tasks: Callable[[int, int], Sequence[RetrievalTask]]
) -> EvaluationReport:
    """Open the encoder, then the tasks at its input size; score them; write the JSON if wanted.

    Args:
        open_tasks: Given the encoder's input height and width, such as
            `functools.partial(open_retrieval_tasks, data_config)`.
    Raises:
        SourceError: If there is nothing to evaluate, or a pool cannot be read.
        BundleError: If the encoder cannot be used.
        EngineError: If it fails, or what it returns is not finite.
        ConfigError: If the device or precision is not to be had, or headings are to be searched
            where there is nothing to turn.
        OutputError: If the JSON cannot be written.
    """
    if config.json is not None:
        _require_writable(config.json)
    encoder: ImageEncoder = open_encoder(
        config.encoder, config.device, config.precision, config.threads
    )
    tasks = open_tasks(encoder.height, encoder.width)
    if not tasks:
        raise SourceError(
            "there is nothing to evaluate: true places are needed, of a region in data.truth"
        )
    options = EmbeddingOptions(
        config.batch_size, config.mirror, config.remove_means, config.readers, config.headings
    )
    embedder = PoolEmbedder(encoder, options)
    held_up: list[RobustnessScores] = []
    try:
        scores = evaluate_with(embedder, tasks)
        if config.robustness:
            held_up = [
                robustness(embedder, task, config.robustness_queries, config.seed)
                for task in tasks
                if not task.name.startswith(SATELLITE_QUERIES)
            ]
    except EngineError as error:
        raise EngineError(f"{config.encoder}: {error}") from error
    report = EvaluationReport(
        encoder=config.encoder.name,
        encoder_sha256=encoder.sha256,
        input_height=encoder.height,
        input_width=encoder.width,
        precision=config.precision,
        mirror=config.mirror,
        remove_means=config.remove_means,
        headings=config.headings,
        seed=config.seed,
        tasks=tuple(scores),
        robustness=tuple(held_up),
    )
    if config.json is not None:
        text = json.dumps(report.as_json(), indent=2, allow_nan=False)
        write_whole(config.json, f"{text}\n", parents=True)
    return report


def _require_writable(path: Path) -> None:
    """Find out now, not after an hour of encoding, that a file cannot be written."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name the JSON file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path} cannot be written: {path.parent} is write-protected")
