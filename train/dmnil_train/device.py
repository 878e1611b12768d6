"""Where a network runs: the processor, or one of the GPUs."""

from __future__ import annotations

import torch

from edge_runtime.contract.errors import ConfigError


def chosen_device(name: str, local_rank: int = 0) -> torch.device:
    """The device of a name.

    Args:
        name: cpu, cuda, a certain GPU such as cuda:1, or auto: a GPU where there is one.
        local_rank: Which GPU to take where the name leaves it open.
    Raises:
        ConfigError: If the device is not to be had.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _unknown(name) from error
    if device.type not in ("cpu", "cuda"):
        raise _unknown(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError(
                f"device {name!r} cannot be used: PyTorch finds no NVIDIA GPU: use --device cpu"
            )
        if device.index is None:
            device = torch.device("cuda", local_rank)
        if (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(
                f"device {name!r} cannot be used: there is no {device}, "
                f"{torch.cuda.device_count()} GPUs are here"
            )
    return device


def _unknown(name: str) -> ConfigError:
    return ConfigError(
        f"device is {name!r}: choose cpu, cuda, cuda:N or auto; {name!r} cannot be used"
    )
