from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.localize.camera import CameraPose
from edge_runtime.localize.quality import QualityConfig, picture_fault, pose_fault
from tests.painted_ground import textured_ground

CONFIG = QualityConfig(
    lowest_height_m=20.0,
    shallowest_pitch_deg=-20.0,
    steepest_roll_deg=30.0,
    smallest_contrast=6.0,
    smallest_sharpness=1.5,
    largest_clipped_share=0.6,
)


def sample(height_m: float = 100.0, pitch_deg: float = -60.0, roll_deg: float = 0.0) -> CameraPose:
    return CameraPose(height_m, 0.0, pitch_deg, roll_deg)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return textured_ground(2).seen_from_above((0.0, 0.0), 120.0, 128)


@pytest.mark.parametrize(
    "fine",
    [
        sample(),
        sample(height_m=20.0),
        sample(pitch_deg=-20.0),
        sample(pitch_deg=-90.0),
        sample(roll_deg=30.0),
        sample(roll_deg=-29.0),
        sample(roll_deg=355.0),
        sample(roll_deg=-360.0),
        sample(pitch_deg=-90.0, roll_deg=90.0),
        sample(pitch_deg=-85.0, roll_deg=-90.0),
    ],
)
def test_a_view_from_a_sound_pose_is_let_through(fine: CameraPose) -> None:
    assert pose_fault(fine, CONFIG) is None


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (sample(height_m=19.0), "height 19 m is too low"),
        (sample(height_m=-5.0), "height -5 m is too low"),
        (sample(pitch_deg=-19.0), "camera pitch -19 deg is too shallow"),
        (sample(pitch_deg=30.0), "camera pitch 30 deg is too shallow"),
        (sample(pitch_deg=-30.0, roll_deg=37.0), "roll 37 deg is too steep"),
        (sample(pitch_deg=-30.0, roll_deg=-45.0), "roll -45 deg is too steep"),
        (sample(pitch_deg=-30.0, roll_deg=300.0), "roll 300 deg is too steep"),
    ],
)
def test_a_bad_pose_is_named(bad: CameraPose, fault: str) -> None:
    assert pose_fault(bad, CONFIG) == fault


def test_a_textured_view_is_let_through(picture: np.ndarray) -> None:
    assert picture_fault(picture, CONFIG) is None


@pytest.mark.parametrize("level", [0, 8, 247, 255])
def test_a_black_or_white_view_is_turned_away(level: int) -> None:
    fault = picture_fault(np.full((64, 64, 3), level, np.uint8), CONFIG)
    assert fault == "100 % of the view is black or white"


def test_a_view_half_burnt_out_is_let_through_and_two_thirds_are_not(picture: np.ndarray) -> None:
    half, most = picture.copy(), picture.copy()
    half[:64] = 255
    most[:86] = 255
    assert picture_fault(half, CONFIG) is None
    assert picture_fault(most, CONFIG) == "67 % of the view is black or white"


@pytest.mark.parametrize("level", [9, 128, 246])
def test_fog_is_turned_away(level: int) -> None:
    fog = np.full((64, 64, 3), level, np.uint8)
    assert picture_fault(fog, CONFIG) == "contrast 0.0 is too low"


def test_a_faint_texture_is_still_fog(picture: np.ndarray) -> None:
    faint = np.rint(128 + (picture.astype(float) - 128) * 0.1).astype(np.uint8)
    fault = picture_fault(faint, CONFIG)
    assert fault is not None
    assert fault.startswith("contrast")


def test_a_blurred_view_is_turned_away(picture: np.ndarray) -> None:
    blurred = cv2.GaussianBlur(picture, (0, 0), 5.0)
    fault = picture_fault(np.asarray(blurred, np.uint8), CONFIG)
    assert fault is not None
    assert fault.startswith("sharpness")


@pytest.mark.parametrize(
    "setting",
    [
        {"smallest_coverage": 0.0},
        {"smallest_coverage": 1.1},
        {"shallowest_pitch_deg": 0.0},
        {"shallowest_pitch_deg": -91.0},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"quality\."):
        QualityConfig(**setting)
