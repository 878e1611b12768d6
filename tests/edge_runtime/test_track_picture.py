from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.contract.errors import MapError, OutputError
from edge_runtime.contract.fix import Fix, IntegrityState, Position
from edge_runtime.contract.region_map import PREVIEW_FILE, RegionMap, load_region_map
from edge_runtime.outputs import track_picture
from edge_runtime.outputs.track_picture import draw_track
from edge_runtime.telemetry.truth import TruePlace
from tests.small_map import FRAME

# The map's preview begins at (-500, 400) and has 400 rows of 2 m: drawn at 1000 rows, 0.8 m each.
SCALE_M = 0.8


def pixel_of(east_m: float, north_m: float) -> tuple[int, int]:
    """Row and column of a place in the picture."""
    return round((400.0 - north_m) / SCALE_M), round((east_m + 500.0) / SCALE_M)


def fix(
    number: int,
    east_north_m: tuple[float, float] | None,
    state: IntegrityState = IntegrityState.TRACKING,
    radius95_m: float = 40.0,
) -> Fix:
    position = None
    if east_north_m is not None:
        latitude, longitude = FRAME.to_geodetic(east_north_m)
        position = Position(float(latitude), float(longitude), 1.0, 1.0, 0.0, radius95_m)
    return Fix(f"{number}.jpg", float(number), state, "", position)


def picture_of(
    folder: Path,
    region_map: RegionMap,
    fixes: list[Fix],
    truth: dict[str, TruePlace] | None = None,
    title: str = "",
) -> np.ndarray:
    draw_track(folder / "track.png", region_map, fixes, truth, title)
    assert (folder / "track.png").read_bytes().startswith(b"\x89PNG")
    return cv2.imread(str(folder / "track.png"), cv2.IMREAD_COLOR)


TRACK = [fix(number, (-100.0 + 20.0 * number, 50.0)) for number in range(10)]
SILENT = [fix(number, None, IntegrityState.LOST) for number in range(10)]


