"""The public datasets' folders: which pictures are trained on, and what counts as found."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dmnil_train.data import denseuav, sues200, university1652
from dmnil_train.data.config import DataConfig
from dmnil_train.data.layouts import open_retrieval_tasks, open_training_data
from dmnil_train.data.pool import RetrievalTask
from edge_runtime.contract.errors import SourceError


def draw(path: Path, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((9, 9, 3), shade, np.uint8))


def found(task: RetrievalTask) -> list[list[str]]:
    """Names of the gallery images that count as found, query by query."""
    return [
        [
            name
            for name, other in zip(task.gallery.names, task.gallery_places, strict=True)
            if other == place
        ]
        for place in task.query_places
    ]


# University-1652


@pytest.fixture
def university(tmp_path: Path) -> Path:
    folder = tmp_path / "University-Release"
    for place in ("0002", "0010"):
        draw(folder / "train/satellite" / place / f"{place}.jpg", 20)
        for view, suffix in (("drone", "jpeg"), ("street", "jpg")):
            for number in (1, 2, 10):
                draw(folder / "train" / view / place / f"image-{number}.{suffix}", 10 * number)
    for place in ("0003", "0007", "0839"):
        for part in ("gallery_satellite", "query_satellite", "query_drone", "gallery_drone"):
            draw(folder / "test" / part / place / "1.jpg")
        for part in ("query_street", "gallery_street"):
            draw(folder / "test" / part / place / "1.jpg")
    (folder / "train/drone/.hidden").mkdir()
    draw(folder / "train/drone/@eaDir/1.jpg")
    return folder


def test_university_pools_hold_every_training_picture_and_its_place(
    university: Path, tmp_path: Path
) -> None:
    config = DataConfig("university1652", root=university, cache=tmp_path / "cache")
    data = open_training_data(config, 6, 6)
    assert data.drone is not None
    assert data.satellite.names == ("0002/0002.jpg", "0010/0010.jpg")
    assert list(data.satellite.places) == [2, 10]
    assert data.drone.names[:3] == ("0002/image-1.jpeg", "0002/image-2.jpeg", "0002/image-10.jpeg")
    assert list(data.drone.places) == [2, 2, 2, 10, 10, 10]
    assert data.drone.pictures.shape == (6, 6, 6, 3)
    assert data.drone.pictures[2, 0, 0, 0] == pytest.approx(100, abs=3)
    assert data.single_satellite_images
    assert data.satellite.positions_m is None


def test_university_tasks_go_both_ways(university: Path) -> None:
    forth, back = university1652.retrieval_tasks(university)
    assert (forth.name, back.name) == ("drone->satellite", "satellite->drone")
    assert found(forth) == [["0003/1.jpg"], ["0007/1.jpg"], ["0839/1.jpg"]]
    assert found(back) == found(forth)
    assert (forth.turnable_side, back.turnable_side) == ("gallery", "queries")
    assert forth.query_positions_deg is None


def test_tasks_are_read_at_the_encoders_size(university: Path, tmp_path: Path) -> None:
    config = DataConfig("university1652", root=university, cache=tmp_path)
    for task in open_retrieval_tasks(config, 6, 8):
        assert task.queries.read(0).shape == (6, 8, 3)
        assert task.gallery.read(1).shape == (6, 8, 3)


def test_ground_to_aerial_takes_the_street_view_first(university: Path, tmp_path: Path) -> None:
    config = DataConfig("university1652", root=university, cache=tmp_path, drone_view="street")
    data = open_training_data(config, 6, 6)
    assert data.drone is not None
    assert data.drone.names[0] == "0002/image-1.jpg"
    assert data.single_satellite_images
    tasks = open_retrieval_tasks(config, 6, 6)
    assert [task.name for task in tasks] == ["street->satellite", "satellite->street"]
    assert [task.turnable_side for task in tasks] == [None, None]


def test_street_to_drone_clusters_the_second_view_too(university: Path) -> None:
    files = university1652.training_files(university, "street", "drone")
    assert not files.single_satellite_images
    assert len(files.satellite) == 6
    names = [task.name for task in university1652.retrieval_tasks(university, "street", "drone")]
    assert names == ["street->drone", "drone->street"]


# SUES-200

SUES_PLACES = {1: "train", 8: "test", 120: "train", 195: "test"}


def draw_sues(folder: Path, places: Iterable[int] = SUES_PLACES) -> Path:
    for place in places:
        draw(folder / f"satellite-view/{place:04d}/0.png")
        for height in sues200.HEIGHTS_M:
            for number in (0, 1):
                draw(folder / f"drone_view_512/{place:04d}/{height}/{number}.jpg")
    return folder


def test_the_benchmark_tests_on_80_of_200_places() -> None:
    assert len(sues200.TEST_PLACES) == 80
    assert min(sues200.TEST_PLACES) == 8
    assert max(sues200.TEST_PLACES) == 195


def test_sues_trains_on_the_training_places_at_every_height(tmp_path: Path) -> None:
    files = sues200.training_files(draw_sues(tmp_path))
    assert list(files.satellite.places) == [1, 120]
    assert sorted(set(files.drone.places.tolist())) == [1, 120]
    assert len(files.drone) == 2 * 4 * 2
    assert files.drone.files.names[:3] == ("0001/150/0.jpg", "0001/150/1.jpg", "0001/200/0.jpg")
    assert files.single_satellite_images


def test_sues_trains_on_chosen_heights(tmp_path: Path) -> None:
    files = sues200.training_files(draw_sues(tmp_path), (250,))
    assert set(files.drone.files.names) == {
        f"{place}/250/{number}.jpg" for place in ("0001", "0120") for number in (0, 1)
    }


def test_sues_tests_each_height_against_all_places(tmp_path: Path) -> None:
    tasks = sues200.retrieval_tasks(draw_sues(tmp_path))
    assert [task.name for task in tasks] == [
        f"{direction}, {height} m"
        for height in (150, 200, 250, 300)
        for direction in ("drone->satellite", "satellite->drone")
    ]
    forth, back = tasks[2], tasks[3]
    assert (forth.turnable_side, back.turnable_side) == ("gallery", "queries")
    assert list(forth.query_places) == [8, 8, 195, 195]
    assert list(forth.gallery_places) == [1, 8, 120, 195]
    assert all("/200/" in name for name in forth.queries.names)
    assert found(forth)[0] == ["0008/0.png"]
    assert list(back.query_places) == [8, 195]
    assert list(back.gallery_places) == [1, 1, 8, 8, 120, 120, 195, 195]
    assert found(back)[1] == ["0195/200/0.jpg", "0195/200/1.jpg"]


def test_sues_satellite_images_are_one_pool_at_every_height(tmp_path: Path) -> None:
    config = DataConfig("sues200", root=draw_sues(tmp_path / "s"), cache=tmp_path)
    tasks = open_retrieval_tasks(config, 6, 8)
    forth, back = tasks[::2], tasks[1::2]
    assert len(tasks) == 8
    assert len({id(task.gallery) for task in forth}) == 1
    assert len({id(task.queries) for task in back}) == 1
    drone = [*(task.queries for task in forth), *(task.gallery for task in back)]
    assert len({id(pool) for pool in drone}) == 8


def test_sues_that_is_split_already_keeps_its_split(tmp_path: Path) -> None:
    for height in (150, 300):
        for part in ("Training/{}/drone/0008", "Testing/{}/query_drone/0001"):
            draw(tmp_path / part.format(height) / "0.jpg")
        draw(tmp_path / f"Training/{height}/satellite/0008/0.png")
        draw(tmp_path / f"Testing/{height}/query_satellite/0001/0.png")
        for place in ("0001", "0008"):
            draw(tmp_path / f"Testing/{height}/gallery_satellite/{place}/0.png")
            draw(tmp_path / f"Testing/{height}/gallery_drone/{place}/0.jpg")
    files = sues200.training_files(tmp_path, (150, 300))
    assert files.drone.files.names == (
        "Training/150/drone/0008/0.jpg",
        "Training/300/drone/0008/0.jpg",
    )
    assert list(files.satellite.places) == [8]  # one image a place, not one a height
    forth, back = sues200.retrieval_tasks(tmp_path, (300,))
    assert found(forth) == [["0001/0.png"]]
    assert list(forth.gallery_places) == [1, 8]
    low, _, high, _ = sues200.retrieval_tasks(tmp_path, (150, 300))
    assert high.gallery is low.gallery
    assert high.queries is not low.queries
    assert found(back) == [["0001/0.jpg"]]


# DenseUAV


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    folder = tmp_path / "DenseUAV"
    for place in ("000000", "000001"):
        for height in (80, 90, 100):
            draw(folder / f"train/drone/{place}/H{height}.JPG")
            draw(folder / f"train/satellite/{place}/H{height}.tif")
            draw(folder / f"train/satellite/{place}/H{height}_old.tif")
    for place in ("002256", "002257"):
        draw(folder / f"test/query_drone/{place}/H80.JPG")
        for name in ("H80.tif", "H80_old.tif"):
            draw(folder / f"test/gallery_satellite/{place}/{name}")
    return folder


def write_positions(folder: Path, lines: Iterable[str], name: str = "Dense_GPS_ALL.txt") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_dense_places_have_several_satellite_images(dense: Path) -> None:
    files = denseuav.training_files(dense)
    assert not files.single_satellite_images
    assert list(files.satellite.places) == [0] * 6 + [1] * 6
    assert list(files.drone.places) == [0] * 3 + [1] * 3
    assert files.drone.files.names[:3] == ("000000/H80.JPG", "000000/H90.JPG", "000000/H100.JPG")


def test_dense_positions_are_longitude_and_latitude_of_each_image(dense: Path) -> None:
    write_positions(
        dense,
        [
            "path longitude latitude height",
            "",
            "DenseUAV/test/satellite/002256/H80.tif E120.387 N30.325 94.65",
            "DenseUAV\\test\\satellite\\002257\\H80.tif  e120.5, n-30.25 94.65",
            "DenseUAV/test/satellite/009999/H80.tif E120.nan N30.1 94.65",
        ],
    )
    (task,) = denseuav.retrieval_tasks(dense)
    assert (task.name, task.turnable_side) == ("drone->satellite", "gallery")
    assert task.query_positions_deg is not None
    assert task.gallery_positions_deg is not None
    assert task.query_positions_deg.tolist() == [[120.387, 30.325], [120.5, -30.25]]
    assert task.gallery_positions_deg.tolist() == [
        [120.387, 30.325],
        [120.387, 30.325],
        [120.5, -30.25],
        [120.5, -30.25],
    ]
    assert found(task)[0] == ["002256/H80.tif", "002256/H80_old.tif"]


def test_west_and_south_are_negative(tmp_path: Path) -> None:
    path = write_positions(tmp_path, ["a/7/H80.JPG W70.5 S33.25 90"])
    assert denseuav.read_positions(path) == {7: (-70.5, -33.25)}


def test_the_last_line_of_a_place_counts(tmp_path: Path) -> None:
    path = write_positions(tmp_path, ["a/7/H80.JPG E1 N2 80", "a/7/H90.JPG E3 N4 90"])
    assert denseuav.read_positions(path) == {7: (3.0, 4.0)}


@pytest.mark.parametrize("line", ["", "a/7/H80.JPG 120.4 30.3", "a/7/H80.JPG E181 N30 9"])
def test_a_file_without_positions_says_what_a_line_should_be(tmp_path: Path, line: str) -> None:
    path = write_positions(tmp_path, [line])
    with pytest.raises(SourceError, match=r"no positions: expected lines <place>/<file> E<longi"):
        denseuav.read_positions(path)


def test_places_without_a_position_are_named(dense: Path) -> None:
    write_positions(dense, ["a/002256/H80.tif E120.4 N30.3 90"], "Dense_GPS_test.txt")
    with pytest.raises(SourceError, match=r"Dense_GPS_test\.txt has no position of 1 .* 002257"):
        denseuav.retrieval_tasks(dense)


def test_without_positions_recall_is_still_scored(
    dense: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        (task,) = denseuav.retrieval_tasks(dense)
    assert task.query_positions_deg is None
    assert "Dense_GPS_ALL.txt" in caplog.text


# Missing and empty folders


@pytest.mark.parametrize(
    ("layout", "missing", "expected"),
    [
        ("university1652", "train/drone", r"train/\{drone,satellite\}/<place>"),
        ("university1652", "train/satellite", r"train/\{drone,satellite\}/<place>"),
        ("denseuav", "train/drone", r"train/\{drone,satellite\}/<place>"),
        ("denseuav", "train/satellite", r"train/\{drone,satellite\}/<place>"),
        ("sues200", "drone_view_512", r"drone_view_512/<place>/<height>"),
        ("sues200", "satellite-view", r"satellite-view/<place>"),
    ],
)
@pytest.mark.parametrize("how", ["missing", "empty", "no pictures"])
def test_a_training_folder_that_is_missing_or_empty_is_named(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    layout: str,
    missing: str,
    expected: str,
    how: str,
) -> None:
    root = dataset(request, tmp_path, layout)
    (root / missing).rename(tmp_path / "away")
    if how != "missing":
        (root / missing).mkdir()
    if how == "no pictures":
        (root / missing / "0001").mkdir()
        (root / missing / "0001" / "notes.txt").write_text("nothing")
    config = DataConfig(layout, root=root, cache=tmp_path / "cache")
    with pytest.raises(SourceError, match=rf"{missing}.*expected .*{expected}"):
        open_training_data(config, 6, 6)


@pytest.mark.parametrize(
    ("layout", "missing"),
    [
        ("university1652", "test/query_drone"),
        ("university1652", "test/gallery_drone"),
        ("denseuav", "test/gallery_satellite"),
        ("sues200", "satellite-view"),
    ],
)
def test_a_test_folder_that_is_missing_is_named(
    request: pytest.FixtureRequest, tmp_path: Path, layout: str, missing: str
) -> None:
    root = dataset(request, tmp_path, layout)
    (root / missing).rename(tmp_path / "away")
    config = DataConfig(layout, root=root, cache=tmp_path / "cache")
    with pytest.raises(SourceError, match=f"{missing} is missing: expected"):
        open_retrieval_tasks(config, 6, 6)


def test_a_split_of_which_a_height_is_missing_names_it(tmp_path: Path) -> None:
    draw(tmp_path / "Training/150/drone/0001/0.jpg")
    with pytest.raises(SourceError, match="Training/200/drone is missing"):
        sues200.training_files(tmp_path)


@pytest.mark.parametrize("layout", ["university1652", "sues200", "denseuav"])
def test_another_folder_shows_the_layout_expected(tmp_path: Path, layout: str) -> None:
    (tmp_path / "holiday").mkdir()
    draw(tmp_path / "holiday/beach.jpg")
    config = DataConfig(layout, root=tmp_path / "holiday", cache=tmp_path)
    with pytest.raises(SourceError, match=r"is missing: expected .*<place>"):
        open_training_data(config, 6, 6)
    config = DataConfig(layout, root=tmp_path / "nowhere", cache=tmp_path)
    with pytest.raises(SourceError, match="nowhere: no such folder"):
        open_training_data(config, 6, 6)


def dataset(request: pytest.FixtureRequest, tmp_path: Path, layout: str) -> Path:
    if layout == "sues200":
        return draw_sues(tmp_path / "SUES-200")
    return request.getfixturevalue({"university1652": "university", "denseuav": "dense"}[layout])
