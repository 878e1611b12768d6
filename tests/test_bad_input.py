"""Bad input ends every command in one line and exit status 2, and leaves nothing behind."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio

from dmnil_maps.cli import main as dmnil_map
from edge_runtime.cli import main as edge_runtime
from edge_runtime.contract.artefact import write_manifest
from edge_runtime.contract.encoder_bundle import load_encoder_bundle
from edge_runtime.outputs.fix_log import read_fixes
from tests.small_map import FRAME, seal_again, write_small_map
from tests.tiny_encoder import write_tiny_encoder

FRAMES = 8
LENS = ("--camera.focal_length_35mm", "24")
TELEMETRY_COLUMNS = (
    "frame",
    "time_s",
    "height_above_takeoff_m",
    "heading_deg",
    "camera_pitch_deg",
)
TRUTH_COLUMNS = (
    "frame",
    "drone_latitude_deg",
    "drone_longitude_deg",
    "viewed_ground_latitude_deg",
    "viewed_ground_longitude_deg",
)
Main = Callable[[Sequence[str]], int]
Damage = Callable[["Inputs"], object]


@dataclass(frozen=True)
class Inputs:
    """Everything that a flight needs, in a folder of its own that a test may damage."""

    folder: Path

    @property
    def encoder(self) -> Path:
        return self.folder / "tiny.encoder"

    @property
    def map(self) -> Path:
        return self.folder / "small.map"

    @property
    def frames(self) -> Path:
        return self.folder / "frames"

    @property
    def telemetry(self) -> Path:
        return self.folder / "frames.csv"

    @property
    def truth(self) -> Path:
        return self.folder / "truth.csv"

    @property
    def flight(self) -> Path:
        return self.folder / "new.flight"

    def frame(self, number: int) -> Path:
        return self.frames / f"{number:06d}.jpg"

    def run(self, *more: object) -> list[str]:
        return [
            "run", f"--encoder={self.encoder}", f"--map={self.map}", f"--frames={self.frames}",
            f"--telemetry={self.telemetry}", f"--output={self.flight}", *LENS, *map(str, more),
        ]  # fmt: skip

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)


def telemetry_rows(heights_m: Sequence[object] = (120.0,) * FRAMES) -> list[list[object]]:
    return [
        [f"{number:06d}.jpg", float(number), height_m, 30.0, -90.0]
        for number, height_m in enumerate(heights_m, start=1)
    ]


@pytest.fixture(scope="session")
def whole_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs = Inputs(tmp_path_factory.mktemp("inputs"))
    write_tiny_encoder(inputs.encoder)
    bundle = load_encoder_bundle(inputs.encoder)
    write_small_map(inputs.map, bundle.encoder_sha256, bundle.descriptor_size)
    inputs.frames.mkdir()
    random = np.random.default_rng(3)
    for number in range(1, FRAMES + 1):
        coarse = random.integers(0, 256, (18, 24, 3), np.uint8)
        picture = cv2.resize(coarse, (240, 180), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(inputs.frame(number)), picture)
    write_table(inputs.telemetry, TELEMETRY_COLUMNS, telemetry_rows())
    here = (FRAME.latitude_deg, FRAME.longitude_deg)
    rows = [[f"{number:06d}.jpg", *here, *here] for number in range(1, FRAMES + 1)]
    write_table(inputs.truth, TRUTH_COLUMNS, rows)
    return inputs.folder


@pytest.fixture
def inputs(whole_inputs: Path, tmp_path: Path) -> Inputs:
    return Inputs(Path(shutil.copytree(whole_inputs, tmp_path / "inputs")))


@pytest.fixture(autouse=True)
def own_signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def refusal(inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail as all do; returns its one line."""

    def refused(main: Main, name: str, arguments: Sequence[str]) -> str:
        before = inputs.files()
        capfd.readouterr()
        assert main(arguments) == 2
        printed = capfd.readouterr()
        assert printed.err.startswith(f"{name}: error: ")
        assert printed.err.count("\n") == 1
        assert printed.err.endswith("\n")
        assert inputs.files() == before
        assert [path for path in inputs.folder.rglob("*") if ".part" in path.name] == []
        return printed.err

    return refused


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    """Overwrite the first half and keep the size, which is all that a start checks."""
    size = path.stat().st_size
    path.write_bytes(b"\xa5" * (size // 2) + path.read_bytes()[size // 2 :])


def other_encoder(inputs: Inputs) -> None:
    shutil.rmtree(inputs.encoder)
    write_tiny_encoder(inputs.encoder, cells=8)


def keep_no_frame(inputs: Inputs) -> None:
    for path in inputs.frames.iterdir():
        path.unlink()


def spoil_all_frames(inputs: Inputs) -> None:
    for path in inputs.frames.iterdir():
        path.write_bytes(b"not a picture")


def foreign_folder(path: Path) -> None:
    path.mkdir()
    (path / "holiday.txt").write_text("mine")


def another_artefact(path: Path) -> None:
    path.mkdir()
    (path / "cat.txt").write_text("meow")
    write_manifest(path, "animal", 1, {})


def rows_of_other_names(inputs: Inputs) -> None:
    rows = [[f"other{row[0]}", *row[1:]] for row in telemetry_rows()]
    write_table(inputs.telemetry, TELEMETRY_COLUMNS, rows)


def without_column(inputs: Inputs) -> None:
    rows = [row[:3] for row in telemetry_rows()]
    write_table(inputs.telemetry, TELEMETRY_COLUMNS[:3], rows)


def heights(inputs: Inputs, *values: object) -> None:
    write_table(inputs.telemetry, TELEMETRY_COLUMNS, telemetry_rows(values))


BAD_ARTEFACTS: dict[str, tuple[Damage, str]] = {
    "no encoder": (lambda i: shutil.rmtree(i.encoder), "no such directory"),
    "no graph": (lambda i: (i.encoder / "encoder.onnx").unlink(), "encoder.onnx is missing"),
    "graph cut short": (lambda i: cut(i.encoder / "encoder.onnx"), "copy it again"),
    "garbled graph": (lambda i: garble(i.encoder / "encoder.onnx"), "encoder.onnx cannot be"),
    "bundle without manifest": (lambda i: (i.encoder / "manifest.json").unlink(), "is missing"),
    "bundle manifest cut short": (lambda i: cut(i.encoder / "manifest.json"), "cannot be read"),
    "map as encoder": (
        lambda i: (shutil.rmtree(i.encoder), shutil.copytree(i.map, i.encoder)),
        "describes a 'region map', not an encoder bundle",
    ),
    "another encoder": (other_encoder, "was built with encoder"),
    "no map": (lambda i: shutil.rmtree(i.map), "no such directory"),
    "no descriptors": (lambda i: (i.map / "descriptors.npy").unlink(), "is missing"),
    "descriptors cut short": (lambda i: cut(i.map / "descriptors.npy"), "copy it again"),
    "garbled descriptors": (lambda i: garble(i.map / "descriptors.npy"), "cannot be read"),
    "garbled tiles": (lambda i: garble(i.map / "tiles.npy"), "cannot be read"),
    "garbled projection": (lambda i: garble(i.map / "projection.npy"), "cannot be read"),
    "map manifest is no JSON": (
        lambda i: (i.map / "manifest.json").write_text("kind: region map"),
        "cannot be read",
    ),
    "map manifest is a list": (
        lambda i: (i.map / "manifest.json").write_text("[]"),
        "describes a 'list', not a region map",
    ),
    "map of a later release": (
        lambda i: (i.map / "manifest.json").write_text(
            json.dumps({"kind": "region map", "schema_version": 99})
        ),
        "schema version 99",
    ),
    "map of no descriptor size": (
        lambda i: seal_again(i.map, descriptor_size="large"),
        "'descriptor_size' is missing or malformed",
    ),
}


@pytest.mark.parametrize("name", BAD_ARTEFACTS)
def test_run_refuses_a_bad_encoder_or_map(
    inputs: Inputs, refusal: Callable[..., str], name: str
) -> None:
    damage, words = BAD_ARTEFACTS[name]
    damage(inputs)
    assert words in refusal(edge_runtime, "edge_runtime", inputs.run())


BAD_RECORDINGS: dict[str, tuple[Damage, str]] = {
    "no frames folder": (lambda i: shutil.rmtree(i.frames), "no such folder or video"),
    "no frame": (keep_no_frame, "holds no picture"),
    "frames that do not decode": (spoil_all_frames, "none of its 8 frames can be decoded"),
    "a text file as video": (
        lambda i: (shutil.rmtree(i.frames), i.frames.write_text("no video")),
        "cannot be opened as a video",
    ),
    "no telemetry": (lambda i: i.telemetry.unlink(), "no such telemetry file"),
    "telemetry of other frames": (rows_of_other_names, "covers none of the 8 frames"),
    "telemetry without pitch": (without_column, "camera_pitch_deg is missing"),
    "telemetry of NaN": (lambda i: heights(i, *["nan"] * FRAMES), "none of its 8 rows"),
    "telemetry of words": (lambda i: heights(i, *["high"] * FRAMES), "none of its 8 rows"),
    "empty telemetry": (lambda i: i.telemetry.write_text(""), "is missing"),
    "binary telemetry": (lambda i: i.telemetry.write_bytes(b"\xff\xfe\x00\xa5"), "cannot be read"),
    "no truth": (lambda i: i.truth.unlink(), "cannot be read"),
    "truth of words": (lambda i: i.truth.write_text("frame\nx\n"), "is missing"),
}


@pytest.mark.parametrize("name", BAD_RECORDINGS)
def test_run_refuses_a_bad_recording(
    inputs: Inputs, refusal: Callable[..., str], name: str
) -> None:
    damage, words = BAD_RECORDINGS[name]
    damage(inputs)
    assert words in refusal(edge_runtime, "edge_runtime", inputs.run("--truth", inputs.truth))


BAD_OUTPUTS: dict[str, tuple[Damage, str]] = {
    "file": (lambda i: i.flight.write_text("mine"), "exists and is not a directory"),
    "foreign folder": (lambda i: foreign_folder(i.flight), "exists and is not a flight log"),
    "another artefact": (lambda i: another_artefact(i.flight), "exists and is not a flight log"),
}


@pytest.mark.parametrize("name", BAD_OUTPUTS)
def test_run_replaces_nothing_but_a_flight(
    inputs: Inputs, refusal: Callable[..., str], name: str
) -> None:
    occupy, words = BAD_OUTPUTS[name]
    occupy(inputs)
    assert words in refusal(edge_runtime, "edge_runtime", inputs.run())


def test_run_says_that_a_file_is_no_folder_to_write_in(
    inputs: Inputs, refusal: Callable[..., str]
) -> None:
    arguments = [*inputs.run(), f"--output={inputs.telemetry / 'new.flight'}"]
    assert "cannot write" in refusal(edge_runtime, "edge_runtime", arguments)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prior", "here"], "--prior takes LAT,LON,RADIUS_M, not 'here'"),
        (["--prior", "47.3,8.5"], "--prior takes LAT,LON,RADIUS_M"),
        (["--prior", "47.3,8.5,nan"], "prior must be finite"),
        (["--prior", "47.3,8.5,0"], "its radius above 0"),
        (["--prior", "91,8.5,100"], "in degrees"),
        (["--prior", "-33.9,18.4,100"], "the prior lies outside the map"),
        (["--prior"], "--prior"),
        (["--camera.focal_length_35mm", "0"], "must be above 0 mm"),
        (["--camera.focal_length_35mm", "wide"], "focal_length_35mm"),
        (["--camera.pitch_deg", ".nan"], "angles must be finite"),
        (["--every_s", "-1"], "every_s must be 0 or more"),
        (["--threads", "-1"], "threads must be 0 or more"),
        (["--threads", "many"], "threads"),
        (["--precision", "fp16"], "holds no fp16 graph"),
        (["--engine", "abacus"], "unknown engine backend 'abacus'"),
        (["--localiser.integrity.acquire_radius_m", "-1"], "integrity radii must grow"),
        (["--speling", "1"], "speling"),
        (["--config", "none.yaml"], "none.yaml"),
    ],
)
def test_run_refuses_bad_options(
    inputs: Inputs, refusal: Callable[..., str], options: list[str], words: str
) -> None:
    assert words in refusal(edge_runtime, "edge_runtime", inputs.run(*options))


