"""Pictures are decoded once, kept on disk, and never taken for whole when they are not."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmnil_train.data import picture_cache
from dmnil_train.data.picture_files import FilePool, pictures_in
from dmnil_train.data.pool import PreparedPool
from dmnil_train.data.prepare import prepare_pool, stored_size
from dmnil_train.data.resize import ChosenPool, ResizedPool, centre_crop, resized
from edge_runtime.contract.errors import ConfigError, OutputError, SourceError


def write_pictures(folder: Path, count: int, side: int = 12) -> FilePool:
    """Pictures of one colour each, 10 x their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        colour = np.full((side + number % 3, side, 3), 10 * (number % 25), np.uint8)
        assert cv2.imwrite(str(folder / f"{number}.png"), colour)
    return FilePool(pictures_in(folder), folder, "pictures")


def cut_short(pool: FilePool, *numbers: int) -> None:
    for number in numbers:
        path = pool.paths[number]
        path.write_bytes(path.read_bytes()[:40])


def files_of(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


SLOW_PREPARATION = """
import sys, time
from pathlib import Path
from dmnil_train.data.picture_files import FilePool, pictures_in
from dmnil_train.data.prepare import prepare_pool

decoded = FilePool.read

def slow(pool, index):
    time.sleep(float(sys.argv[3]))
    return decoded(pool, index)

FilePool.read = slow
folder, cache = Path(sys.argv[1]), Path(sys.argv[2])
prepare_pool(FilePool(pictures_in(folder), folder), 6, 6, cache, threads=1)
"""


def start_slow_preparation(pool: FilePool, cache: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Another process that is in the middle of preparing the pool."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_PREPARATION, str(pool.folder), str(cache), str(seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 30.0
    while not list(cache.glob(".*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


# What comes out


def test_pictures_of_any_size_come_in_order_at_one_size(tmp_path: Path) -> None:
    pool = write_pictures(tmp_path / "in", 30)
    prepared = prepare_pool(pool, 6, 8, tmp_path / "cache", threads=3)
    assert prepared.pictures.shape == (30, 6, 8, 3)
    assert [int(picture[0, 0, 0]) for picture in prepared.pictures] == [
        10 * (number % 25) for number in range(30)
    ]
    assert prepared.names == tuple(f"{number}.png" for number in range(30))
    assert (prepared.places == -1).all()
    assert isinstance(prepared.pictures, np.memmap)


def test_with_a_margin_the_encoder_sees_the_middle(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture = np.zeros((24, 24, 3), np.uint8)
    picture[4:20, 4:20] = 200
    assert cv2.imwrite(str(folder / "a.png"), picture)
    pool = FilePool(pictures_in(folder), folder)
    prepared = prepare_pool(pool, 16, 16, tmp_path / "cache", margin=1.5)
    assert prepared.pictures.shape == (1, 24, 24, 3)
    assert prepared.input_size == (16, 16)
    assert (prepared.read(0) == 200).all()


@given(height=st.integers(1, 600), margin=st.floats(1.0, 4.0))
def test_the_size_to_be_seen_survives_the_margin(height: int, margin: float) -> None:
    stored_height, _ = stored_size(height, 3, margin)
    picture = np.broadcast_to(np.uint8(0), (1, stored_height, stored_size(1, 3, margin)[1], 3))
    pool = PreparedPool(picture, ("a",), np.array([-1]), margin=margin)
    assert pool.input_size == (height, 3)


def test_unreadable_pictures_are_left_out_with_their_places_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool = write_pictures(tmp_path / "in", 40)
    cut_short(pool, 7, 21)
    places = np.arange(100, 140)
    for _ in range(2):  # prepared, then taken from the cache
        caplog.clear()
        prepared = prepare_pool(
            pool,
            6,
            6,
            tmp_path / "cache",
            places=places,
            positions_m=np.stack([places, -places], axis=1).astype(float),
        )
        assert len(prepared) == 38
        assert prepared.names == tuple(f"{n}.png" for n in range(40) if n not in (7, 21))
        assert list(prepared.places) == [100 + n for n in range(40) if n not in (7, 21)]
        assert prepared.positions_m is not None
        assert np.array_equal(prepared.positions_m[:, 1], -prepared.places)
        assert "2 of 40 pictures cannot be decoded (7.png, 21.png)" in caplog.text


def test_above_five_percent_of_unreadable_pictures_is_an_error_that_leaves_nothing(
    tmp_path: Path,
) -> None:
    pool = write_pictures(tmp_path / "in", 40)
    cut_short(pool, 7, 21, 35)
    with pytest.raises(SourceError, match=r"in: 3 of 40 pictures .*7\.png.* more than 5%"):
        prepare_pool(pool, 6, 6, tmp_path / "cache")
    assert files_of(tmp_path / "cache") == []


def test_an_empty_pool_names_the_folder_and_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"in holds no picture: expected <place>/\*"):
        prepare_pool(FilePool((), tmp_path / "in", "<place>/*"), 6, 6, tmp_path / "cache")


@pytest.mark.parametrize(("height", "margin"), [(0, 1.0), (6, 0.9), (6, float("nan"))])
def test_impossible_sizes_are_refused(tmp_path: Path, height: int, margin: float) -> None:
    pool = write_pictures(tmp_path / "in", 1)
    with pytest.raises(ConfigError, match="margin"):
        prepare_pool(pool, height, 6, tmp_path / "cache", margin=margin)


# The cache


def test_the_same_files_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = write_pictures(tmp_path / "in", 5)
    first = prepare_pool(pool, 6, 6, tmp_path / "cache")
    monkeypatch.setattr(FilePool, "read", lambda self, index: pytest.fail("decoded again"))
    again = prepare_pool(pool, 6, 6, tmp_path / "cache")
    assert np.array_equal(first.pictures, again.pictures)


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    pool = write_pictures(tmp_path / "in", 12)
    contents = []
    for threads in (1, 4):
        cache = tmp_path / f"cache{threads}"
        prepare_pool(pool, 6, 6, cache, threads=threads)
        contents.append([(path.name, path.read_bytes()) for path in sorted(cache.iterdir())])
    assert contents[0] == contents[1]


@pytest.mark.parametrize("change", ["content", "time", "name", "size", "margin", "fewer"])
def test_whatever_changes_is_decoded_anew(tmp_path: Path, change: str) -> None:
    pool = write_pictures(tmp_path / "in", 3)
    cache, height, margin = tmp_path / "cache", 6, 1.0
    prepare_pool(pool, height, 6, cache, margin=margin)
    path = pool.paths[1]
    if change == "content":
        assert cv2.imwrite(str(path), np.full((40, 40, 3), 99, np.uint8))
    elif change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "name":
        path.rename(path.with_name("1b.png"))
    elif change == "size":
        height = 7
    elif change == "margin":
        margin = 1.5
    else:
        path.unlink()
    pool = FilePool(pictures_in(tmp_path / "in"), tmp_path / "in")
    prepared = prepare_pool(pool, height, 6, cache, margin=margin)
    assert prepared.names == pool.names
    assert len(list(cache.glob("*.npy"))) == 2
    if change == "content":
        assert (prepared.pictures[1] == 99).all()


@pytest.mark.parametrize(
    "damage", ["array cut", "array other", "array gone", "json cut", "json gone", "json odd"]
)
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    pool, cache = write_pictures(tmp_path / "in", 4), tmp_path / "cache"
    prepare_pool(pool, 6, 6, cache)
    (array,), (entry,) = cache.glob("*.npy"), cache.glob("*.json")
    if damage == "array cut":
        array.write_bytes(array.read_bytes()[:-10])
    elif damage == "array other":
        np.save(array, np.zeros((9, 6, 6, 3), np.uint8))
    elif damage == "array gone":
        array.unlink()
    elif damage == "json cut":
        entry.write_bytes(entry.read_bytes()[:-30])
    elif damage == "json gone":
        entry.unlink()
    else:
        entry.write_text(json.dumps([1, 2]))
    prepared = prepare_pool(pool, 6, 6, cache)
    assert [int(picture[0, 0, 0]) for picture in prepared.pictures] == [0, 10, 20, 30]


def test_a_preparation_that_is_killed_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path,
) -> None:
    pool, cache = write_pictures(tmp_path / "in", 8), tmp_path / "cache"
    with start_slow_preparation(pool, cache, 20.0) as process:
        process.send_signal(signal.SIGKILL)
    assert any(name.endswith(".part") for name in files_of(cache))
    assert not any(name.endswith((".npy", ".json")) for name in files_of(cache))
    assert len(prepare_pool(pool, 6, 6, cache)) == 8
    assert not any(name.endswith(".part") for name in files_of(cache))


def test_an_interrupted_preparation_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, cache = write_pictures(tmp_path / "in", 8), tmp_path / "cache"
    decoded = FilePool.read

    def interrupted(self: FilePool, index: int) -> np.ndarray:
        if index == 5:
            raise KeyboardInterrupt
        return decoded(self, index)

    monkeypatch.setattr(FilePool, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_pool(pool, 6, 6, cache)
    assert files_of(cache) == []


def test_two_that_want_the_same_pictures_make_them_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool, cache = write_pictures(tmp_path / "in", 3), tmp_path / "cache"
    with start_slow_preparation(pool, cache, 0.5) as process:
        with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(FilePool, "read", lambda self, index: pytest.fail("decoded twice"))
            assert len(prepare_pool(pool, 6, 6, cache)) == 3
        assert process.wait(30) == 0
    assert "waiting for another process" in caplog.text


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="cache"):
        prepare_pool(write_pictures(tmp_path / "in", 2), 6, 6, tmp_path / "cache")


def test_a_disk_without_room_is_an_error_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(picture_cache.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setattr(FilePool, "read", lambda self, index: pytest.fail("decoded"))
    with pytest.raises(OutputError, match="free: choose another folder as cache"):
        prepare_pool(write_pictures(tmp_path / "in", 10), 6, 6, tmp_path / "cache")


# Sizes


def test_shrinking_averages_and_growing_interpolates() -> None:
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 200
    picture = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    assert (resized(picture, 4, 4) == 100).all()
    assert (resized(picture, 4, 16) == 100).all()  # shrunk one way, then grown the other
    assert resized(picture, 16, 16).shape == (16, 16, 3)
    assert resized(picture, 8, 8) is picture


def test_the_middle_is_cut_to_the_aspect_wanted() -> None:
    picture = np.zeros((9, 16, 3), np.uint8)
    picture[..., 0] = np.arange(16)
    assert centre_crop(picture, 100, 100).shape == (9, 9, 3)
    assert list(centre_crop(picture, 100, 100)[0, :, 0]) == list(range(3, 12))
    assert centre_crop(picture, 50, 200).shape == (4, 16, 3)
    assert centre_crop(picture, 9, 16).shape == (9, 16, 3)


def test_resized_and_chosen_pools_keep_names_in_step(tmp_path: Path) -> None:
    pool = write_pictures(tmp_path / "in", 6)
    chosen = ChosenPool(ResizedPool(pool, 5, 4), (4, 1))
    assert chosen.names == ("4.png", "1.png")
    assert len(chosen) == 2
    assert chosen.read(0).shape == (5, 4, 3)
    assert chosen.read(0)[0, 0, 0] == 40
    assert chosen.read(1)[0, 0, 0] == 10
