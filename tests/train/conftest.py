from __future__ import annotations

import pytest

from dmnil_train.config import TrainConfig
from edge_runtime.contract.errors import TrainingError


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Configurations that the command arrives at, which then does not train."""
    found: list[TrainConfig] = []

    def refuse(config: TrainConfig) -> None:
        found.append(config)
        raise TrainingError("enough")

    monkeypatch.setattr("dmnil_train.loop.train", refuse)
    return found