def test_an_unknown_lens_is_asked_for(inputs: Inputs, refusal: Callable[..., str]) -> None:
    arguments = [argument for argument in inputs.run() if argument not in LENS]
    assert "the lens is unknown: give the camera's calibration" in refusal(
        edge_runtime, "edge_runtime", arguments
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "wide angle",
        "image_width: 240\nimage_height: 180",
        "image_width: 0\nimage_height: 180\nfocal_px: 200",
        "image_width: .inf\nimage_height: 180\nfocal_px: 200",
        "image_width: 240\nimage_height: 180\nfocal_px: .nan",
        "image_width: 240\nimage_height: 180\nfocal_px: long",
    ],
)
def test_a_wrong_camera_file_is_named(
    inputs: Inputs, refusal: Callable[..., str], text: str
) -> None:
    camera_file = inputs.folder / "camera.yaml"
    camera_file.write_text(text, encoding="utf-8")
    arguments = [argument for argument in inputs.run() if argument not in LENS]
    error = refusal(edge_runtime, "edge_runtime", arguments)
    assert str(camera_file) in error


@pytest.fixture
def flown(inputs: Inputs, capfd: pytest.CaptureFixture[str]) -> Inputs:
    assert edge_runtime(inputs.run()) == 0
    capfd.readouterr()
    return inputs


