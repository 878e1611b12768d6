from __future__ import annotations

import pytest
import torch

from dmnil_train.device import chosen_device
from edge_runtime.contract.errors import ConfigError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
def test_a_process_takes_its_own_gpu_unless_one_is_named() -> None:
    assert chosen_device("auto") == chosen_device("cuda") == torch.device("cuda:0")
    assert chosen_device("auto", local_rank=1) == torch.device("cuda:1")
    assert chosen_device("cuda:0", local_rank=1) == torch.device("cuda:0")
    assert chosen_device("cpu", local_rank=1) == torch.device("cpu")


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_beyond_those_that_are_here_is_refused() -> None:
    refusal = "cannot be used: there is no cuda:2, 2 GPUs are here"
    for name, local_rank in (("cuda:2", 0), ("cuda", 2)):
        with pytest.raises(ConfigError, match=f"device '{name}' {refusal}"):
            chosen_device(name, local_rank)


def test_without_a_gpu_the_processor_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="finds no NVIDIA GPU: use --device cpu"):
        chosen_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:x", ""])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"device is '{name}': choose cpu, cuda, cuda:N or auto"):
        chosen_device(name)
