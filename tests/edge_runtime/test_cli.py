"""The command `edge_runtime`, as a user meets it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.cli import main
from edge_runtime.outputs.fix_log import read_fixes
from tests.service_listener import Listener
from tests.small_map import FRAME


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small pictures with telemetry, truth and camera file."""
    folder = tmp_path_factory.mktemp("recording")
    (folder / "frames").mkdir()
    random = np.random.default_rng(7)
    names = [f"{number:06d}.jpg" for number in range(1, 6)]
    for name in names:
        coarse = random.integers(0, 256, (18, 24, 3), np.uint8)
        assert cv2.imwrite(str(folder / "frames" / name), cv2.resize(coarse, (240, 180)))
    with (folder / "frames.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["frame", "time_s", "height_above_takeoff_m", "heading_deg"])
        writer.writerows([name, number, 120.0, 0.0] for number, name in enumerate(names))
    with (folder / "truth.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        places = ("drone_latitude_deg", "drone_longitude_deg")
        viewed = ("viewed_ground_latitude_deg", "viewed_ground_longitude_deg")
        writer.writerow(["frame", *places, *viewed])
        here = (FRAME.latitude_deg, FRAME.longitude_deg)
        writer.writerows([name, *here, *here] for name in names)
    (folder / "camera.yaml").write_text("image_width: 480\nimage_height: 360\nfocal_px: 320\n")
    return folder


@pytest.fixture
def run_options(recording: Path, encoder_folder: Path, map_folder: Path, tmp_path: Path):
    return {
        "encoder": str(encoder_folder),
        "map": str(map_folder),
        "frames": str(recording / "frames"),
        "telemetry": str(recording / "frames.csv"),
        "output": str(tmp_path / "new.flight"),
    }


def as_flags(options: dict[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["run", "score", "bench", "doctor", "Fly: frames and telemetry in"]),
        (
            ["run", "--help"],
            [
                "--prior", "--camera.focal_length_35mm", "--localiser.integrity.acquire_radius_m",
                "must fall below this for a first fix", "--config",
            ],
        ),
        (["score", "--help"], ["--json", "--first_frame", "truth"]),
        (["doctor", "--help"], ["--bundle", "--map", "--source", "--json"]),
        (["bench", "--help"], ["--tiles", "--frames", "Tiles of each synthetic map"]),
    ],
)  # fmt: skip
def test_help_names_the_options(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    printed = " ".join(capsys.readouterr().out.split())
    for word in words:
        assert word in printed


@pytest.mark.parametrize("arguments", [["fly"], ["run", "--encoder"], ["run"]])
def test_what_cannot_be_understood_is_one_line_and_exit_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("edge_runtime: error: ")
    assert error.count("\n") == 1


def test_without_arguments_and_settings_it_explains_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    error = capsys.readouterr().err
    assert "no edge.yaml in this folder" in error
    assert "edge_runtime run --sample" in error


def test_without_arguments_it_flies_the_settings_of_the_folder(
    run_options: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del run_options["output"]
    write_yaml(tmp_path / "edge.yaml", run_options, "camera:\n  pitch_deg: -90\n")
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert main([]) == 0
    assert "5 frames" in capsys.readouterr().out
    flights = sorted((tmp_path / "flights").iterdir())
    assert len(flights) == 2
    assert all(flight.suffix == ".flight" for flight in flights)
    assert len(read_fixes(flights[0])) == 5


def test_settings_may_ask_for_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "edge.yaml").write_text("sample: true\nprior: 'nonsense'\n")
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert "--prior takes LAT,LON,RADIUS_M" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spelled",
    [
        ["--camera.pitch_deg", "-90", "--every_s", "1"],
        ["--camera.pitch-deg", "-90", "--every-s", "1"],
        ["--camera.pitch-deg=-90", "--every-s=1"],
    ],
)
def test_options_are_written_with_dashes_or_underscores(
    run_options: dict[str, str], spelled: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *as_flags(run_options), *spelled]) == 0
    assert "5 frames" in capsys.readouterr().out


