"""The command `dmnil-map`, as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from dmnil_maps.cli import main
from edge_runtime.contract.region_map import load_region_map
from tests.tiny_encoder import write_tiny_encoder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_signal_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def built_map(tmp_path_factory, imagery_of, tiny_encoder):
    output = tmp_path_factory.mktemp("cli") / "town.map"
    arguments = [
        "build", str(imagery_of("utm")), "--encoder", str(tiny_encoder), "-o", str(output),
        "--footprints", "60,120", "--threads", "1", "--attribution", "Example Survey",
    ]  # fmt: skip
    assert main(arguments) == 0
    return output


def copy_of(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_build_says_what_it_did_on_one_line(tmp_path, imagery_of, tiny_encoder, capsys):
    output = tmp_path / "m.map"
    source = str(imagery_of("tiles"))
    assert main(["build", source, "--encoder", str(tiny_encoder), "-o", str(output)]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert f"{output}: " in printed.out
    assert "tiles/s" in printed.out
    assert "in the encoder" in printed.out
    assert "tile/s" in printed.err


def test_build_reports_as_json(tmp_path, imagery_of, tiny_encoder, capsys):
    output = tmp_path / "m.map"
    source = str(imagery_of("utm"))
    assert main(["build", source, "--encoder", str(tiny_encoder), "-o", str(output), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tiles"] == len(load_region_map(output).tiles)
    assert 0 < report["encoder_share"] < 1
    assert report["tiles_per_second"] > 0


def test_footprints_make_levels(built_map):
    assert [level.footprint_m for level in load_region_map(built_map).levels] == [60.0, 120.0]


def test_build_takes_a_yaml_file_and_flags_win(tmp_path, imagery_of, tiny_encoder):
    config = tmp_path / "build.yaml"
    config.write_text(
        f"sources: [{imagery_of('utm')}]\nencoder: {tiny_encoder}\noutput: {tmp_path / 'y.map'}\n"
        "footprints: 60,120\nattribution: from the file\n"
    )
    assert main(["build", "--config", str(config), "--attribution", "from the flag"]) == 0
    region_map = load_region_map(tmp_path / "y.map")
    assert len(region_map.levels) == 2
    assert region_map.manifest["imagery"]["attribution"] == "from the flag"


def test_info_is_a_table(built_map, capsys):
    assert main(["info", str(built_map)]) == 0
    table = capsys.readouterr().out
    for words in (
        "tiny (", "average-pool", "60 m every 15 m", "120 m every 30 m", "km2", "latitude",
        "EPSG:32632", "Example Survey", "MB", "imagery date  not given",
    ):  # fmt: skip
        assert words in table


def test_info_tells_the_area_and_the_size(built_map, capsys):
    assert main(["info", str(built_map), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    level = load_region_map(built_map).levels[0]
    sides_m = [(count - 1) * 15.0 + 60.0 for count in (level.rows, level.columns)]
    assert summary["area_km2"] == pytest.approx(np.prod(sides_m) / 1e6, abs=1e-3)
    on_disk = sum(path.stat().st_size for path in built_map.iterdir())
    assert summary["bytes_on_disk"] == on_disk
    assert summary["tiles"] == sum(level["tiles"] for level in summary["levels"])


def test_info_names_what_a_manifest_lacks(built_map, tmp_path, capsys):
    copy = copy_of(built_map, tmp_path / "bare.map")
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["bounds"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert main(["info", str(copy)]) == 2
    assert "'bounds'" in capsys.readouterr().err


def test_verify_accepts_an_intact_map_and_its_encoder(built_map, tiny_encoder, capsys):
    assert main(["verify", str(built_map), "--encoder", str(tiny_encoder)]) == 0
    assert "intact" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["descriptors.npy", "tiles.npy", "preview.jpg"])
def test_verify_finds_an_altered_file(built_map, tmp_path, capsys, name):
    folder = copy_of(built_map, tmp_path / "altered.map")
    content = bytearray((folder / name).read_bytes())
    content[-5] ^= 1
    (folder / name).write_bytes(content)
    assert main(["verify", str(folder)]) == 2
    assert f"{folder / name} was altered" in capsys.readouterr().err


def test_verify_finds_a_file_cut_short(built_map, tmp_path, capsys):
    folder = copy_of(built_map, tmp_path / "cut.map")
    content = (folder / "descriptors.npy").read_bytes()
    (folder / "descriptors.npy").write_bytes(content[:-100])
    assert main(["verify", str(folder)]) == 2
    assert "copy it again" in capsys.readouterr().err


def test_verify_refuses_another_encoder(built_map, tmp_path, capsys):
    other = write_tiny_encoder(tmp_path / "other.encoder", cells=8)
    assert main(["verify", str(built_map), "--encoder", str(other)]) == 2
    assert "was built with encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["none.tif"], "no such file or folder"),
        ([".", "--footprints", "60,wide"], "--footprints takes metres"),
        ([".", "--stride-ratio", "0"], "stride ratio must be above 0"),
        ([".", "--encoder", "none.encoder"], "no such directory"),
    ],
)
def test_an_error_is_one_line_and_exit_2(
    tmp_path, monkeypatch, tiny_encoder, capsys, changed, words
):
    monkeypatch.chdir(tmp_path)
    code = main(["build", "--encoder", str(tiny_encoder), "-o", "m.map", *changed])
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("dmnil-map: error: ")
    assert error.count("\n") == 1
    assert words in error
    assert list(tmp_path.iterdir()) == []


SLOW_BUILD = """
    import signal, sys, time
    import dmnil_maps.build
    from dmnil_maps.cli import main

    # A shell's background jobs, and their children, are started with this signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class SlowEngine:
        def __init__(self, engine):
            self.engine = engine
        def encode(self, images):
            sys.stdout.write("encoding\\n")
            sys.stdout.flush()
            time.sleep(2.0)
            return self.engine.encode(images)

    opened = dmnil_maps.build.open_engine
    dmnil_maps.build.open_engine = lambda *more, **named: SlowEngine(opened(*more, **named))
    sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_build_that_is_stopped_keeps_the_old_map(
    tmp_path, imagery_of, tiny_encoder, built_map, sent, code
):
    output = copy_of(built_map, tmp_path / "m.map")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    paths = os.pathsep.join(str(ROOT / name) for name in ("", "maps"))
    process = subprocess.Popen(
        [
            sys.executable, "-c", textwrap.dedent(SLOW_BUILD), "build", str(imagery_of("tiles")),
            "--encoder", str(tiny_encoder), "-o", str(output), "--batch-size", "8",
        ],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == "encoding\n"
        process.send_signal(sent)
        _, error = process.communicate(timeout=600)
    assert process.returncode == code
    assert "Traceback" not in error
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    if sent != signal.SIGKILL:
        assert [path.name for path in tmp_path.iterdir()] == ["m.map"]


def test_without_the_extra_it_is_one_line_that_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['shapely'] = None\n"
        "from dmnil_maps.cli import main; sys.exit(main(['info', 'some.map']))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr == (
        "dmnil-map: error: shapely is not installed: pip install 'dmnil-edge[maps]'\n"
    )
