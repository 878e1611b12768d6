"""What one looks at when a flight finds nothing: a picture and a page of the map."""

from __future__ import annotations

import base64
import html.parser
import json
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmnil_maps.cli import main
from dmnil_maps.preview.layers import LONGEST_SIDE, layers_of
from dmnil_maps.preview.view import ViewConfig
from dmnil_maps.preview.view_search import best_places, search_view
from dmnil_maps.preview.view_verdict import expected_place, verdict_of
from edge_runtime.contract.region_map import load_region_map
from edge_runtime.localize.camera import CameraAttitude, PinholeCamera
from tests.maps.conftest import Ground
from tests.painted_ground import PaintedGround
from tests.small_map import LEVEL, PREVIEW_SCALE_M, seal_again, write_small_map
from tests.tiny_encoder import write_tiny_encoder

FOCAL_35MM = 24.0
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, imagery_of, tiny_encoder: Path) -> Path:
    """A map of the textured ground, its encoder beside it."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(tiny_encoder, folder / tiny_encoder.name)
    arguments = [
        "build", str(imagery_of("utm")), "--encoder", str(tiny_encoder),
        "-o", str(folder / "ground.map"), "--footprints", "60,120", "--threads", "1",
    ]  # fmt: skip
    assert main(arguments) == 0
    return folder / "ground.map"


@pytest.fixture(scope="module")
def painted(built: Path) -> PaintedGround:
    """The same ground on the map's own metres, 600 m wide."""
    frame = load_region_map(built).frame
    steps = (np.arange(1200) + 0.5) / 2.0 - 300.0
    east, north = np.meshgrid(steps, -steps)
    picture = Ground().colours(*frame.to_geodetic(np.stack([east, north], axis=-1)))
    return PaintedGround(picture, 0.5)


def write_view(path: Path, painted: PaintedGround, place: tuple[float, float], **more) -> Path:
    view = painted.seen_from_above(place, **{"footprint_m": 120.0, "size": 240, **more})
    assert cv2.imwrite(str(path), cv2.cvtColor(view, cv2.COLOR_RGB2BGR))
    return path


def tile_centre(folder: Path, level: int, row: int, column: int) -> tuple[float, float]:
    east, north = load_region_map(folder).levels[level].centre(row, column)
    return float(east), float(north)


class PageData(html.parser.HTMLParser):
    """Reads a page as a browser does: the data element's text, and every address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.addresses, self.open_data = "", [], False
        self.elements: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.elements.append(tag)
        self.open_data = given.get("id") == "data"
        self.addresses += [given[name] for name in ("src", "href") if name in given]

    def handle_endtag(self, tag):
        self.open_data = False

    def handle_data(self, data):
        if self.open_data:
            self.text += data


class PageText(html.parser.HTMLParser):
    """What a page says to its reader."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.inside_script = "", False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.inside_script = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.inside_script = False

    def handle_data(self, data):
        self.text += "" if self.inside_script else data


def page_of(path: Path) -> tuple[str, dict]:
    page = path.read_text(encoding="utf-8")
    return page, json.loads(PageData(page).text)


def cells_of(layer: dict) -> np.ndarray:
    content = zlib.decompress(base64.b64decode(layer["cells"]))
    return np.frombuffer(content, np.uint8).reshape(layer["rows"], layer["columns"])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_a_rectified_picture_is_found_where_it_was_taken(built, painted, tmp_path):
    image = write_view(tmp_path / "view.png", painted, tile_centre(built, 1, 4, 6))
    search = search_view(load_region_map(built), ViewConfig(image=image, footprint_m=120.0))
    assert [view.level for view in search.levels] == [0, 1]  # 60 m are the middle of 120 m
    place = search.levels[1].places[0]
    assert (place.lattice_row, place.lattice_column) == (4, 6)
    assert search.levels[1].fault == ""


def test_a_picture_of_less_ground_leaves_larger_levels_out(built, painted, tmp_path):
    centre = tile_centre(built, 0, 8, 12)
    image = write_view(tmp_path / "view.png", painted, centre, footprint_m=60.0)
    search = search_view(load_region_map(built), ViewConfig(image=image, footprint_m=60.0))
    (view,) = search.levels
    assert view.level == 0
    assert (view.places[0].lattice_row, view.places[0].lattice_column) == (8, 12)


@pytest.mark.parametrize("heading", [90.0, 240.0])
def test_headings_are_tried_around_the_circle(built, painted, tmp_path, heading):
    centre = tile_centre(built, 1, 4, 6)
    image = write_view(tmp_path / "view.png", painted, centre, turned_deg=heading)
    config = ViewConfig(image=image, footprint_m=120.0, headings=12)
    view = search_view(load_region_map(built), config).levels[1]
    assert view.heading_deg == heading
    place = view.places[0]
    assert (place.lattice_row, place.lattice_column) == (4, 6)