def write_yaml(path: Path, options: dict[str, str], more: str) -> Path:
    text = "".join(f"{name}: {value}\n" for name, value in options.items())
    path.write_text(text + more, encoding="utf-8")
    return path


def test_a_yaml_file_gives_the_options_and_flags_win(
    run_options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = "camera:\n  pitch_deg: -10\nlocaliser:\n  frame_matches: 2\n"
    config = write_yaml(tmp_path / "run.yaml", run_options, more)
    assert main(["run", "--config", str(config)]) == 0
    capsys.readouterr()
    fixes = read_fixes(tmp_path / "new.flight")
    assert {fix.reason for fix in fixes} == {"camera pitch -10 deg is too shallow"}
    assert main(["run", "--config", str(config), "--camera.pitch_deg", "-90"]) == 0
    fixes = read_fixes(tmp_path / "new.flight")
    assert {len(fix.viewed_matches) for fix in fixes} == {2}


def test_a_prior_may_stand_in_the_yaml_file(
    run_options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_options, "camera:\n  pitch_deg: -90\nprior: x\n")
    assert main(["run", "--config", str(config)]) == 2
    assert "--prior takes LAT,LON,RADIUS_M, not 'x'" in capsys.readouterr().err
    prior = f"{FRAME.latitude_deg},{FRAME.longitude_deg},200"
    assert main(["run", "--config", str(config), "--prior", prior]) == 0


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("telemetry_ofset_s: 1\n", "telemetry_ofset_s"),
        ("camera:\n  pich_deg: -90\n", "camera.pich_deg"),
        ("localiser:\n  filter:\n    sped: 3\n", "localiser.filter.sped"),
        ("camera:\n  pitch_deg: down\n", "camera.pitch_deg"),
    ],
)
def test_a_typo_in_the_yaml_file_names_the_key(
    run_options: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: str,
    key: str,
) -> None:
    config = write_yaml(tmp_path / "run.yaml", run_options, more)
    assert main(["run", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("edge_runtime: error: ")
    assert error.count("\n") == 1
    assert key in error
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_the_settings_can_be_printed_to_start_a_file_from(
    run_options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", *as_flags(run_options), "--print_config"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    config = tmp_path / "printed.yaml"
    config.write_text(printed, encoding="utf-8")
    assert main(["run", "--config", str(config), "--camera.pitch_deg", "-90"]) == 0


def test_the_printed_settings_explain_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--print_config"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    keys = [number for number, line in enumerate(lines) if re.match(r"\w+:", line)]
    assert len(keys) > 50
    unexplained = [lines[number] for number in keys if not _is_explained(lines, number)]
    assert unexplained == []


def _is_explained(lines: list[str], key: int) -> bool:
    """Whether words, and not only the type and default, stand above a key."""
    comment = lines[key - 1]
    start = key - 1
    while start > 0 and lines[start - 1].startswith("#"):
        start -= 1
    words = " ".join(line.lstrip("# ") for line in lines[start:key])
    return comment.startswith("#") and len(re.sub(r"\(.*\)", "", words).split()) >= 2


@pytest.fixture
def flown(run_options: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    options = ["--camera.pitch_deg=-90", "--localiser.frame_matches=5"]
    assert main(["run", *as_flags(run_options), *options]) == 0
    capsys.readouterr()
    return tmp_path / "new.flight"


def test_a_flight_under_systemd_tells_it_how_it_goes(
    run_options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert main(["run", *as_flags(run_options), "--camera.pitch_deg=-90"]) == 0
    heard = listener.heard()
    listener.close()
    assert heard == ["READY=1", "WATCHDOG=1", "STATUS=ACQUIRING", "STOPPING=1"]


def test_a_flight_that_cannot_start_never_says_that_it_is_ready(
    run_options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert main(["run", *as_flags({**run_options, "map": str(tmp_path / "no.map")})]) == 2
    heard = listener.heard()
    listener.close()
    assert heard == []


def test_score_prints_and_writes_its_figures(
    flown: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "score.json"
    assert main(["score", str(flown), str(recording / "truth.csv"), "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("frames    5 views: R@1 ")
    assert "flight    5 frames: no position published" in printed
    score = json.loads(figures.read_text(encoding="utf-8"))
    assert score["frames"]["frames"] == 5
    assert score["flight"]["published"] == 0
    assert score["flight"]["median_error_m"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.flight", "score.json"]


def test_score_takes_the_fix_file_and_leaves_early_frames_out(
    flown: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["score", str(flown / "fixes.jsonl"), str(recording / "truth.csv")]
    assert main([*arguments, "--first-frame", "000004.jpg"]) == 0
    assert capsys.readouterr().out.startswith("frames    2 views")


def test_bench_prints_a_table_and_writes_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "bench.json"
    sizes = ["--tiles=[400]", "--frames=10", "--image_width=320"]
    descriptors = ["--descriptor_size=16", "--encoder_descriptor_size=32"]
    assert main(["bench", *sizes, *descriptors, "--json", str(figures)]) == 0
    printed = capsys.readouterr().out
    assert "map of 400 tiles: 10 frames" in printed
    assert "all beside encoder" in printed
    assert json.loads(figures.read_text(encoding="utf-8"))["maps"][0]["frames"] == 10


def test_a_live_flight_never_takes_the_place_of_an_earlier_one(
    run_options: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {**run_options, "source": f"dir://{run_options.pop('frames')}"}
    del options["frames"]
    flags = [*as_flags(options), "--source.pacing=fast", "--monitor.enabled=false"]
    flags += ["--camera.pitch_deg=-90", f"--state={tmp_path / 'state'}"]
    assert main(["run", *flags]) == 0
    first = (tmp_path / "new.flight" / "fixes.jsonl").read_bytes()
    (tmp_path / ".new-2.flight.17.part").mkdir()  # one that is being flown, or was killed
    assert main(["run", *flags]) == 0
    assert (tmp_path / "new.flight" / "fixes.jsonl").read_bytes() == first
    assert (tmp_path / "new-3.flight" / "fixes.jsonl").is_file()
    assert not (tmp_path / "new-2.flight").exists()


def test_a_recording_that_is_flown_again_replaces_its_flight(
    run_options: dict[str, str], tmp_path: Path
) -> None:
    for _ in range(2):
        assert main(["run", *as_flags(run_options), "--camera.pitch_deg=-90"]) == 0
    assert [path.name for path in tmp_path.glob("*.flight")] == ["new.flight"]


def test_ctrl_c_while_a_command_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge_runtime.cli._subcommand", interrupted)
    assert main(["run", "--sample"]) == 130
    assert capsys.readouterr().err == "edge_runtime: interrupted, nothing was written\n"


@pytest.mark.parametrize("command", ["run", "replay", "export", "qualify", "params", "doctor"])
def test_help_is_fit_to_read(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr().out
    assert "<class" not in printed
    assert "%%" not in printed
    usage = printed[: printed.index("\n\n")]
    assert usage.startswith("usage: edge_runtime ")
    assert len(usage.splitlines()) <= 8


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--every_s=x"], "Expected a float. Got value: x"),
        (["--outputs.mavlink.feed=px5"], "Expected one of ['shadow', 'px4', 'ardupilot']. Got"),
    ],
)
def test_a_wrong_value_is_told_without_pythons_names(
    more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--sample", *more]) == 2
    assert words in capsys.readouterr().err


def test_an_empty_settings_file_is_told_to_be_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "edge.yaml").write_text("")
    assert main(["run", f"--config={tmp_path / 'edge.yaml'}"]) == 2
    assert "must hold keys and values, and holds none" in capsys.readouterr().err


def test_an_autopilot_that_says_nothing_is_what_is_complained_of(
    run_options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pymavlink")
    options = {**run_options, "source": f"dir://{run_options['frames']}"}
    del options["frames"], options["telemetry"]
    flags = [*as_flags(options), "--source.pacing=fast", "--monitor.enabled=false"]
    flags += ["--camera.pitch_deg=-90", "--camera.focal_length_35mm=24"]
    assert main(["run", *flags, "--mavlink.connection=udpin:127.0.0.1:0"]) == 2
    told = capsys.readouterr().err
    assert "the autopilot on udpin:127.0.0.1:0 told no attitude for any of 5 frames" in told
