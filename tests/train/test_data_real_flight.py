"""A real region opened for training; skipped where the real flight is absent."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from dmnil_train.data.config import DataConfig
from dmnil_train.data.layouts import open_retrieval_tasks, open_training_data
from edge_runtime.flight_camera import CameraConfig

ARIEL = Path(__file__).parents[3] / "shared" / "flights" / "ariel"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not ARIEL.is_dir(), reason=f"the real flight is not at {ARIEL}"),
]


def config_of(cache: Path, telemetry: str) -> DataConfig:
    return DataConfig(
        "region",
        satellite=ARIEL / "satellite",
        drone=ARIEL / "frames",
        telemetry=ARIEL / telemetry,
        truth=ARIEL / "truth.csv",
        first_frame="001080.jpg",
        cache=cache,
        camera=CameraConfig(
            focal_length_35mm=24.0 if telemetry.endswith(".csv") else None, pitch_deg=-45.0
        ),
    )


def test_a_real_flight_and_its_region(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(tmp_path, "frames.csv")
    with caplog.at_level(logging.WARNING):
        data = open_training_data(config, 48, 48)
    assert data.drone is not None
    assert len(data.satellite) == 2112
    assert len(data.drone) >= 240
    assert "left out" in caplog.text
    (task,) = open_retrieval_tasks(config, 48, 48)
    assert len(task.queries) == 216
    assert task.relevant is not None
    # Circles of 50 m on a lattice of 30 m hold pi * 50^2 / 30^2 = 8.7 centres.
    assert task.relevant.sum(axis=1).mean() == pytest.approx(8.7, abs=0.3)


def test_the_cameras_own_subtitles_serve_as_well(tmp_path: Path) -> None:
    data = open_training_data(config_of(tmp_path, "DJI_20260427152226_0017_D.SRT"), 48, 48)
    assert data.drone is not None
    assert len(data.drone) >= 240
    assert np.ptp(data.drone.pictures[-1]) > 50
