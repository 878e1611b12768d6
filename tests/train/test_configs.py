"""The example configurations are what the command takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmnil_train.cli import train
from edge_runtime.command_line import run_command

CONFIGS = sorted((Path(__file__).parents[2] / "train" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_example_configuration_is_understood(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(path), "-o", "x.run", "--print_config"]
    with pytest.raises(SystemExit) as end:
        run_command("dmnil-train", train, arguments)
    assert end.value.code == 0
    assert "layout: " in capsys.readouterr().out
