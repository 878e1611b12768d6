"""A training run that takes a second: drawn pictures, a tiny encoder, few and small steps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from dmnil_train import loop
from dmnil_train.config import TrainConfig
from dmnil_train.data.config import DataConfig
from dmnil_train.encoder.checkpoint import load_checkpoint, save_checkpoint
from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder
from dmnil_train.run_folder import HISTORY_FILE, LAST_FILE

SIDE = 32
PLACES = 8
TEST_PLACES = 4
DRONE_VIEWS = 4
TINY_CONVNEXT = EncoderConfig(
    depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), input_height=SIDE, input_width=SIDE
)
STILL = {
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "shift": 0.0,
    "flip": False,
}
"""Augmentation that changes nothing."""


def write_tiny_university(folder: Path, places: int = PLACES, views: int = DRONE_VIEWS) -> Path:
    """Draw University-1652's folders: a place is some coloured fields, darker to the drone."""
    rng = np.random.default_rng(0)
    for place in range(places + TEST_PLACES):
        fields = rng.uniform(40, 215, (4, 4, 3))
        part, name = ("train", f"{place:04}") if place < places else ("test", f"{place:04}")
        is_test = part == "test"
        for kind in ("query_satellite", "gallery_satellite") if is_test else ("satellite",):
            _draw(folder / part / kind / name / f"{name}.png", fields, rng)
        for kind in ("query_drone", "gallery_drone") if is_test else ("drone",):
            for view in range(views):
                _draw(folder / part / kind / name / f"image-{view}.png", 0.7 * fields, rng)
    return folder


def write_tiny_start(folder: Path, places: int = PLACES, views: int = DRONE_VIEWS) -> Path:
    """Write what `tiny_settings` names: the dataset, and weights to start from."""
    write_tiny_university(folder / "u", places, views)
    write_tiny_encoder_weights(folder / "start.safetensors")
    return folder


def write_tiny_encoder_weights(
    path: Path, config: EncoderConfig = TINY_CONVNEXT, seed: int = 0
) -> Path:
    """Write a checkpoint of ours, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = Encoder(config)
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter, 0.0, 0.3)
    return save_checkpoint(encoder, path)


def tiny_settings(folder: Path) -> dict[str, Any]:
    """The paper's recipe on the drawn dataset, small; by dotted name, as on the command line."""
    return {
        "data.layout": "university1652",
        "data.root": folder / "u",
        "encoder.head": "gap",
        "data.cache": folder / "cache",
        "data.threads": 1,
        "weights": str(folder / "start.safetensors"),
        "output": folder / "a.run",
        "device": "cpu",
        "epochs": 4,
        "iterations": 3,
        "objective.inside_view_start": 1,
        "objective.cross_view_start": 1,
        "objective.shared_start": 2,
        "pseudo_labels.k1": 4,
        "pseudo_labels.k2": 2,
        "pseudo_labels.min_samples": 2,
        "pseudo_labels.drone_eps": 0.6,
        "batch.drone_clusters": 4,
        "batch.drone_instances": 2,
        "batch.satellite_clusters": 4,
        "batch.satellite_instances": 1,
    }


def kept_views_settings(folder: Path) -> dict[str, Any]:
    """The recipe beyond the paper: last part alone, on kept views, tiles told apart and matched."""
    return {
        **tiny_settings(folder),
        "dmnil": False,
        "frozen_parts": -1,
        "kept_views": 2,
        "freeze_batch_norm": True,
        "mirrored_features": False,
        "places.satellite_weight": 1.0,
        "places.cross_view_weight": 1.0,
        "optimiser.method": "adamw",
        "optimiser.schedule": "cosine",
        "batch.drone_instances": 1,
    }


def config_of(settings: dict[str, Any]) -> TrainConfig:
    """The configuration that dotted settings describe."""
    flat: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in settings.items():
        group, dot, field = name.partition(".")
        if dot:
            nested.setdefault(group, {})[field] = value
        else:
            flat[name] = value
    data = DataConfig(**nested.pop("data"))
    parts = {field.name: field.default_factory for field in dataclasses.fields(TrainConfig)}
    for group, values in nested.items():
        flat[group] = parts[group](**values)
    return TrainConfig(data, **flat)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: what is this small is only slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_tiny(settings: dict[str, Any], **changed: Any) -> Path:
    """Train by settings, some of them changed; returns the run's folder."""
    config = config_of({**settings, **changed})
    with one_thread():
        loop.train(config)
    return config.output


def history_of(run: Path) -> list[dict[str, Any]]:
    """A run's figures by epoch, without durations."""
    rows: list[dict[str, Any]] = json.loads((run / HISTORY_FILE).read_text())["epochs"]
    return [{name: row[name] for name in row if name != "duration_s"} for row in rows]


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights that a run ended with, by name."""
    return load_checkpoint(run / LAST_FILE).weights


def arguments_of(settings: dict[str, Any]) -> list[str]:
    """The same as words of the command line."""
    return [f"--{name}={_word(value)}" for name, value in settings.items()]


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _draw(path: Path, fields: np.ndarray, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noisy = (fields + rng.normal(0.0, 6.0, fields.shape)).clip(0, 255).astype(np.uint8)
    picture = cv2.resize(noisy, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} cannot be drawn")
