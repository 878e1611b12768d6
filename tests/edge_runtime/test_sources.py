from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError, SourceError
from edge_runtime.sources.folder import FolderSource
from edge_runtime.sources.open import open_source
from edge_runtime.sources.video import VideoSource

FRAMES_PER_S, VIDEO_FRAMES = 10.0, 25


def write_picture(path: Path, colour_rgb: tuple[int, int, int] = (200, 100, 50)) -> Path:
    picture = np.empty((24, 32, 3), np.uint8)
    picture[:] = colour_rgb[::-1]
    assert cv2.imwrite(str(path), picture)
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.5 s of ever brighter grey."""
    path = tmp_path_factory.mktemp("video") / "flight.avi"
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, FRAMES_PER_S, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for number in range(VIDEO_FRAMES):
        writer.write(np.full((48, 64, 3), 10 * number, np.uint8))
    writer.release()
    return path


# Folders


def test_pictures_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("frame_0010.png", "frame_0002.png", "frame_0001.jpg"):
        write_picture(tmp_path / name)
    source = open_source(tmp_path)
    assert len(source) == 3
    frames = list(source)
    assert [frame.name for frame in frames] == [
        "frame_0001.jpg",
        "frame_0002.png",
        "frame_0010.png",
    ]
    assert [frame.number for frame in frames] == [1, 2, 10]
    assert {frame.time_s for frame in frames} == {None}


def test_pictures_are_rgb(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", (200, 100, 50))
    (frame,) = FolderSource(tmp_path)
    assert frame.image is not None
    assert frame.image.dtype == np.uint8
    assert frame.image.shape == (24, 32, 3)
    assert frame.image[3, 4].tolist() == [200, 100, 50]


def test_a_grey_picture_becomes_rgb(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((24, 32), 77, np.uint8))
    (frame,) = FolderSource(tmp_path)
    assert frame.image is not None
    assert frame.image.shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("name", "number"),
    [("x.png", None), ("DJI_0042.png", 42), ("2026-04-27_0007.png", 7), ("12.png", 12)],
)
def test_the_last_number_of_a_name_is_the_frame_count(
    tmp_path: Path, name: str, number: int | None
) -> None:
    write_picture(tmp_path / name)
    (frame,) = FolderSource(tmp_path)
    assert frame.number == number


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\xff\xd8\xff\xe0 half a jpeg"])
def test_a_picture_that_does_not_decode_is_reported_and_not_fatal(
    tmp_path: Path, content: bytes
) -> None:
    write_picture(tmp_path / "1.png")
    (tmp_path / "2.jpg").write_bytes(content)
    write_picture(tmp_path / "3.png")
    frames = list(FolderSource(tmp_path))
    assert [frame.name for frame in frames] == ["1.png", "2.jpg", "3.png"]
    assert [frame.image is None for frame in frames] == [False, True, False]


def test_other_files_of_the_folder_are_passed_over(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.PNG")
    (tmp_path / "frames.csv").write_text("frame\n", encoding="utf-8")
    (tmp_path / "thumbnails").mkdir()
    assert [frame.name for frame in FolderSource(tmp_path)] == ["1.PNG"]


def test_a_folder_may_be_read_twice(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.png")
    source = FolderSource(tmp_path)
    assert [frame.name for frame in source] == [frame.name for frame in source] == ["1.png"]


def test_a_folder_without_pictures_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "frames.csv").write_text("frame\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"holds no picture \(.*\.jpg.*\.png"):
        open_source(tmp_path)


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such folder or video"):
        open_source(tmp_path / "nowhere")


# Videos


def test_every_frame_of_a_video_comes_with_its_count_and_time(video: Path) -> None:
    source = open_source(video)
    frames = list(source)
    assert len(source) == len(frames) == VIDEO_FRAMES
    assert [frame.number for frame in frames] == list(range(1, VIDEO_FRAMES + 1))
    assert [frame.time_s for frame in frames] == pytest.approx(
        [number / FRAMES_PER_S for number in range(VIDEO_FRAMES)]
    )
    assert frames[6].name == "000007"
    for number, frame in enumerate(frames):
        assert frame.image is not None
        assert frame.image.shape == (48, 64, 3)
        assert float(frame.image.mean()) == pytest.approx(10 * number, abs=3)


@pytest.mark.parametrize(
    ("every_s", "numbers"),
    [
        (0.0, range(1, 26)),
        (0.02, range(1, 26)),
        (0.5, [1, 6, 11, 16, 21]),
        (0.7, [1, 8, 15, 22]),
        (2.5, [1]),
        (100.0, [1]),
    ],
)
def test_a_video_is_sampled_at_an_even_interval(
    video: Path, every_s: float, numbers: list[int]
) -> None:
    source = open_source(video, every_s)
    frames = list(source)
    assert [frame.number for frame in frames] == list(numbers)
    assert len(source) == len(frames)
    for frame in frames:
        assert frame.image is not None
        assert float(frame.image.mean()) == pytest.approx(10 * (int(frame.name) - 1), abs=3)


@pytest.mark.parametrize("every_s", [-1.0, float("nan"), float("inf")])
def test_an_impossible_interval_is_refused(video: Path, every_s: float) -> None:
    with pytest.raises(ConfigError, match="every_s"):
        VideoSource(video, every_s)


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\x00\x00\x00\x18ftypmp42 cut"])
def test_a_file_that_is_no_video_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "flight.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="cannot be opened as a video") as caught:
        open_source(path)
    assert "\n" not in str(caught.value)


def test_a_video_cut_short_gives_the_frames_that_are_left(video: Path, tmp_path: Path) -> None:
    content = video.read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(content[: int(0.8 * len(content))])
    frames = list(open_source(path))
    assert len(frames) == VIDEO_FRAMES
    decoded = [frame.image is not None for frame in frames]
    assert decoded == sorted(decoded, reverse=True)
    assert 10 < sum(decoded) < VIDEO_FRAMES


def test_a_damaged_frame_does_not_end_the_video(video: Path, tmp_path: Path) -> None:
    content = bytearray(video.read_bytes())
    pictures = [at for at in range(len(content)) if content[at : at + 3] == b"\xff\xd8\xff"]
    assert len(pictures) == VIDEO_FRAMES
    hole = pictures[8] - pictures[7] - 20
    content[pictures[7] : pictures[7] + hole] = bytes(hole)
    path = tmp_path / "damaged.avi"
    path.write_bytes(content)
    frames = list(open_source(path))
    assert [frame.number for frame in frames] == list(range(1, VIDEO_FRAMES + 1))
    assert [frame.number for frame in frames if frame.image is None] == [8]
    assert frames[20].image is not None
    assert float(frames[20].image.mean()) == pytest.approx(200, abs=3)


def test_numbers_in_names_count_by_their_value(tmp_path: Path) -> None:
    for name in ("f10.png", "f2.png", "f1.png"):
        write_picture(tmp_path / name)
    assert [frame.name for frame in open_source(tmp_path)] == ["f1.png", "f2.png", "f10.png"]


def test_a_jpeg_that_was_cut_short_does_not_decode(tmp_path: Path) -> None:
    whole = write_picture(tmp_path / "1.jpg").read_bytes()
    (tmp_path / "2.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    assert [frame.image is None for frame in open_source(tmp_path)] == [False, True]
