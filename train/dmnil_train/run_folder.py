"""A run's folder: settings, checkpoints, history, TensorBoard scalars, the page of retrievals.

NAME.run/
    config.yaml              every setting; --config takes it
    best.safetensors         encoder of the best evaluation
    last.safetensors         encoder of the last epoch
    state.safetensors        what --resume goes on from
    history.json             figures of every epoch
    retrieval.html           queries and what they found, of the last evaluation
    tensorboard/
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from dmnil_train.config import TrainConfig
from dmnil_train.data.pool import RetrievalTask
from dmnil_train.encoder.checkpoint import save_checkpoint
from dmnil_train.encoder.model import Encoder
from dmnil_train.evaluation.evaluate import PoolEmbedder
from dmnil_train.reporting.history import append_epoch, epoch_line
from dmnil_train.reporting.retrieval_page import write_retrieval_page
from dmnil_train.reporting.retrieval_sheet import retrieval_sheet
from dmnil_train.reporting.scalars import ScalarLog
from dmnil_train.training_state import (
    STATE_FILE,
    Progress,
    SavedState,
    has_trained,
    read_state,
    save_state,
)
from edge_runtime import __version__
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import OutputError, SourceError

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
HISTORY_FILE = "history.json"
RETRIEVAL_FILE = "retrieval.html"
TENSORBOARD_FOLDER = "tensorboard"
_BEFORE_STATE = (CONFIG_FILE, HISTORY_FILE, RETRIEVAL_FILE, TENSORBOARD_FOLDER)
# What may change between a run and its continuation without changing what is learnt.
_FREE_SETTINGS = (
    "feature_batch",
    "channels_last",
    "output",
    "resume",
    "max_minutes",
    "patience",
    "device",
    "compile",
)
_FREE_DATA_SETTINGS = ("cache", "threads")


class RunFolder:
    """Writes what a run leaves behind; only the first process does.

    Args:
        start: Provenance of the weights that the run starts from.
        writes: Whether this is the process that writes.

    Raises:
        OutputError: If a run lies in the folder that is not to be resumed, or something else.
        TrainingError: If what is to be resumed is not there, damaged, or has other settings.
    """

    def __init__(self, config: TrainConfig, start: dict[str, Any], writes: bool) -> None:
        self._config = config
        self._start = start
        self._writes = writes
        self._scalars: ScalarLog | None = None
        self._warned_of_page = False
        everything = json.loads(json.dumps(dataclasses.asdict(config), default=str))
        self.settings: dict[str, Any] = {
            name: value for name, value in everything.items() if name not in _FREE_SETTINGS
        }
        self.settings["data"] = {
            name: value
            for name, value in everything["data"].items()
            if name not in _FREE_DATA_SETTINGS
        }
        # A run elsewhere takes the same file, so it names neither this folder nor its past.
        self._shared_settings = {
            name: value for name, value in everything.items() if name not in ("output", "resume")
        }
        self.saved: SavedState | None = None
        if config.resume:
            self.saved = read_state(config.output, self.settings)
        else:
            _require_free(config.output)

    def open(self) -> None:
        """Make the folder and write the settings into it; once nothing can be wrong with them.

        Raises:
            OutputError: If the folder cannot be written.
        """
        if not self._writes:
            return
        folder = self._config.output
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(".*.part"):  # of a run that was killed while it wrote
                left_over.unlink()
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror}") from error
        settings = yaml.safe_dump(self._shared_settings, sort_keys=False)
        write_whole(folder / CONFIG_FILE, settings)

    @contextmanager
    def logs(self, first_epoch: int) -> Iterator[None]:
        """Hold the TensorBoard log open; what it holds of epochs from the first on is dropped."""
        if not self._writes:
            yield
            return
        with ScalarLog(self._config.output / TENSORBOARD_FOLDER, first_epoch) as scalars:
            self._scalars = scalars
            try:
                yield
            finally:
                self._scalars = None

    def commit(
        self,
        progress: Progress,
        encoder: Encoder,
        optimiser: torch.optim.Optimizer,
        blended: Encoder,
    ) -> None:
        """Keep what an epoch reached, the state first: the rest can be written again from it.

        Raises:
            OutputError: If something cannot be written; what was there before is intact.
        """
        if self._writes:
            save_state(self._config.output, self.settings, progress, encoder, optimiser)
        self.publish(progress, blended)

    def publish(self, progress: Progress, blended: Encoder) -> None:
        """Write what follows from the state: checkpoints, history, curves, a line.

        Args:
            blended: The encoder that is evaluated and saved.
        """
        if not self._writes:
            return
        self._save(blended, LAST_FILE, progress.epoch, progress.figures)
        is_best = progress.best_epoch == progress.epoch
        if is_best:
            self._save(blended, BEST_FILE, progress.epoch, progress.best_figures)
        if not progress.figures:
            return
        row: dict[str, float | int | bool] = {
            "epoch": progress.epoch,
            "epochs": self._config.epochs,
            **progress.figures,
        }
        if is_best and progress.epoch:
            row["is_best"] = True
        append_epoch(self._config.output / HISTORY_FILE, row)
        if self._scalars is not None:
            self._scalars.epoch(progress.epoch, progress.figures)
        sys.stderr.write(f"{epoch_line(row)}\n")

    def _save(
        self, encoder: Encoder, name: str, epochs_done: int, figures: dict[str, float]
    ) -> None:
        provenance = {
            "method": _method_of(self._config),
            "started_from": self._start,
            "licence": self._start.get("licence", "as the weights started from"),
            "settings": _without_folders(self.settings, self._config),
            "epochs": epochs_done,
            "figures": {name: value for name, value in figures.items() if name != "duration_s"},
            "toolkit_version": __version__,
        }
        save_checkpoint(encoder, self._config.output / name, provenance)

    def show_retrieval(self, task: RetrievalTask, embedder: PoolEmbedder, epoch: int) -> None:
        """Write the page of retrievals, and the same as a picture for TensorBoard.

        Training is worth more than its pictures: what fails here is a warning.
        """
        queries, gallery = (side.features for side in embedder.both_sides(task))
        seed = self._config.seed
        page = self._config.output / RETRIEVAL_FILE
        note = f"{self._config.output.name}, epoch {epoch} of {self._config.epochs}"
        try:
            write_retrieval_page(page, task, queries, gallery, seed=seed, note=note)
            if self._scalars is not None:
                sheet = retrieval_sheet(task, queries, gallery, seed=seed)
                self._scalars.picture(epoch, "retrieval", sheet)
        except (OutputError, SourceError) as error:
            if not self._warned_of_page:
                logger.warning("%s: training goes on, without its page of retrievals", error)
            self._warned_of_page = True


def _require_free(folder: Path) -> None:
    """Only what a run left that has finished no epoch may be written over."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file: name another output")
    if has_trained(folder):
        raise OutputError(
            f"{folder} holds a run: go on with it by --resume, or name another output"
        )
    began = (folder / STATE_FILE).exists()
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if not began and path.name not in _BEFORE_STATE and not path.name.endswith(".part")
    )
    if foreign:
        raise OutputError(f"{folder} holds something else ({foreign[0]}): name another output")


def _without_folders(settings: dict[str, Any], config: TrainConfig) -> dict[str, Any]:
    """The settings with files' names alone: where they lay is nobody's business elsewhere."""
    data = config.data
    named: dict[str, Any] = {
        "root": None if data.root is None else data.root.name,
        "satellite": None if data.satellite is None else data.satellite.name,
        "drone": [path.name for path in data.drone_sources],
        "telemetry": [path.name for path in data.telemetry_files],
        "truth": [path.name for path in data.truth_files],
    }
    weights = Path(config.weights).name
    return {**settings, "weights": weights, "data": {**settings["data"], **named}}


def _method_of(config: TrainConfig) -> str:
    parts = []
    if config.dmnil:
        supervised = "supervised contrast (true places)"
        parts.append(supervised if config.supervised else "DMNIL (arXiv 2502.11381)")
    if config.places.satellite_weight > 0.0:
        parts.append("satellite tiles told apart")
    if config.places.cross_view_weight > 0.0:
        drawn_to = "their true" if config.supervised else "mutual neighbour"
        parts.append(f"drone images drawn to {drawn_to} tiles")
    return "; ".join(parts)