@pytest.fixture(scope="module")
def bare(region_map: RegionMap, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The picture of a flight that published nothing."""
    return picture_of(tmp_path_factory.mktemp("bare"), region_map, SILENT)


def changed(picture: np.ndarray, bare: np.ndarray) -> np.ndarray:
    """Which pixels a flight changed, its legend left aside."""
    differs = np.abs(picture.astype(int) - bare.astype(int)).max(axis=2) > 10
    differs[:200, :400] = False
    return differs


def test_a_flight_without_positions_still_has_a_picture(bare: np.ndarray) -> None:
    assert bare.shape == (1000, 1250, 3)
    # Background, and a legend that says so on top of it.
    assert bare[600, 900].tolist() == pytest.approx([0.72 * 90] * 3, abs=2)
    assert bare[12:140, 12:342].max() > 200


def test_no_fixes_at_all_have_a_picture_too(region_map: RegionMap, tmp_path: Path) -> None:
    assert picture_of(tmp_path, region_map, []).shape == (1000, 1250, 3)


def test_a_published_track_is_drawn_at_its_place_and_nowhere_else(
    region_map: RegionMap, bare: np.ndarray, tmp_path: Path
) -> None:
    differs = changed(picture_of(tmp_path, region_map, TRACK), bare)
    for number in range(10):
        row, column = pixel_of(-100.0 + 20.0 * number, 50.0)
        assert differs[row - 1 : row + 2, column - 1 : column + 2].all()
    rows, columns = np.nonzero(differs)
    reach = round(45.0 / SCALE_M) + 20
    north, west = pixel_of(-100.0, 50.0)
    _, east = pixel_of(80.0, 50.0)
    assert north - reach < rows.min() < rows.max() < north + reach
    assert west - reach < columns.min() < columns.max() < east + reach


def test_tracking_is_green_and_coasting_is_not(region_map: RegionMap, tmp_path: Path) -> None:
    fixes = [*TRACK, fix(10, (200.0, -200.0), IntegrityState.COASTING)]
    picture = picture_of(tmp_path, region_map, fixes)
    blue, green, red = picture[pixel_of(20.0, 50.0)].tolist()
    assert green > blue + 50
    assert green > red + 50
    blue, green, red = picture[pixel_of(200.0, -200.0)].tolist()
    assert red > green > blue


def test_the_95_percent_radius_is_a_circle_around_the_position(
    region_map: RegionMap, bare: np.ndarray, tmp_path: Path
) -> None:
    differs = changed(picture_of(tmp_path, region_map, [fix(0, (150.0, -100.0))]), bare)
    for east, north in [(190.0, -100.0), (110.0, -100.0), (150.0, -140.0)]:
        row, column = pixel_of(east, north)
        assert differs[row - 2 : row + 3, column - 2 : column + 3].any()
    row, column = pixel_of(150.0, -125.0)
    assert not differs[row - 4 : row + 5, column - 4 : column + 5].any()


def test_a_relocalisation_is_not_drawn_as_flown(
    region_map: RegionMap, bare: np.ndarray, tmp_path: Path
) -> None:
    first = fix(0, (-300.0, -200.0))
    again = fix(1, (300.0, -200.0))
    row, column = pixel_of(0.0, -200.0)
    joined = changed(picture_of(tmp_path, region_map, [first, again]), bare)
    assert joined[row, column]
    reset = Fix(**{**vars(again), "reset_counter": 1})
    apart = changed(picture_of(tmp_path, region_map, [first, reset]), bare)
    assert not apart[row - 3 : row + 4, column].any()


def test_the_truth_is_a_white_line(region_map: RegionMap, bare: np.ndarray, tmp_path: Path) -> None:
    truth = {}
    for number in range(10):
        latitude, longitude = FRAME.to_geodetic([-100.0 + 20.0 * number, -250.0])
        truth[f"{number}.jpg"] = TruePlace(float(latitude), float(longitude), 0.0, 0.0)
    picture = picture_of(tmp_path, region_map, SILENT, truth)
    row, column = pixel_of(0.0, -250.0)
    assert picture[row, column].min() > 200
    assert changed(picture, bare).sum() < 5000


def test_positions_far_off_the_picture_do_no_harm(
    region_map: RegionMap, bare: np.ndarray, tmp_path: Path
) -> None:
    picture = picture_of(tmp_path, region_map, [fix(0, (9000.0, 9000.0))])
    assert not changed(picture, bare).any()


def test_a_title_is_written_into_the_legend(
    region_map: RegionMap, bare: np.ndarray, tmp_path: Path
) -> None:
    titled = picture_of(tmp_path, region_map, SILENT, title="morning flight")
    assert not np.array_equal(titled[:140, :342], bare[:140, :342])
    assert not changed(titled, bare).any()


def test_a_map_whose_preview_is_no_picture_is_an_error(own_map: Path, tmp_path: Path) -> None:
    (own_map / PREVIEW_FILE).write_bytes(b"x" * (own_map / PREVIEW_FILE).stat().st_size)
    with pytest.raises(MapError, match=r"preview\.jpg is not a picture"):
        draw_track(tmp_path / "track.png", load_region_map(own_map), TRACK)


def test_a_picture_that_cannot_be_written_is_an_error(
    region_map: RegionMap, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        draw_track(tmp_path / "no such folder" / "track.png", region_map, TRACK)


def test_the_outline_of_a_text_lies_around_its_letters() -> None:
    canvas = np.full((60, 700, 3), 128, np.uint8)
    track_picture._text(canvas, "95 % radius; no position in 35 frames", (10, 40), 0.5)
    dark, light = (
        np.flatnonzero(ink.any(axis=0)) for ink in (canvas[..., 0] < 60, canvas[..., 0] > 200)
    )
    assert dark.max() - light.max() <= 3
    assert light.min() - dark.min() <= 3
