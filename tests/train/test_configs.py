"""The example configurations train what their files say, with the command that each names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dmnil_train import cli
from dmnil_train.config import TrainConfig

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "train" / "configs").glob("*.yaml"))


def command_in(text: str) -> list[str]:
    """Arguments of the `dmnil-train` command in a file's comments."""
    (command,) = re.findall(r"dmnil-train (-.*)", re.sub(r"\\\n# *", "", text))
    return shlex.split(command)


def leaves(values: dict[str, Any], names: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Dotted names and values."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*names, name))
        else:
            yield ".".join((*names, name)), value


def setting(config: TrainConfig, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return str(value) if isinstance(value, Path) else value


def differing(config: TrainConfig, wanted: dict[str, Any]) -> dict[str, Any]:
    found = {name: (setting(config, name), value) for name, value in leaves(wanted)}
    return {name: values for name, values in found.items() if values[0] != values[1]}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_command_in_an_example_trains_with_its_settings(
    path: Path, resolved: list[TrainConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = path.read_text(encoding="utf-8")
    command = command_in(text)
    assert command[command.index("--config") + 1] == str(path.relative_to(ROOT))
    assert cli.main(command) == 2
    (config,) = resolved
    assert differing(config, yaml.safe_load(text)) == {}
    assert config.dmnil is (path.stem == "university1652")  # the others tell places apart


def test_a_region_with_flights_trains_across_views(
    resolved: list[TrainConfig], tmp_path: Path
) -> None:
    text = (ROOT / "train/configs/region.yaml").read_text(encoding="utf-8")
    path = tmp_path / "region.yaml"
    path.write_text(re.sub(r"^#  ", "  ", text, flags=re.MULTILINE), encoding="utf-8")
    output = str(tmp_path / "region.run")
    assert cli.main(["--preset", "cross-view", "--config", str(path), "-o", output]) == 2
    (config,) = resolved
    assert config.data.drone_sources == (Path("flight1/frames"),)
    assert config.data.camera.focal_length_35mm == 24.0
    assert config.places.cross_view_weight > 0.0