def replace_line(path: Path, text: str) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], text, *lines[2:]]) + "\n", encoding="utf-8")


def foreign_truth(inputs: Inputs) -> None:
    write_table(inputs.truth, TRUTH_COLUMNS, [["x.jpg", 47.0, 8.0, 47.0, 8.0]])


BAD_SCORES: dict[str, tuple[Damage, str]] = {
    "no flight": (lambda i: shutil.rmtree(i.flight), "no such flight directory"),
    "no truth": (lambda i: i.truth.unlink(), "cannot be read"),
    "truth without columns": (lambda i: i.truth.write_text("frame\n"), "is missing"),
    "truth without rows": (lambda i: write_table(i.truth, TRUTH_COLUMNS, []), "has no rows"),
    "truth of words": (
        lambda i: write_table(i.truth, TRUTH_COLUMNS, [["a.jpg", *["here"] * 4]]),
        "cannot be read",
    ),
    "truth of another flight": (foreign_truth, "are they of one flight"),
    "no fixes": (lambda i: (i.flight / "fixes.jsonl").write_text(""), "holds no fixes"),
    "half a line": (
        lambda i: replace_line(i.flight / "fixes.jsonl", '{"frame": "0000'),
        "line 2 is not a fix",
    ),
    "a line of another kind": (
        lambda i: replace_line(i.flight / "fixes.jsonl", '{"kind": "cat"}'),
        "line 2 is not a fix",
    ),
    "binary fixes": (
        lambda i: (i.flight / "fixes.jsonl").write_bytes(b"\xff\xfe\x00"),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", BAD_SCORES)
def test_score_refuses_what_does_not_belong_together(
    flown: Inputs, refusal: Callable[..., str], name: str
) -> None:
    damage, words = BAD_SCORES[name]
    damage(flown)
    arguments = ["score", str(flown.flight), str(flown.truth)]
    assert words in refusal(edge_runtime, "edge_runtime", arguments)


@pytest.mark.parametrize("name", ["frames", "nowhere/score.json", "frames.csv/score.json"])
def test_score_leaves_nothing_where_it_cannot_write(
    flown: Inputs, refusal: Callable[..., str], name: str
) -> None:
    target = flown.folder / name
    arguments = ["score", str(flown.flight), str(flown.truth), "--json", str(target)]
    assert f"{target} cannot be written" in refusal(edge_runtime, "edge_runtime", arguments)


def write_raster(path: Path, georeferenced: bool) -> Path:
    bands = np.random.default_rng(2).integers(0, 256, (3, 300, 300), np.uint8)
    place = {
        "crs": FRAME.proj_string,
        "transform": rasterio.Affine(1.0, 0.0, -150.0, 0.0, -1.0, 150.0),
    }
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint8",
        count=3,
        height=300,
        width=300,
        **(place if georeferenced else {}),
    ) as raster:
        raster.write(bands)
    return path


BAD_BUILDS: dict[str, tuple[Damage, str]] = {
    "no encoder": (lambda i: shutil.rmtree(i.encoder), "no such directory"),
    "garbled graph": (lambda i: garble(i.encoder / "encoder.onnx"), "encoder.onnx cannot be"),
    "no raster": (lambda i: (i.folder / "raster.tif").unlink(), "no such file or folder"),
    "no georeference": (
        lambda i: (
            (i.folder / "raster.tif").unlink(),
            write_raster(i.folder / "raster.tif", georeferenced=False),
        ),
        "georeference",
    ),
    "garbled raster": (lambda i: (i.folder / "raster.tif").write_bytes(b"no TIFF"), "raster.tif"),
    "foreign output": (lambda i: foreign_folder(i.folder / "new.map"), "is not a region map"),
    "output in a file": (lambda i: (i.folder / "new.map").write_text("mine"), "not a directory"),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("name", BAD_BUILDS)
def test_build_refuses_bad_input(inputs: Inputs, refusal: Callable[..., str], name: str) -> None:
    damage, words = BAD_BUILDS[name]
    raster = write_raster(inputs.folder / "raster.tif", georeferenced=True)
    damage(inputs)
    output = inputs.folder / "new.map"
    arguments = ["build", str(raster), f"--encoder={inputs.encoder}", f"--output={output}"]
    assert words in refusal(dmnil_map, "dmnil-map", arguments)


@pytest.mark.parametrize("subcommand", ["info", "verify"])
@pytest.mark.parametrize("name", ["no map", "descriptors cut short", "map manifest is no JSON"])
def test_a_bad_map_can_be_neither_shown_nor_verified(
    inputs: Inputs, refusal: Callable[..., str], subcommand: str, name: str
) -> None:
    damage, words = BAD_ARTEFACTS[name]
    damage(inputs)
    assert words in refusal(dmnil_map, "dmnil-map", [subcommand, str(inputs.map)])


def test_frames_that_do_not_decode_are_skipped_and_counted(
    inputs: Inputs, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs.frame(3).write_bytes(b"not a picture")
    inputs.frame(4).write_bytes(b"")
    assert edge_runtime(inputs.run()) == 0
    printed = capfd.readouterr()
    assert "skipped 2 frames that do not decode, 0 without telemetry" in printed.out
    assert [int(fix.frame[:6]) for fix in read_fixes(inputs.flight)] == [1, 2, 5, 6, 7, 8]
    summary = json.loads((inputs.flight / "summary.json").read_text(encoding="utf-8"))
    assert (summary["frames"], summary["undecodable"], summary["without_telemetry"]) == (6, 2, 0)


def test_frames_of_another_size_are_skipped_and_counted(
    inputs: Inputs, capfd: pytest.CaptureFixture[str]
) -> None:
    for number, size in ((3, (120, 90)), (5, (180, 240))):
        picture = cv2.imread(str(inputs.frame(number)))
        assert cv2.imwrite(str(inputs.frame(number)), cv2.resize(picture, size))
    assert edge_runtime(inputs.run()) == 0
    assert "skipped 2 frames of another size than the first" in capfd.readouterr().out
    assert [int(fix.frame[:6]) for fix in read_fixes(inputs.flight)] == [1, 2, 4, 6, 7, 8]
    summary = json.loads((inputs.flight / "summary.json").read_text(encoding="utf-8"))
    assert (summary["frames"], summary["undecodable"], summary["of_another_size"]) == (6, 0, 2)


def test_frames_whose_height_is_not_a_number_count_as_without_telemetry(
    inputs: Inputs, capfd: pytest.CaptureFixture[str]
) -> None:
    heights(inputs, 120.0, "nan", 120.0, "", 120.0, "inf", 120.0, 120.0)
    assert edge_runtime(inputs.run()) == 0
    assert "skipped 0 frames that do not decode, 3 without telemetry" in capfd.readouterr().out
    assert [int(fix.frame[:6]) for fix in read_fixes(inputs.flight)] == [1, 3, 5, 7, 8]
    summary = json.loads((inputs.flight / "summary.json").read_text(encoding="utf-8"))
    assert (summary["frames"], summary["undecodable"], summary["without_telemetry"]) == (5, 0, 3)


def test_a_flight_that_ends_well_has_a_quiet_stderr(
    inputs: Inputs, capfd: pytest.CaptureFixture[str]
) -> None:
    assert edge_runtime(inputs.run("--truth", inputs.truth)) == 0
    printed = capfd.readouterr()
    assert printed.err == ""
    assert "8 frames" in printed.out
