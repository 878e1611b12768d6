"""The lines that a training run ends with: what it made, how good it is, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dmnil_train.reporting.durations import spoken_duration


@dataclass(frozen=True)
class RunSummary:
    """A run that has ended.

    Args:
        best: Checkpoint with the best scores; None where nothing was there to score with.
        last: Checkpoint of the last epoch.
        epochs: Epochs that the run has, earlier sessions counted.
        duration_s: How long this session took.
        best_epoch: Epoch of `best`; 0 where no training made it better than it began.
        best_scores: Its scores as printed, in order: {"R@1": 0.912}.
        page: The page of retrieval examples, if one was written.
        reason: Why the run ended before its last epoch, if it did.
    """

    best: Path | None
    last: Path
    epochs: int
    duration_s: float
    best_epoch: int | None = None
    best_scores: Mapping[str, float] = field(default_factory=dict)
    page: Path | None = None
    reason: str = ""


def closing_lines(run: RunSummary) -> str:
    """Several lines for the terminal; the last one is the command to run next."""
    lines = [("trained", f"{_epochs(run.epochs)} in {spoken_duration(run.duration_s)}")]
    if run.reason:
        lines[0] = ("trained", f"{lines[0][1]}; ended early: {run.reason}")
    if run.best is not None:
        lines.append(("best", f"{run.best}{_how_good(run)}"))
    lines.append(("last", f"{run.last}"))
    if run.page is not None:
        lines.append(("look at", f"{run.page}"))
    lines.append(("next", next_command(run.best or run.last)))
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{label:<{width}}  {text}" for label, text in lines)


def next_command(checkpoint: Path) -> str:
    """What makes an encoder bundle of a checkpoint, named as the run: RUN.run gives RUN.encoder."""
    name = checkpoint.absolute().parent.name.removesuffix(".run") or checkpoint.stem
    return shlex.join(["dmnil-export", str(checkpoint), "-o", f"{name}.encoder"])


def _how_good(run: RunSummary) -> str:
    parts = [f"{name} {score:.3f}" for name, score in run.best_scores.items()]
    if run.best_epoch == 0:
        parts.insert(0, "as it was before training, which made it no better")
    elif run.best_epoch is not None:
        parts.insert(0, f"epoch {run.best_epoch}")
    return f"  ({'  '.join(parts)})" if parts else ""


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"
