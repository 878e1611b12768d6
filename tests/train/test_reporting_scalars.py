from __future__ import annotations

import logging
import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dmnil_train.reporting.scalars import ScalarLog


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars(name)]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    with ScalarLog(tmp_path, first_epoch=0) as log:
        log.epoch(0, {"R@1": 0.25})
        log.epoch(1, {"R@1": 0.5, "loss": 2.0})
    assert curve(tmp_path, "R@1") == [(0, 0.25), (1, 0.5)]
    assert curve(tmp_path, "loss") == [(1, 2.0)]


def test_points_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    with ScalarLog(tmp_path, first_epoch=0) as log:
        log.epoch(0, {"loss": 2.0})
        assert curve(tmp_path, "loss") == [(0, 2.0)]


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    with ScalarLog(tmp_path, first_epoch=0) as log:
        for epoch in (0, 1, 2, 3):
            log.epoch(epoch, {"R@1": 0.25})
    with ScalarLog(tmp_path, first_epoch=2) as log:
        log.epoch(3, {"R@1": 0.75})  # epoch 2 goes although nothing takes its place
    assert curve(tmp_path, "R@1") == [(0, 0.25), (1, 0.25), (3, 0.75)]


def test_a_picture_keeps_its_size_and_its_colours(tmp_path: Path) -> None:
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 200
    with ScalarLog(tmp_path, first_epoch=0) as log:
        log.picture(4, "examples", red)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (image,) = events.Images("examples")
    assert (image.step, image.height, image.width) == (4, 20, 30)
    shown = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (20, 30, 3)
    assert np.abs(shown.astype(int)[..., ::-1] - red).max() < 8


def test_nothing_is_made_before_there_is_something_to_write(tmp_path: Path) -> None:
    with ScalarLog(tmp_path / "curves", first_epoch=0):
        pass
    assert not (tmp_path / "curves").exists()


def test_a_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "curves").write_text("a file is in the way")
    with ScalarLog(tmp_path / "curves", first_epoch=0) as log:
        log.epoch(1, {"R@1": 1.0})
        log.picture(1, "examples", np.zeros((8, 8, 3), np.uint8))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "training goes on" in caplog.text


def test_a_disk_that_fills_up_on_the_way_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ScalarLog(tmp_path, first_epoch=0) as log:
        log.epoch(0, {"loss": 1.0})
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
            for epoch in range(1, 100):
                log.epoch(epoch, {"loss": 1.0})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(caplog.records) == 1
    written = curve(tmp_path, "loss")
    assert written[0] == (0, 1.0)
    assert 5 < len(written) < 99