def test_a_camera_frame_is_rectified_as_in_flight(built, painted, tmp_path):
    camera = PinholeCamera.from_equivalent_focal_length(400, 300, FOCAL_35MM)
    attitude = CameraAttitude(heading_deg=60.0, pitch_deg=-70.0)
    frame = painted.photograph(camera, attitude, 150.0, (20.0, -30.0))
    image = tmp_path / "frame_7.png"
    assert cv2.imwrite(str(image), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    telemetry = tmp_path / "frames.csv"
    telemetry.write_text(
        "time_s,height_above_takeoff_m,heading_deg,camera_pitch_deg,frame\n"
        "1.0,150,60,-70,frame_7.png\n"
    )
    latitude, longitude = load_region_map(built).frame.to_geodetic([20.0, -30.0])
    page = tmp_path / "page.html"
    arguments = [
        "preview", str(built), "--html", str(page), "--image", str(image), "--telemetry",
        str(telemetry), "--camera.focal-length-35mm", str(FOCAL_35MM), "--threads", "1",
        f"--expected={latitude:.9f},{longitude:.9f}",
    ]  # fmt: skip
    assert main(arguments) == 0
    _, data = page_of(page)
    expected = data["levels"][1]["found"]["expected"]
    assert expected["rank"] <= 2  # the view may lie between two tiles
    # 150 m high and 20 degrees off nadir it looks 54.6 m ahead: there the place is marked.
    ahead = 150.0 * np.tan(np.radians(20.0)) * np.array([np.sin(np.pi / 3), np.cos(np.pi / 3)])
    np.testing.assert_allclose(
        [data["expected"]["east"], data["expected"]["north"]],
        np.array([20.0, -30.0]) + ahead,
        atol=0.5,
    )
    by_height = tmp_path / "height.html"
    arguments = [
        "preview", str(built), "--html", str(by_height), "--image", str(image), "--height-m", "150",
        "--heading-deg", "60", "--camera.pitch-deg=-70", "--camera.focal-length-35mm",
        str(FOCAL_35MM), "--threads", "1",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert (
        page_of(by_height)[1]["levels"][1]["found"]["places"]
        == (data["levels"][1]["found"]["places"])
    )


def test_a_page_loads_nothing_from_elsewhere(built, painted, tmp_path):
    image = write_view(tmp_path / "view.png", painted, tile_centre(built, 1, 4, 6))
    page = tmp_path / "deep" / "page.html"
    assert main(["preview", str(built), "--html", str(page), "--image", str(image)]) == 0
    content, data = page_of(page)
    assert "default-src 'none'" in content
    assert not re.search(r"https?://|//cdn|import\s*\(|fetch\(|XMLHttpRequest", content)
    assert PageData(content).addresses == []
    sources = [data["picture"]["source"], data["view"]["source"]]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)


def test_a_page_shows_every_tile_where_it_is(built, tmp_path):
    page = tmp_path / "page.html"
    assert main(["preview", str(built), "--html", str(page)]) == 0
    region_map = load_region_map(built)
    _, data = page_of(page)
    for number, level in enumerate(data["levels"]):
        cells = cells_of(level["layers"]["coverage"])
        np.testing.assert_array_equal(cells > 0, region_map.rows_at(number) >= 0)
        assert level["tiles"] == region_map.tiles_per_level[number]
        assert level["found"] is None
    assert data["view"] is None


def test_holes_and_distinctiveness_are_layers(tmp_path):
    hole = frozenset((row, column) for row in range(5, 9) for column in range(7, 12))
    folder = write_small_map(tmp_path / "holes.map", missing=hole)
    tiles = np.load(folder / "tiles.npy")
    tiles["distinctiveness"] = tiles["lattice_column"] / (LEVEL.columns - 1)
    np.save(folder / "tiles.npy", tiles)
    seal_again(folder)
    layers = layers_of(load_region_map(folder), 0, None)
    assert layers.missing == 20
    assert layers.present.cells[6, 8] == 0
    assert layers.present.cells[4, 8] == 255
    distinct = layers.distinctiveness.cells
    assert (distinct[0, 0], distinct[0, -1]) == (1, 255)
    assert distinct[6, 8] == 0
    picture = tmp_path / "map.png"
    assert main(["preview", str(folder), "-o", str(picture)]) == 0
    shown = cv2.imread(str(picture))
    scale = 1600 / 500
    column, row = (round(metres / PREVIEW_SCALE_M * scale) for metres in (500 - 155, 400 - 165))
    blue, green, red = (int(value) for value in shown[row, column])
    assert red > 120
    assert max(blue, green) < 90  # a hole, over grey ground


def test_large_lattices_are_thinned_but_keep_their_peaks():
    from dmnil_maps.preview.layers import _thinned

    cells = np.zeros((LONGEST_SIDE * 2 + 1, 30), np.uint8)
    cells[-1, -1] = 200
    thinned = _thinned(cells, 3)
    assert thinned.shape == (801, 10)
    assert thinned[-1, -1] == 200


def test_best_places_stand_a_footprint_apart(built):
    region_map = load_region_map(built)
    level = region_map.levels[1]
    scores = np.random.default_rng(3).normal(size=region_map.tiles_per_level[1])
    places = best_places(region_map, 1, scores.astype(np.float32))
    assert places[0].score == pytest.approx(scores.max(), abs=1e-6)
    centres = np.array([level.centre(p.lattice_row, p.lattice_column) for p in places])
    apart = np.abs(centres[:, None] - centres[None]).max(axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min() >= level.footprint_m
    assert [p.score for p in places] == sorted((p.score for p in places), reverse=True)


def test_the_verdict_tells_found_from_chance(built, painted, tmp_path):
    region_map = load_region_map(built)
    centre = tile_centre(built, 0, 8, 12)
    image = write_view(tmp_path / "view.png", painted, centre, footprint_m=60.0)
    found = search_view(region_map, ViewConfig(image=image, footprint_m=60.0)).best
    noise = np.random.default_rng(2).integers(0, 256, (240, 240, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "noise.png"), noise)
    lost = search_view(region_map, ViewConfig(image=tmp_path / "noise.png", footprint_m=60.0)).best
    assert verdict_of(region_map, lost).grade == "poor"
    assert found.places[0].score > lost.places[0].score
    assert expected_place(region_map, found, centre).rank == 1
    assert expected_place(region_map, found, (1e6, 0.0)) is None


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_the_page(built, painted, tmp_path):
    image = write_view(tmp_path / "view.png", painted, tile_centre(built, 1, 4, 6))
    page = tmp_path / "page.html"
    arguments = ["--image", str(image), "--footprint-m", "120", "--expected=47.3769,8.5417"]
    assert main(["preview", str(built), "--html", str(page), *arguments]) == 0
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            "--virtual-time-budget=8000", f"--user-data-dir={tmp_path / 'profile'}", page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    shown = PageText(done.stdout)
    assert 'data-ready="true"' in done.stdout, done.stderr[-2000:]
    assert "ground.map" in shown.text
    assert "Best places" in shown.text
    best = search_view(load_region_map(built), ViewConfig(image=image, footprint_m=120.0)).best
    assert f"{best.places[0].latitude_deg:.6f}" in shown.text
    assert "60 m tiles every 15 m" in shown.text


def test_text_of_a_map_cannot_break_out_of_the_page(tmp_path):
    folder = write_small_map(tmp_path / "evil.map")
    evil = '</script><img src=x onerror="alert(1)">\u2028'
    seal_again(folder, imagery={"attribution": evil})
    page = tmp_path / "page.html"
    assert main(["preview", str(folder), "--html", str(page)]) == 0
    content, data = page_of(page)
    assert data["attribution"] == evil
    assert PageData(content).elements.count("img") == 0


def test_both_outputs_and_what_was_found_are_printed(built, painted, tmp_path, capsys):
    image = write_view(tmp_path / "view.png", painted, tile_centre(built, 1, 4, 6))
    outputs = [str(tmp_path / "map.png"), str(tmp_path / "page.html")]
    arguments = ["-o", outputs[0], "--html", outputs[1], "--image", str(image)]
    assert main(["preview", str(built), *arguments]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("view.png: ")
    assert printed.splitlines()[-1] == ", ".join(outputs)
    assert cv2.imread(outputs[0]).shape[1] == 1600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give -o preview.png, --html page.html, or both"),
        (["-o", "page.html"], "is not named .png"),
        (["-o", "p.png", "--expected", "north"], "--expected takes LAT,LON"),
        (["-o", "p.png", "--image", "none.jpg"], "none.jpg cannot be read"),
        (["-o", "p.png", "--image", "text.jpg"], "is not a picture"),
        (["-o", "p.png", "--image", "view.png", "--encoder", "none.encoder"], "no such directory"),
        (["-o", "p.png", "--image", "view.png", "--encoder", "other"], "was built with encoder"),
        (["-o", "p.png", "--image", "view.png", "--footprint-m", "20"], "smallest footprint"),
        (["-o", "p.png", "--image", "view.png", "--height-m", "100"], "the lens is unknown"),
        (["-o", "p.png", "--image", "view.png", "--telemetry", "none.csv"], "none.csv"),
        (["-o", "p.png", "--image", "view.png", "--headings", "0"], "headings must be 1"),
        (["-o", "p.png", "--image", "view.png", "--precision", "fp16"], "no fp16 graph"),
    ],
)
def test_a_preview_of_nothing_is_one_line(
    built, painted, tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)
    write_view(tmp_path / "view.png", painted, (0.0, 0.0))
    (tmp_path / "text.jpg").write_text("no picture")
    write_tiny_encoder(tmp_path / "other", cells=8)
    assert main(["preview", str(built), *arguments]) == 2
    assert words in error_of(capsys)
    assert not (tmp_path / "p.png").exists()


def test_an_encoder_that_is_not_beside_the_map_has_to_be_named(built, painted, tmp_path, capsys):
    alone = Path(shutil.copytree(built, tmp_path / "alone.map"))
    image = write_view(tmp_path / "view.png", painted, (0.0, 0.0))
    assert main(["preview", str(alone), "-o", str(tmp_path / "p.png"), "--image", str(image)]) == 2
    assert "name it with --encoder" in error_of(capsys)


def test_a_missing_map_is_one_line(tmp_path, capsys):
    assert main(["preview", str(tmp_path / "none.map"), "-o", str(tmp_path / "p.png")]) == 2
    assert "no such directory" in error_of(capsys)
