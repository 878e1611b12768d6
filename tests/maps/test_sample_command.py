"""`dmnil-map sample`: a generated world on disk."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import cv2
import pytest
import rasterio
import yaml
from rasterio.errors import RasterioIOError

from dmnil_maps.cli import main
from dmnil_maps.sample import SAMPLE_KIND, SAMPLE_SCHEMA_VERSION, SampleConfig
from edge_runtime.contract.artefact import read_manifest, verify_hashes
from edge_runtime.contract.errors import ArtefactError, ConfigError
from edge_runtime.telemetry.csv_log import read_csv_log
from edge_runtime.telemetry.truth import read_truth

SMALL = (
    "--size_m=320", "--ground_sample_distance_m=2", "--duration_s=4", "--rate_hz=2",
    "--height_m=40", "--image_width=160",
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_signal_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def sample(output: Path, *options: str) -> Path:
    assert main(["sample", "-o", str(output), *SMALL, *options]) == 0
    return output


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = signal.getsignal(signal.SIGTERM)
    folder = sample(tmp_path_factory.mktemp("sample") / "a.world")
    signal.signal(signal.SIGTERM, before)
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_manifest_vouches_for_every_file(world: Path) -> None:
    manifest = read_manifest(world, SAMPLE_KIND, SAMPLE_SCHEMA_VERSION, ArtefactError)
    verify_hashes(world, manifest, ArtefactError)
    assert set(manifest["files"]) == set(bytes_of(world)) - {"manifest.json"}
    settings = manifest["settings"]
    assert (settings["size_m"], settings["seed"], settings["layout"]) == (320.0, 1, "flight")
    assert "output" not in settings
    assert "CC0" in manifest["licence"]


def test_a_world_is_a_satellite_picture_and_a_flight_that_the_runtime_reads(world: Path) -> None:
    with rasterio.open(world / "satellite.tif") as raster:
        assert (raster.width, raster.height, raster.count) == (160, 160, 3)
        assert raster.crs is not None
        assert raster.res == (2.0, 2.0)
    flight = world / "flight"
    pictures = sorted((flight / "frames").iterdir())
    assert len(pictures) == 9  # 4 s at 2 Hz, both ends included
    assert all(cv2.imread(str(path)).shape == (90, 160, 3) for path in pictures)
    telemetry = read_csv_log(flight / "frames.csv")
    assert len(telemetry.samples) == 9
    assert all(telemetry.named(path.name) is not None for path in pictures)
    assert list(read_truth(flight / "truth.csv")) == [path.name for path in pictures]
    camera = yaml.safe_load((flight / "camera.yaml").read_text())
    assert camera["image_width"] == 160
    assert camera["focal_px"] == pytest.approx(160 * 24 / 36)


def test_the_world_lies_where_it_was_put(tmp_path: Path) -> None:
    folder = sample(tmp_path / "b.world", "--latitude_deg=-33.9", "--longitude_deg=18.4")
    for place in read_truth(folder / "flight" / "truth.csv").values():
        assert place.drone_latitude_deg == pytest.approx(-33.9, abs=0.002)
        assert place.drone_longitude_deg == pytest.approx(18.4, abs=0.002)


def test_the_same_settings_give_the_same_bytes(world: Path, tmp_path: Path) -> None:
    assert bytes_of(sample(tmp_path / "another_name.world")) == bytes_of(world)


@pytest.mark.parametrize(
    ("option", "same", "different"),
    [
        ("--flight_seed=2", "satellite.tif", "flight/truth.csv"),
        ("--jpeg_quality=40", "flight/truth.csv", "flight/frames/000001.jpg"),
        ("--random_light=true", "satellite.tif", "flight/frames/000001.jpg"),
        ("--pitch_deg=-90", "satellite.tif", "flight/frames.csv"),
    ],
)
def test_a_setting_changes_what_it_should_alone(
    world: Path, tmp_path: Path, option: str, same: str, different: str
) -> None:
    changed, before = bytes_of(sample(tmp_path / "c.world", option)), bytes_of(world)
    assert changed[same] == before[same]
    assert changed[different] != before[different]


@pytest.mark.parametrize("light", ["false", "true"])
def test_frames_are_compressed_as_asked_in_any_light(tmp_path: Path, light: str) -> None:
    sizes = []
    for quality in (90, 30):
        options = (f"--random_light={light}", f"--jpeg_quality={quality}", "--duration_s=0.5")
        folder = sample(tmp_path / f"{quality}.world", *options)
        sizes.append((folder / "flight" / "frames" / "000002.jpg").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]


def test_a_dataset_has_university_1652s_folders(tmp_path: Path) -> None:
    options = ("--layout=university1652", "--size_m=400", "--places=2", "--views=1")
    folder = sample(tmp_path / "d.world", *options, "--jpeg_quality=20")
    manifest = read_manifest(folder, SAMPLE_KIND, SAMPLE_SCHEMA_VERSION, ArtefactError)
    kinds = {name.split("/")[1] + "/" + name.split("/")[2] for name in manifest["files"]}
    assert {"train/drone", "train/satellite", "test/query_drone"} <= kinds
    assert manifest["drone_appearance"]["jpeg_quality"] == 20
    (drone_view,) = folder.glob("*/train/drone/*/*.jpeg")
    (satellite_view,) = folder.glob("*/train/satellite/*/*.jpg")
    assert drone_view.stat().st_size < 0.7 * satellite_view.stat().st_size
    assert not (folder / "flight").exists()


def test_a_yaml_file_gives_the_settings_and_flags_win(tmp_path: Path) -> None:
    config = tmp_path / "sample.yaml"
    config.write_text("seed: 5\nduration_s: 1\n")
    folder = sample(tmp_path / "e.world", "--config", str(config), "--duration_s=2")
    settings = json.loads((folder / "manifest.json").read_text())["settings"]
    assert (settings["seed"], settings["duration_s"]) == (5, 2.0)
    with (folder / "flight" / "frames.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 5


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--size_m=100", "between 300 m and 20 km"),
        ("--size_m=.nan", "between 300 m and 20 km"),
        ("--ground_sample_distance_m=0", "0.1 to 5 m"),
        ("--duration_s=0", "must be above 0"),
        ("--duration_s=.inf", "finite"),
        ("--rate_hz=.inf", "finite"),
        ("--speed_m_s=-3", "must be above 0"),
        ("--height_m=.nan", "must be above 0"),
        ("--height_m=150", "too small to fly"),
        ("--pitch_deg=-10", "between -90 and -20"),
        ("--image_width=100", "160 px"),
        ("--jpeg_quality=0", "JPEG quality"),
        ("--latitude_deg=91", "no such place"),
        ("--longitude_deg=181", "no such place"),
        ("--seed=-1", "seeds must be 0 or more"),
        ("--flight_seed=-1", "seeds must be 0 or more"),
        ("--layout=cityscapes", "layout"),
        ("--layout=university1652", "no room for 200 places"),
        ("--sed=1", "sed"),
        ("--seed=one", "seed"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], option: str, words: str
) -> None:
    assert main(["sample", "-o", str(tmp_path / "bad.world"), *SMALL, option]) == 2
    error = capfd.readouterr().err
    assert error.startswith("dmnil-map: error: ")
    assert error.count("\n") == 1
    assert words in error
    assert list(tmp_path.iterdir()) == []


def test_only_a_sample_world_is_replaced(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = sample(tmp_path / "f.world", "--duration_s=1")
    assert bytes_of(sample(output)) == bytes_of(world)
    (output / "manifest.json").unlink()
    assert main(["sample", "-o", str(output), *SMALL]) == 2
    assert "is not a sample world" in capsys.readouterr().err


def test_settings_are_checked_before_anything_is_made() -> None:
    with pytest.raises(ConfigError, match="places and views"):
        SampleConfig(Path("x.world"), views=0)


def test_an_output_of_something_else_is_refused_before_a_world_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dmnil_maps.sample.generate_world", lambda *_: pytest.fail("made"))
    (tmp_path / "holiday.jpg").write_bytes(b"a picture")
    assert main(["sample", "-o", str(tmp_path), *SMALL]) == 2
    assert "is not a sample world: choose another output" in capsys.readouterr().err


def test_a_disk_that_is_full_under_the_satellite_picture_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RasterioIOError("Write failed.") from OSError("Write error at scanline 174")

    monkeypatch.setattr("dmnil_maps.sample.write_geotiff", full)
    assert main(["sample", "-o", str(tmp_path / "a.world"), *SMALL]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith("a.world: Write error at scanline 174: is the disk full?")
    assert list(tmp_path.iterdir()) == []
