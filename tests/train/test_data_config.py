"""The data options as a command reads them, and what contradicts itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from dmnil_train.data.config import DataConfig
from edge_runtime.command_line import Action, run_command
from edge_runtime.contract.errors import ConfigError


@dataclass(frozen=True)
class Whole:
    """A command's options around the data's."""

    data: DataConfig
    epochs: int = 40


def parsed(*arguments: str) -> Whole:
    """What a command with a `data` option makes of its arguments."""
    taken: list[Whole] = []

    def command(parser: ArgumentParser) -> Action:
        """Train."""
        parser.add_argument("--config", action="config")
        parser.add_class_arguments(Whole, None)

        def act(options: Any) -> None:
            values = parser.instantiate(options).as_dict()
            values.pop("config")
            taken.append(Whole(**values))

        return act

    assert run_command("train", command, list(arguments)) == 0
    return taken[0]


def test_a_public_dataset_needs_only_its_layout_and_root() -> None:
    data = parsed("--data.layout", "university1652", "--data.root", "/u").data
    assert data == DataConfig("university1652", root=Path("/u"))
    assert data.drone_sources == ()


def test_a_region_is_given_by_flags() -> None:
    data = parsed(
        *("--data.layout", "region", "--data.satellite", "town.tif"),
        *("--data.drone", "frames", "--data.telemetry", "frames.csv"),
        *("--data.camera.pitch-deg", "-45", "--data.quality.lowest_height_m", "30"),
    ).data
    assert data.drone_sources == (Path("frames"),)
    assert data.telemetry_files == (Path("frames.csv"),)
    assert data.camera.pitch_deg == -45.0
    assert data.quality.lowest_height_m == 30.0


def test_several_flights_are_given_as_a_list() -> None:
    data = parsed(
        *("--data.layout", "region", "--data.satellite", "town.tif"),
        *("--data.drone", "[a,b.mp4]", "--data.telemetry", "[a.csv,b.srt]"),
    ).data
    assert data.drone_sources == (Path("a"), Path("b.mp4"))
    assert data.telemetry_files == (Path("a.csv"), Path("b.srt"))


def test_a_yaml_file_holds_the_same_options(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(
        "data:\n  layout: region\n  satellite: town.tif\n  view: raw\n"
        "  drone:\n    - a\n    - b.mp4\n  camera:\n    focal_length_35mm: 24\n",
        encoding="utf-8",
    )
    data = parsed("--config", str(path), "--data.footprint_m", "80").data
    assert data.drone_sources == (Path("a"), Path("b.mp4"))
    assert data.camera.focal_length_35mm == 24.0
    assert data.footprint_m == 80.0


def test_every_option_has_a_help_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "metres of ground along a tile's side" in text
    assert re.findall(r"--data\.\S+ \S+ \((?:required, )?type", text) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"layout": "cvusa"}, "layout is 'cvusa': choose university1652"),
        ({"layout": "sues200"}, "data.root is missing: the folder of sues200"),
        ({"layout": "sues200", "root": "r", "satellite": "s"}, "data.satellite belongs to"),
        ({"layout": "sues200", "root": "r", "drone": "d"}, "data.drone belongs to"),
        ({"layout": "sues200", "root": "r", "drone_view": "street"}, "sues200 has none"),
        ({"layout": "sues200", "root": "r", "heights_m": ()}, "heights_m must be some of"),
        ({"layout": "sues200", "root": "r", "heights_m": (175,)}, "heights_m must be some of"),
        ({"layout": "university1652", "root": "r", "drone_view": "google"}, "choose drone or"),
        ({"layout": "university1652", "root": "r", "satellite_view": "x"}, "choose satellite or"),
        ({"layout": "university1652", "root": "r", "satellite_view": "drone"}, "view street"),
        ({"satellite": None}, "data.satellite is missing"),
        ({"root": "r"}, "data.root belongs to public datasets"),
        ({"telemetry": ()}, "data.telemetry is missing: rectified"),
        ({"drone": ("d", "e")}, "telemetry names 1 files for 2"),
        ({"truth": ("t", "u")}, "truth names 2 files for 1"),
        ({"drone": (), "telemetry": (), "truth": "t"}, "truth names 1 files for 0"),
        ({"view": "tilted"}, "choose rectified or raw"),
        ({"footprint_m": 0.0}, "footprint_m must be above 0"),
        ({"footprint_m": float("nan")}, "footprint_m must be above 0"),
        ({"hit_radius_m": -1.0}, "hit_radius_m must be above 0"),
        ({"stride_ratio": 1.5}, "stride_ratio must be at most 1"),
        ({"margin": 0.5}, "margin must lie between 1 and 4"),
        ({"every_s": -1.0}, "every_s must be 0 or more"),
        ({"telemetry_offset_s": float("inf")}, "telemetry_offset_s finite"),
        ({"threads": -1}, "threads must be 0 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], complaint: str) -> None:
    region = {"layout": "region", "satellite": "s", "drone": "d", "telemetry": "t"}
    settings = {**({} if changes.get("layout") else region), **changes}
    paths = {"root", "satellite", "drone", "telemetry", "truth"}
    settings = {
        name: Path(value) if name in paths and isinstance(value, str) else value
        for name, value in settings.items()
    }
    for name in ("drone", "telemetry", "truth"):
        if isinstance(settings.get(name), tuple):
            settings[name] = tuple(Path(value) for value in settings[name])
    with pytest.raises(ConfigError, match=complaint):
        DataConfig(**settings)


def test_the_cache_is_the_users_own_where_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig("sues200", root=Path("r"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/big/cache")
    assert config.cache_folder == Path("/big/cache/dmnil-train")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert config.cache_folder == Path.home() / ".cache" / "dmnil-train"
    assert DataConfig("sues200", root=Path("r"), cache=Path("c")).cache_folder == Path("c")
