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
from typing import Any

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
from dmnil_train.training_state import STATE_FILE
from edge_runtime import __version__
from edge_runtime.contract.errors import OutputError

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
HISTORY_FILE = "history.json"
RETRIEVAL_FILE = "retrieval.html"
TENSORBOARD_FOLDER = "tensorboard"
# What may change between a run and its continuation without changing what is learnt.
_FREE_SETTINGS = ("output", "resume", "max_minutes", "patience", "device", "compile")


class RunFolder:
    """Writes what a run leaves behind; only the first process does.

    Args:
        start: Provenance of the weights that the run starts from.

    Raises:
        OutputError: If there is a run in the folder that is not to be resumed, or something else.
    """

    def __init__(self, config: TrainConfig, start: dict[str, Any], writes: bool) -> None:
        self._config = config
        self._start = start
        self._writes = writes
        self._scalars: ScalarLog | None = None
        everything = json.loads(json.dumps(dataclasses.asdict(config), default=str))
        self.settings: dict[str, Any] = {
            name: value for name, value in everything.items() if name not in _FREE_SETTINGS
        }
        if writes:
            self._open(everything)

    def _open(self, everything: dict[str, Any]) -> None:
        folder = self._config.output
        if not self._config.resume and folder.exists():
            if (folder / STATE_FILE).exists():
                raise OutputError(
                    f"{folder} holds a run: go on with it by --resume, or name another output"
                )
            if not folder.is_dir() or any(
                path.name not in (CONFIG_FILE, HISTORY_FILE, TENSORBOARD_FOLDER)
                for path in folder.iterdir()
            ):
                raise OutputError(f"{folder} holds something else: name another output")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CONFIG_FILE).write_text(
                yaml.safe_dump(everything, sort_keys=False), encoding="utf-8"
            )
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror}") from error

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

    def save_best(self, encoder: Encoder, epochs_done: int, figures: dict[str, float]) -> None:
        """Keep the encoder as the best one."""
        self._save(encoder, BEST_FILE, epochs_done, figures)

    def save_last(self, encoder: Encoder, epochs_done: int, figures: dict[str, float]) -> None:
        """Keep the encoder as the last one."""
        self._save(encoder, LAST_FILE, epochs_done, figures)

    def _save(
        self, encoder: Encoder, name: str, epochs_done: int, figures: dict[str, float]
    ) -> None:
        if self._writes:
            provenance = {
                "method": _method_of(self._config),
                "started_from": self._start,
                "licence": self._start.get("licence", "as the weights started from"),
                "settings": self.settings,
                "epochs": epochs_done,
                "figures": figures,
                "toolkit_version": __version__,
            }
            save_checkpoint(encoder, self._config.output / name, provenance)

    def report(self, epochs_done: int, figures: dict[str, float], is_best: bool) -> None:
        """Add an epoch's figures to the history, to TensorBoard and to the terminal."""
        if not self._writes:
            return
        row: dict[str, float | int | bool] = {"epoch": epochs_done, "epochs": self._config.epochs}
        row.update(figures)
        if is_best:
            row["is_best"] = True
        append_epoch(self._config.output / HISTORY_FILE, row)
        if self._scalars is not None:
            self._scalars.epoch(epochs_done, figures)
        sys.stderr.write(f"{epoch_line(row)}\n")

    def show_retrieval(self, task: RetrievalTask, embedder: PoolEmbedder, epoch: int) -> None:
        """Write the page of retrievals, and the same as a picture for TensorBoard."""
        queries = embedder.shared(task.queries, "queries").features
        gallery = embedder.shared(task.gallery, "gallery").features
        seed = self._config.seed
        write_retrieval_page(
            self._config.output / RETRIEVAL_FILE, task, queries, gallery, seed=seed
        )
        if self._scalars is not None:
            sheet = retrieval_sheet(task, queries, gallery, seed=seed)
            self._scalars.picture(epoch, "retrieval", sheet)


def _method_of(config: TrainConfig) -> str:
    parts = []
    if config.supervised:
        parts.append("supervised contrast (true places)")
    elif config.dmnil:
        parts.append("DMNIL (arXiv 2502.11381)")
    if config.places.satellite_weight > 0.0:
        parts.append("satellite tiles told apart")
    if config.places.cross_view_weight > 0.0:
        parts.append("drone images drawn to mutual neighbour tiles")
    return "; ".join(parts)
