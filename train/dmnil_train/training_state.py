"""A run's state on disk, one file: enough to go on as if it had never been stopped.

Nothing else that a run leaves behind is needed to go on, but for its best checkpoint; all of it
follows from the state, is written after it, and once more on resuming.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from edge_runtime.contract.artefact import replace_file
from edge_runtime.contract.errors import OutputError, TrainingError

STATE_FILE = "state.safetensors"
_HEADER_KEY = "dmnil_training_state"
_SCHEMA_VERSION = 1
_ADVICE = "start there from its last.safetensors by --weights"


@dataclass
class Progress:
    """Where a run stands, between two epochs.

    Args:
        epoch: How many epochs are done.
        best_score: Of the evaluations so far.
        best_epoch: Epochs that were done when it was reached; none before the first evaluation.
        best_figures: What was measured then.
        without_gain: Evaluations since then.
        loss_scale: Of fp16 training.
        figures: What was measured in the last epoch.
        clusters: Of each view that was clustered, every image's label in the last epoch that
            found clusters.
    """

    epoch: int = 0
    best_score: float = -1.0
    best_epoch: int | None = None
    best_figures: dict[str, float] = field(default_factory=dict)
    without_gain: int = 0
    loss_scale: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    clusters: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedState:
    """A state as it was read; `restore` brings it back to life."""

    path: Path
    progress: Progress
    weights: dict[str, Tensor]
    moments: dict[str, Any]

    def restore(self, encoder: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
        """Bring a run's encoder and optimiser back, and tell where it stood.

        Raises:
            TrainingError: If the state is of another network.
        """
        try:
            encoder.load_state_dict(self.weights)
            optimiser.load_state_dict(self.moments)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(
                f"{self.path} does not fit this encoder: give the weights that the run started "
                "from, or another output"
            ) from error
        return self.progress


def save_state(
    folder: Path,
    config: dict[str, Any],
    progress: Progress,
    encoder: nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write the state: the whole file, or none; the old one stays until then.

    Raises:
        OutputError: If it cannot be written, as on a full disk.
    """
    moments = optimiser.state_dict()
    tensors = {f"encoder.{name}": value for name, value in encoder.state_dict().items()}
    plain: dict[str, dict[str, Any]] = {}
    for number, values in moments["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{number}.{name}"] = value
            else:
                plain.setdefault(str(number), {})[name] = value
    header = {
        "schema_version": _SCHEMA_VERSION,
        "config": config,
        "progress": vars(progress),
        "optimiser": {"groups": moments["param_groups"], "plain": plain},
    }
    content = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={_HEADER_KEY: json.dumps(header, sort_keys=True)},
    )
    path = folder / STATE_FILE
    try:
        replace_file(path, content, durable=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror}; the state before it is intact: make room and "
            "go on with --resume"
        ) from error


def read_state(folder: Path, config: dict[str, Any]) -> SavedState:
    """A run's state, to be gone on from with the same settings.

    Raises:
        TrainingError: If there is none, it is damaged, or belongs to other settings.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"{folder} holds no {STATE_FILE} to go on from: leave --resume out")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        version = header["schema_version"]
        if version == _SCHEMA_VERSION:
            saved_config = dict(header["config"])
            progress = Progress(**header["progress"])
            moments = _moments(tensors, header["optimiser"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path} is damaged ({error}): name another output, and {_ADVICE}"
        ) from error
    if version != _SCHEMA_VERSION:
        raise TrainingError(
            f"{path} has schema version {version}, this release reads {_SCHEMA_VERSION}: name "
            f"another output, and {_ADVICE}"
        )
    differing = sorted(_differing(saved_config, config))
    if differing:
        raise TrainingError(
            f"{folder} was trained with other settings ({', '.join(differing[:5])}): "
            "give the same, or another output"
        )
    weights = {
        name.removeprefix("encoder."): value
        for name, value in tensors.items()
        if name.startswith("encoder.")
    }
    return SavedState(path, progress, weights, moments)


def has_trained(folder: Path) -> bool:
    """Whether a run that has finished an epoch lies there; one that cannot be read counts."""
    path = folder / STATE_FILE
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER_KEY])
        return bool(header["progress"]["epoch"] > 0)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return True


def _moments(tensors: dict[str, Tensor], header: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {
        int(number): dict(values) for number, values in header["plain"].items()
    }
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, field_name = name.split(".", 2)
            state.setdefault(int(number), {})[field_name] = value
    return {"state": state, "param_groups": header["groups"]}


def _differing(saved: dict[str, Any], given: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of settings that differ; values are as JSON has them."""
    names: list[str] = []
    for name in saved.keys() | given.keys():
        before, now = saved.get(name), given.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            names += _differing(before, now, f"{prefix}{name}.")
        elif before != now:
            names.append(f"{prefix}{name}")
    return names
