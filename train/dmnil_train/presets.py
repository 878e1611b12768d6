"""Named recipes: the settings in which each differs from `TrainConfig`'s defaults.

`paper` is TrainConfig as it stands, with the paper's head; backbone and input come with the
weights, which have to be named. train/README.md tells what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edge_runtime.contract.errors import ConfigError

_NORTH_UP_AUGMENTATION = {
    "brightness": 0.4,
    "contrast": 0.5,
    "saturation": 0.6,
    "hue": 0.08,
    "gamma": 0.6,
    "shadow": 0.25,
    "blur": 0.3,
    "grey": 0.1,
    "erase": 0.3,
    "shift": 0.06,
    "rotation_deg": 10.0,
    "smallest_scale": 0.8,
    "largest_scale": 1.2,
    "perspective": 0.15,
    "flip": False,
}
_PAPER: dict[str, Any] = {"encoder.head": "gap"}
_SATELLITE_ONLY: dict[str, Any] = {
    "weights": "efficientnet-lite2",
    "dmnil": False,
    "frozen_parts": -1,
    "kept_views": 4,
    "freeze_batch_norm": True,
    "mirrored_features": False,
    "places.satellite_weight": 1.0,
    "optimiser.method": "adamw",
    "optimiser.learning_rate": 5e-4,
    "optimiser.weight_decay": 1e-2,
    "optimiser.schedule": "cosine",
    "batch.satellite_clusters": 32,
    "batch.satellite_instances": 1,
    "batch.drone_clusters": 32,
    "batch.drone_instances": 1,
    "trained_share": 0.5,
    "epochs": 4,
    "iterations": 66,
    **{f"satellite_augmentation.{name}": value for name, value in _NORTH_UP_AUGMENTATION.items()},
    **{f"drone_augmentation.{name}": value for name, value in _NORTH_UP_AUGMENTATION.items()},
}
_CROSS_VIEW: dict[str, Any] = {
    **_SATELLITE_ONLY,
    "places.cross_view_weight": 1.0,
    "matching.features": "grid",
}

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {"paper": _PAPER, "satellite-only": _SATELLITE_ONLY, "cross-view": _CROSS_VIEW}
)


def preset(name: str) -> Mapping[str, Any]:
    """A recipe's settings, by dotted name.

    Raises:
        ConfigError: If there is no such recipe.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset {name}: choose {', '.join(PRESETS)}")
    return PRESETS[name]
